"""The doctor: bytes by hand, what does not fit, and reasons in place of numbers that cannot be known."""

import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console, Group

from classifsae import doctor
from classifsae.classifier.sizing import backbone_size
from classifsae.data.config import DatasetConfig
from classifsae.doctor import (
    PURPOSES,
    Needs,
    dataset_size,
    experiment_report,
    hub_state,
    installed_extras,
    misfits,
    needs,
    sweep_report,
)
from classifsae.errors import HubError
from classifsae.pipeline.config import Experiment

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BERT = {
    "architecture": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 16,
    },
    "tokenizer": {"vocab_size": 300},
    "n_steps": 10,
    "batch_size": 4,
}


def experiment(**changes: object) -> Experiment:
    data = {"name": "planted", "options": {"n_train": 40, "n_test": 20}}
    fields = {"backbone": BERT, "dataset": data, "methods": {"identity": {}, "random": {}}, "device": "cpu"}
    return Experiment.model_validate(fields | changes)


def printed(report: Group) -> list[str]:
    """The lines of a report on a terminal of 80 columns."""
    console = Console(width=80)
    with console.capture() as seen:
        console.print(report)
    return [line.rstrip() for line in seen.get().splitlines()]


def test_a_run_is_four_stages_whose_bytes_follow_from_the_sizes():
    found = needs(experiment(seeds=[1, 2]))
    size = backbone_size(experiment().backbone, dataset_size(experiment().dataset).sample, "wxyz")
    assert list(found.stages) == ["finetune", "capture", "fit", "score"]
    assert {cost.gpu for cost in found.stages.values()} == {0}
    finetune, capture, fit, _ = found.stages.values()
    assert finetune.disk == size.saved + size.checkpoint
    assert finetune.memory - capture.memory == pytest.approx(
        size.tuning(CPU) - size.weights - size.batch, abs=1
    )
    assert capture.disk == (40 + 20) * 4 * (32 + 4)
    assert fit.disk == 2 * (
        2 * 4 * 32 * 64 + 2 * 4 * 32 * 20
    )  # 2 d latents, as identity does not say, and 20
    assert found.total.memory == max(cost.memory for cost in found.stages.values())
    assert found.total.disk == sum(cost.disk for cost in found.stages.values())


def test_a_method_that_texts_guide_takes_a_stage_with_a_gradient():
    found = needs(experiment(methods={"consensus": {}, "random": {}}))
    assert list(found.stages) == ["finetune", "capture", "guide", "fit", "score"]
    more = needs(experiment(methods={"consensus": {}}, backbone=BERT | {"max_tokens": 32768}))
    assert more.stages["guide"].memory > found.stages["guide"].memory
    assert found.stages["guide"].disk == 2 * 4 * 384 * 40


def test_a_model_that_is_not_tuned_has_no_such_stage():
    found = needs(experiment(backbone={"model": "minilm", "tuning": "none"}))
    assert list(found.stages) == ["capture", "fit", "score"]


def test_what_a_gpu_needs_is_known_without_one():
    on_cpu, on_gpu = (needs(experiment(), device=device) for device in (CPU, GPU))
    assert all(cost.gpu > 0 for cost in on_gpu.stages.values())
    assert on_gpu.total.memory < on_cpu.total.memory
    assert on_gpu.total.disk == on_cpu.total.disk


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch):
    asked = experiment(backbone=BERT | {"batch_size": 4000})
    assert misfits(asked, needs(asked, device=CPU)) == []
    monkeypatch.setattr(doctor, "free_memory", lambda: 1_000_000)
    monkeypatch.setattr(doctor, "_gpu_memory", lambda: [(2_000_000, 3_000_000)] * 2)
    memory, gpu = misfits(asked, needs(asked, device=GPU))
    assert memory.startswith("does not fit: needs about 1.2 GB of memory, 1.0 MB are free")
    assert gpu.endswith("of GPU memory, 2.0 MB are free here.")
    spread = experiment(backbone={"model": "minilm", "tuning": "none", "device_map": "auto"})
    assert misfits(spread, needs(spread, device=GPU))[1].endswith("of GPU memory, 4.0 MB are free here.")
    assert any("does not fit" in line for line in printed(experiment_report(asked)))


def test_a_run_on_a_gpu_does_not_fit_where_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "_gpu_memory", list)
    asked = experiment(device="cuda")
    assert misfits(asked, needs(asked))[0].endswith("of GPU memory, 0 bytes are free here.")


def test_a_disk_that_is_full_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = experiment(run_dir=str(tmp_path / "not" / "yet" / "there"))
    monkeypatch.setattr(doctor, "disk_usage", lambda place: {tmp_path: Full()}[place])
    (line,) = misfits(asked, needs(asked))
    assert line.endswith("of disk, 1.0 kB are free here.")


class Full:
    free = 1000


def test_what_cannot_be_known_is_said_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("classifsae.hub.files.hub_is_reachable", lambda: False)
    (said,) = [" ".join(printed(experiment_report(experiment(backbone={"model": "owner/no-such-model"}))))]
    assert said.startswith("no-such-model on planted: not known: ")
    assert "the hub cannot be reached from here" in said


def test_a_preset_out_of_reach_is_sized_by_what_it_states(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "load_dataset", unreachable)
    monkeypatch.setattr("classifsae.hub.files.hub_is_reachable", lambda: False)
    head, *assumed = needs(experiment(backbone="bert", dataset="imdb")).sizes.splitlines()
    assert head.startswith("25,000 training and 25,000 test texts of at most 512 tokens")
    assert [line.split(",")[0] for line in assumed] == ["Assumed: imdb", "Assumed: bert"]


def unreachable(*_: object) -> None:
    raise HubError("cannot load it from the Hub.")


def test_a_sweep_is_a_line_for_each_run(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "load_dataset", unreachable)
    monkeypatch.setattr(doctor, "free_memory", lambda: 10**15)
    points = [experiment(backbone=BERT, dataset=name) for name in ("agnews", "imdb", "owner/nothing")]
    lines = printed(sweep_report(points))
    assert [line.split() for line in lines if line[1:2].isdigit()] == [
        ["1", "bert", "agnews", *words(needs(points[0]))],
        ["2", "bert", "imdb", *words(needs(points[1]))],
        ["3", "bert", "owner/nothing", "?", "?", "?", "not", "known"],
    ]
    assert max(map(len, lines)) <= 80
    monkeypatch.setattr(doctor, "free_memory", lambda: 0)
    assert sum("too large" in line for line in printed(sweep_report(points))) == 2


def words(found: Needs) -> list[str]:
    return [word for cell in found.total.cells for word in cell.split()]


def test_a_data_set_out_of_reach_has_the_sizes_that_its_preset_states(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "load_dataset", unreachable)
    found = dataset_size(DatasetConfig(name="agnews", max_test=50))
    assert (found.n_train, found.n_test, len(found.label_names)) == (120_000, 50, 4)
    lengths = sorted(map(len, found.sample))
    assert sum(lengths) / len(lengths) == pytest.approx(236, rel=0.02)
    assert lengths[-1] > 4 * 236  # a few are several times as long as the mean
    with pytest.raises(HubError):
        dataset_size(DatasetConfig(name="owner/something"))


def test_the_hub_is_not_asked_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "urlopen", pytest.fail)
    monkeypatch.setattr(doctor.constants, "HF_HUB_OFFLINE", True)
    assert hub_state().startswith("switched off (HF_HUB_OFFLINE)")


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(doctor.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub_state().startswith("http://127.0.0.1:9 not reachable ([Errno 111] Connection refused)")


def test_within_a_container_no_more_is_free_than_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "_CGROUP", tmp_path)
    without = doctor.free_memory()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert doctor.free_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.free_memory() == pytest.approx(without, rel=0.5)


def test_extras_are_listed_with_what_is_missing():
    lines = ["torch>=2", 'torch>=2; extra == "peft"', 'no-such-package; extra == "peft"']
    assert installed_extras(lines) == {"peft": [f"torch {torch.__version__}", "no-such-package missing"]}


def test_every_extra_says_what_it_is_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"].keys() <= PURPOSES.keys()

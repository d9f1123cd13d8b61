"""The doctor: counts by hand, lines that fit, and reasons in place of numbers that cannot be known."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from classifsae.classifier._kept import Kept, kept_bytes
from classifsae.classifier.config import BACKBONES, BackboneConfig, resolve_backbone
from classifsae.classifier.loading.models import from_form
from classifsae.classifier.sizing import Outline, outline
from classifsae.concepts.classifsae import ClassifSAE
from classifsae.concepts.conceptshap import ConceptSHAP
from classifsae.concepts.identity import Identity
from classifsae.concepts.random import Random
from classifsae.concepts.sae import SAE
from classifsae.data.config import DatasetConfig
from classifsae.doctor import estimate as estimating
from classifsae.doctor import machine, matter, memory, tables, trial
from classifsae.doctor.estimate import estimate
from classifsae.doctor.machine import PURPOSES, Room, extras, hub_state, size
from classifsae.doctor.matter import matter_of, spread
from classifsae.doctor.speed import Speed
from classifsae.doctor.trial import Effort, Sizes, Trial, line, try_out
from classifsae.errors import HubError
from classifsae.metrics import METRICS
from classifsae.metrics.completeness import Completeness
from classifsae.pipeline.config import Experiment

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
BLOCK = 4 * (32 * 32 + 32) + (32 * 64 + 64) + (64 * 32 + 32) + 2 * 2 * 32


def experiment(**changes: object) -> Experiment:
    data = {"name": "planted", "options": {"n_train": 40, "n_test": 20}}
    fields = {"backbone": BERT, "dataset": data, "methods": {"identity": {}, "random": {}}, "device": "cpu"}
    return Experiment.model_validate(fields | changes)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speeds and trials that are known, and take no time."""
    trial = Trial(Effort(2.0, 0.0), Effort(1.0, 100.0), n_bytes=1000, batch_bytes=0)
    monkeypatch.setattr(estimating, "measure", lambda *_, **__: Speed(1e-9, 4e-9, 1e-9))
    monkeypatch.setattr(estimating, "try_out", lambda *_: trial)


def test_a_backbone_is_counted_without_its_weights():
    config = BackboneConfig.model_validate(BERT | {"long_texts": "windows", "overlap": 4})
    found = outline(config, ["a b", "a " * 40], ("x", "y"))
    assert (found.n_layers, found.layer, found.width, found.n_heads) == (3, 3, 32, 2)
    assert found.n_in_blocks == 3 * BLOCK
    assert found.n_parameters > found.n_in_blocks + 300 * 32
    assert found.tokens_cut < 16
    assert found.rows_per_text > 1.5


def test_time_and_disk_follow_from_sizes_and_speeds(fast: None):
    found = estimate(experiment(seeds=[1, 2]))
    shape = outline(experiment().backbone, ["a"], "wxyz")
    by_stage = {cost.stage: cost for cost in found.costs}
    assert list(by_stage) == [
        "finetune", "capture train", "capture test", "fit identity", "fit random", "score identity",
        "score random",
    ]  # fmt: skip
    assert by_stage["fit identity"].seconds == 2 * 2.0
    head = 100 * 32**2 * 1e-9  # the hook is behind the last block
    assert by_stage["score random"].seconds == pytest.approx(2 * (1.0 + head))
    assert by_stage["fit random"].disk == 2 * 1000
    assert by_stage["finetune"].disk == 4 * shape.n_parameters
    reading, again = by_stage["capture train"], by_stage["capture test"]
    assert reading.seconds == pytest.approx(2 * again.seconds)
    steps = by_stage["finetune"].seconds - 10 * shape.n_parameters * 1e-9
    assert steps == pytest.approx(10 * 4 / 40 * reading.seconds * 4, rel=0.01)
    assert found.total.seconds == pytest.approx(sum(cost.seconds for cost in found.costs))
    assert found.total.memory == max(cost.memory for cost in found.costs)
    assert found.problems == ()


def test_a_deeper_tail_costs_more(fast: None):
    shallow, deep = (estimate(experiment(backbone=BERT | {"layer": layer})).costs[-1] for layer in (3, 1))
    assert deep.seconds - shallow.seconds == pytest.approx(100 * 2 * BLOCK * 1e-9)


def test_what_training_allocated_on_a_cpu_stays_with_the_process(fast: None):
    tuned, *others = estimate(experiment()).costs
    assert min(cost.memory for cost in others) > tuned.memory


def test_what_does_not_fit_is_said(fast: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimating, "room", lambda: Room(memory=1e6, gpus=()))
    problems = estimate(experiment()).problems
    assert len(problems) == 7
    assert problems[0].startswith("does not fit: finetune needs about")
    assert problems[0].endswith("of memory, 1 MB are free.")


def test_what_cannot_be_known_is_a_question_mark_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("classifsae.hub.files.hub_is_reachable", lambda: False)
    found = estimate(experiment(backbone={"model": "owner/no-such-model"}))
    assert {cost.seconds for cost in (*found.costs, found.total)} == {None}
    assert "the hub cannot be reached from here" in found.problems[0]


def test_a_method_that_cannot_work_is_left_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimating, "measure", lambda *_, **__: Speed(1e-9, 4e-9, 1e-9))
    found = estimate(experiment(methods={"ica": {"n_concepts": 100}}))
    assert [cost.stage for cost in found.costs if cost.seconds is None] == ["fit ica", "score ica"]
    assert found.problems[0].startswith("ica: not known: ica: n_concepts is 100")


GPT = {
    "architecture": {
        "model_type": "gpt_neox",
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    },
    "tokenizer": {"vocab_size": 300},
    "batch_size": 4,
}
SHAPE = Outline(
    n_parameters=1000, n_in_blocks=600, n_embedded=300, n_trained=1000, n_layers=2, layer=2, width=10,
    n_heads=2, tokens_cut=5.0, tokens_longest=8, rows_per_text=1.0, tokens_per_row=5.0,
    kept=Kept(attention=400, others=4000), fused=frozenset({"cuda"}),
)  # fmt: skip


def shaped(fields: dict[str, object], texts: list[str]) -> Outline:
    return outline(BackboneConfig.model_validate(fields), texts, ("x", "y"))


def test_a_few_weights_are_trained_beside_frozen_ones():
    full, prompt = shaped(GPT, ["a b"]), shaped(GPT | {"tuning": "soft_prompt"}, ["a b"])
    lora = shaped(BERT | {"tuning": "lora", "lora": {"rank": 2, "target_modules": ["query"]}}, ["a b"])
    assert full.n_trained == full.n_parameters == prompt.n_parameters
    assert prompt.n_trained == 10 * 32
    assert lora.n_trained == 3 * (2 * 32 + 32 * 2) + (32 * 2 + 2)  # and the head
    assert lora.n_parameters == shaped(BERT, ["a b"]).n_parameters
    assert prompt.tokens_cut == full.tokens_cut + 10
    assert prompt.kept.others < full.kept.others
    assert outline(resolve_backbone("minilm", tuning="none"), ["a b"], ("x", "y")).kept is None


def test_memory_of_tuning_by_hand():
    config = BackboneConfig.model_validate(GPT)
    small = replace(SHAPE, n_trained=20)
    frozen = config.model_copy(update={"tuning": "soft_prompt", "dtype": "bfloat16"})
    eight = config.model_copy(update={"optimizer": "adamw_8bit"})
    on_gpu, on_cpu = 4000, 4400  # with dropout, a CPU stores the weights of attention
    assert held(SHAPE, config) == 16 * 1000 + on_gpu
    assert held(SHAPE, config, device="cpu") == 16 * 1000 + on_cpu
    assert held(SHAPE, config, half=True) == 16 * 1000 + 2 * 600 + 0.6 * on_gpu
    assert held(small, frozen) == 2 * 1000 + 16 * 20 + 0.6 * on_gpu
    # The tables of embeddings keep moments in 32 bits; the others share a scale of 4 bytes per 256.
    assert held(SHAPE, eight) == 8 * 1000 + 8 * 300 + 700 * (2 + 8 / 256) + on_gpu
    checked = config.model_copy(update={"gradient_checkpointing": True})
    assert held(SHAPE, checked) == 16 * 1000 + on_gpu / 2 + 4 * 4 * 8 * 10 * 2


def held(shape: Outline, config: BackboneConfig, *, device: str = "cuda", half: bool = False) -> float:
    return memory.training(shape, config, device=device, half=half)


def test_memory_of_reading_by_hand():
    config = BackboneConfig.model_validate({"model": "m", "tuning": "none", "dtype": "float16"})
    eight = config.model_copy(update={"quantization": "8bit"})
    assert memory.loaded(SHAPE, config) == 2 * 1000
    assert memory.loaded(SHAPE, eight) == 600 + 2 * 400


@pytest.mark.parametrize(
    ("changes", "on_disk"),
    [
        ({}, 4 * 1000),
        ({"tuning": "soft_prompt"}, 4 * 20),
        ({"tuning": "lora", "lora": {"merge": False}}, 4 * 20),
        ({"tuning": "lora", "dtype": "bfloat16"}, 2 * 1000),
        ({"tuning": "soft_prompt", "model": None, "architecture": GPT["architecture"]}, 4 * 20 + 4 * 1000),
    ],
)
def test_only_what_was_learned_is_saved_beside_a_model_with_a_name(changes: dict[str, object], on_disk: int):
    config = BackboneConfig.model_validate({"model": "m"} | changes)
    shape = replace(SHAPE, n_trained=1000 if config.tuning == "full" else 20)
    assert memory.saved(shape, config) == on_disk
    assert memory.checkpoint(shape, config) == 12 * shape.n_trained


def test_what_a_backward_pass_keeps_is_that_of_a_real_one():
    config = BackboneConfig.model_validate({"model": "m", "form": BERT["architecture"], "kind": "encoder"})
    counted = kept_bytes(from_form(config, ("x", "y"))[0], n_rows=3, n_tokens=7)
    assert counted.attention + counted.others == really_kept(n_rows=3, n_tokens=7)
    assert counted.attention == 3 * 3 * 2 * 7 * 7 * 4 * 3  # softmax, what is left of it, what drops out


def really_kept(*, n_rows: int, n_tokens: int) -> int:
    """The same, of tensors with numbers in them."""
    fields = {name: value for name, value in BERT["architecture"].items() if name != "model_type"}
    model = BertForSequenceClassification(BertConfig(**fields, num_labels=2)).train()
    own = {weight.data_ptr() for weight in (*model.parameters(), *model.buffers())}
    found: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    given = torch.randn(n_rows, n_tokens, 32, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(inputs_embeds=given)
    return sum(tensor.nbytes for tensor in found.values())


PUBLISHED = {  # millions of parameters, heads of a few classes aside
    "bert": 109.5, "deberta": 435, "gpt_j": 6051, "llama_instruct": 8030, "mistral_instruct": 7242,
    "pythia_410m": 405, "pythia_1b": 1012,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_form_that_a_preset_states_has_the_published_number_of_parameters(name: str):
    model, _ = from_form(resolve_backbone(name), ("x", "y"))
    assert model.num_parameters() / 1e6 == pytest.approx(PUBLISHED[name], rel=2e-3)


def test_every_preset_on_the_hub_states_its_form():
    assert {*PUBLISHED, "minilm"} == set(BACKBONES.names())


def test_a_preset_out_of_reach_is_estimated_from_what_it_states(fast: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matter, "load_dataset", unreachable)
    monkeypatch.setattr("classifsae.hub.files.hub_is_reachable", lambda: False)
    found = estimate(experiment(backbone="bert", dataset="imdb"))
    assert found.total.seconds > 0
    assert found.basis.startswith("25,000 training and 25,000 test texts of about")
    assert [line.split(",")[0] for line in found.assumed] == ["imdb", "bert"]
    assert found.problems == ()


def unreachable(*_: object) -> None:
    raise HubError("cannot load it from the Hub.")


def test_a_sweep_is_a_line_for_each_run_and_one_for_all(fast: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matter, "load_dataset", unreachable)
    monkeypatch.setattr(estimating, "room", lambda: Room(memory=1e15, gpus=()))
    points = [experiment(backbone=BERT, dataset=name) for name in ("agnews", "imdb", "owner/nothing")]
    head, *lines = [line.plain for line in tables.sweep_report(points)]
    first, second = (estimate(point).total for point in points[:2])
    assert head.split() == ["backbone", "data", "set", "time", "memory", "disk"]
    assert lines[0].split() == [
        "1",
        "bert",
        "agnews",
        *tables.duration(first.seconds).split(),
        *size(first.memory).split(),
        *size(first.disk).split(),
    ]
    assert lines[2].split() == ["3", "bert", "owner/nothing", "?", "?", "?", "not", "known"]
    assert lines[3].split()[:4] == ["2", "known", *tables.duration(first.seconds + second.seconds).split()]
    assert sum(line.startswith("Assumed: ") for line in lines) == 2
    assert max(map(len, lines[:4])) <= 80


def test_a_data_set_out_of_reach_has_the_sizes_that_its_preset_states(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matter, "load_dataset", unreachable)
    found = matter_of(DatasetConfig(name="agnews", max_test=50))
    assert (found.n_train, found.n_test, found.n_classes) == (120_000, 50, 4)
    assert sum(map(len, found.sample)) / len(found.sample) == pytest.approx(236, rel=0.02)
    with pytest.raises(HubError):
        matter_of(DatasetConfig(name="owner/something"))


def test_made_up_lengths_have_the_stated_mean_and_some_are_long():
    lengths = spread(100)
    assert sum(lengths) / len(lengths) == pytest.approx(100)
    assert 400 < max(lengths) < 500
    assert lengths == sorted(lengths)


@pytest.mark.parametrize(
    ("recipe", "n_steps"),
    [(ClassifSAE(n_vectors=60_000), 120), (ConceptSHAP(n_epochs=7), 7 * 8), (SAE(n_vectors=60_000), 120)],
)
def test_methods_in_steps_are_drawn_out_by_their_steps(recipe: object, n_steps: int):
    few = try_out(recipe, {"completeness": Completeness()}, Sizes(16, 1000, 50, "cpu"))
    assert few.fit.tail_rows == (n_steps * 128 if isinstance(recipe, ConceptSHAP) else 0)
    assert few.fit.seconds > 0
    assert few.score.tail_rows == 50
    assert few.n_bytes > 16 * 20 * 4


def test_a_threshold_that_no_made_up_state_reaches_does_not_stop_a_trial():
    found = try_out(ConceptSHAP(threshold=0.9), {"completeness": Completeness()}, Sizes(256, 1000, 50, "cpu"))
    assert found.score.tail_rows == 50


def test_other_methods_are_drawn_out_along_a_line():
    assert line((10, 20), (1.0, 2.0), 100) == pytest.approx(10.0)
    assert line((10, 20), (2.0, 1.0), 100) == 1.0
    assert line((10, 20), (0.0, 10.0), 5) == 0.0
    found = try_out(Identity(), {"completeness": Completeness()}, Sizes(16, 1000, 500, "cpu"))
    assert (found.fit.tail_rows, found.score.tail_rows) == (0, 500)


def test_every_metric_can_be_tried():
    metrics = {name: METRICS.load(name)() for name in METRICS.names()}
    assert try_out(Random(), metrics, Sizes(16, 1000, 50, "cpu")).score.tail_rows > 50


def test_methods_that_differ_in_weights_only_are_tried_once(monkeypatch: pytest.MonkeyPatch):
    first = try_out(ClassifSAE(n_vectors=1000), {}, Sizes(16, 1000, 50, "cpu"))
    monkeypatch.setattr(trial, "_in_steps", pytest.fail)
    assert try_out(ClassifSAE(n_vectors=1000, rate_weight=0.5), {}, Sizes(16, 1000, 50, "cpu")) == first


def test_sizes_and_durations_in_words():
    assert [size(n) for n in (1e3, 44e6, 2.14e9, 271e9, 3e12)] == [
        "under 1 MB", "44 MB", "2.1 GB", "271 GB", "3.0 TB",
    ]  # fmt: skip
    spans = [tables.duration(n) for n in (0.31, 12.2, 89, 200, 18_000, 250_000)]
    assert spans == ["0.3 s", "12 s", "89 s", "3.3 min", "5.0 h", "2.9 days"]


def test_the_hub_is_not_asked_where_it_is_switched_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "urlopen", pytest.fail)
    monkeypatch.setattr(machine.constants, "HF_HUB_OFFLINE", True)
    assert hub_state().startswith("switched off (HF_HUB_OFFLINE)")


def test_a_hub_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(machine.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub_state().startswith("http://127.0.0.1:9 not reachable ([Errno 111] Connection refused)")


def test_extras_are_listed_with_what_is_missing():
    lines = ["torch>=2", 'torch>=2; extra == "peft"', 'no-such-package; extra == "peft"']
    (extra,) = extras(lines)
    assert extra.installed == (f"torch {torch.__version__}",) or extra.installed[0].startswith("torch 2")
    assert (extra.name, extra.missing, extra.purpose) == ("peft", ("no-such-package",), PURPOSES["peft"])


def test_every_extra_says_what_it_is_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"].keys() <= PURPOSES.keys()

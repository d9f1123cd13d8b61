"""The doctor: counts by hand, lines that fit, and reasons in place of numbers that cannot be known."""

import tomllib
from pathlib import Path

import pytest
import torch

from classifsae.classifier.config import BackboneConfig
from classifsae.classifier.sizing import outline
from classifsae.concepts.classifsae import ClassifSAE
from classifsae.concepts.conceptshap import ConceptSHAP
from classifsae.concepts.identity import Identity
from classifsae.concepts.sae import SAE
from classifsae.config import Experiment
from classifsae.doctor import estimate as estimating
from classifsae.doctor import machine, tables
from classifsae.doctor.estimate import estimate
from classifsae.doctor.machine import PURPOSES, Room, extras, hub_state, size
from classifsae.doctor.speed import Speed
from classifsae.doctor.trial import Effort, Sizes, Trial, line, try_out
from classifsae.metrics.completeness import Completeness

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


def test_what_does_not_fit_is_said(fast: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimating, "room", lambda: Room(memory=1e6, gpu=0.0))
    problems = estimate(experiment()).problems
    assert len(problems) == 7
    assert problems[0].startswith("does not fit: finetune needs about")
    assert problems[0].endswith("of memory, 1 MB are free.")


def test_what_cannot_be_known_is_a_question_mark_with_its_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("classifsae.classifier._models.hub_is_reachable", lambda: False)
    found = estimate(experiment(backbone={"model": "owner/no-such-model"}))
    assert {cost.seconds for cost in (*found.costs, found.total)} == {None}
    assert "the hub cannot be reached from here" in found.problems[0]


def test_a_method_that_cannot_work_is_left_open(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(estimating, "measure", lambda *_, **__: Speed(1e-9, 4e-9, 1e-9))
    found = estimate(experiment(methods={"ica": {"n_concepts": 100}}))
    assert [cost.stage for cost in found.costs if cost.seconds is None] == ["fit ica", "score ica"]
    assert found.problems[0].startswith("ica: not known: ica: n_concepts is 100")


@pytest.mark.parametrize(
    ("recipe", "n_steps"),
    [(ClassifSAE(n_vectors=60_000), 120), (ConceptSHAP(n_epochs=7), 7 * 8), (SAE(n_vectors=60_000), 120)],
)
def test_methods_in_steps_are_drawn_out_by_their_steps(recipe: object, n_steps: int):
    few = try_out(recipe, {"completeness": Completeness()}, Sizes(16, 3, 1000, 50, "cpu"))
    assert few.fit.tail_rows == (n_steps * 128 if isinstance(recipe, ConceptSHAP) else 0)
    assert few.fit.seconds > 0
    assert few.score.tail_rows == 50
    assert few.n_bytes > 16 * 20 * 4


def test_other_methods_are_drawn_out_along_a_line():
    assert line((10, 20), (1.0, 2.0), 100) == pytest.approx(10.0)
    assert line((10, 20), (2.0, 1.0), 100) == 1.0
    assert line((10, 20), (0.0, 10.0), 5) == 0.0
    found = try_out(Identity(), {"completeness": Completeness()}, Sizes(16, 3, 1000, 500, "cpu"))
    assert (found.fit.tail_rows, found.score.tail_rows) == (0, 500)


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

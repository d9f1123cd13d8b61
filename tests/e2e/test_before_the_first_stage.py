"""What can be known to be wrong is said before the classifier is trained, and what loads nothing is quick."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from classifsae.errors import ClassifSAEError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run
from classifsae.storage import write_text

HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "sklearn",
    "scipy.optimize",
    "scipy.sparse",
    "pandas",
    "matplotlib",
    "peft",
)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["methods={sae: {n_concepts: 100000, n_vectors: 100}}"],
            "n_concepts is 100000, but there are only 120",
        ),
        (
            ["n_concepts=65", "methods={classifsae: {n_vectors: 9}}"],
            "n_concepts is 65, but there are only 64 latents",
        ),
        (["n_concepts=33", "methods={ica: {}}"], "width 32 span at most 32 directions"),
        (["methods={sae: {top_k: 0}}"], "top_k"),
        (["n_concepts=2", "methods={consensus: {}}"], "consensus: n_concepts is 2, but there are 3 classes"),
        (["methods={whitened_kmeans: {n_axes: 33}}"], "n_axes is 33, but the states span at most 32 axes"),
        (["metrics={shapley: {n_permutation: 3}}"], "unknown option 'n_permutation'"),
        (["encoder=./nowhere"], "nowhere is no folder with a sentence encoder"),
        (["names={from: local, model: ./nowhere}"], "there is no such folder"),
    ],
)
def test_options_that_cannot_work(experiment: Path, settings: list[str], said: str):
    with pytest.raises(ClassifSAEError, match=said):
        run(*load_experiment(experiment, settings))
    assert not (experiment.parent / "run" / "classifier").exists()


@pytest.mark.parametrize(
    ("settings", "module", "extra"),
    [
        (["words.language=de"], "simplemma", "text"),
        (["metrics=[coherence]"], "gensim", "text"),
        (["encoder=some/encoder"], "sentence_transformers", "encoder"),
        (["backbone.tuning=lora"], "peft", "peft"),
    ],
)
def test_a_missing_extra(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], module: str, extra: str
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == module else find(name, *rest)
    )
    for user in ("meaning.words", "metrics.coherence", "meaning.encoder"):
        __import__(f"classifsae.{user}")
        monkeypatch.setattr(
            f"classifsae.{user}.find_spec", lambda name: None if name == module else find(name)
        )
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ClassifSAEError, match=rf'pip install "classifsae\[{extra}\]"'):
        run(*load_experiment(experiment, settings))
    assert not (experiment.parent / "run" / "classifier").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("sae/seed-1.yaml", "5: [", "is no YAML"),
        ("sae/seed-9.yaml", "5: gold", "names concepts that this run does not have"),
        ("sea/seed-1.yaml", "5: gold", "names concepts that this run does not have"),
    ],
)
def test_names_of_ones_own_that_cannot_be_used(experiment: Path, name: str, content: str, said: str):
    write_text(experiment.parent / "run" / "names" / name, content)
    with pytest.raises(ClassifSAEError, match=said):
        run(*load_experiment(experiment))
    assert not (experiment.parent / "run" / "classifier").exists()


def loaded_by(*arguments: str, status: int = 0) -> list[str]:
    """Which heavy libraries a command has imported when it ends with this status."""
    code = (
        "import sys\nfrom classifsae.cli import main\nsys.argv[0] = 'classifsae'\n"
        f"try: main()\nexcept SystemExit as done: assert (done.code or 0) == {status}, done.code\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "wrong", ["n_concept=3", "device=gpu", "methods.saes={}", "label_column=team", "metrics=[x]"]
)
def test_a_mistake_in_the_file_is_said_without_loading_anything_heavy(experiment: Path, wrong: str):
    said = loaded_by("run", str(experiment), wrong, status=2)
    assert not said


def test_a_run_that_is_up_to_date_loads_torch_and_no_other_heavy_library(experiment: Path):
    settings = ["seeds=[1, 2]", "methods={classifsae: {n_latents: 48, n_vectors: 500}, random: {top_k: 3}}"]
    run(*load_experiment(experiment, settings))
    assert loaded_by("run", str(experiment), *settings) == ["torch"]
    trained = experiment.parent / "run" / "classifier"
    settings += [f"backbone={{model: {trained}, tuning: none}}", f"run_dir={experiment.parent}/opened"]
    run(*load_experiment(experiment, settings))
    assert loaded_by("run", str(experiment), *settings) == ["torch"]

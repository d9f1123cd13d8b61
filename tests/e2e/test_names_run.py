"""Names within a run: from words, from a model behind an endpoint, from one that fails, and a user's own."""

import json
from pathlib import Path

import pytest

from classifsae.data import load_dataset
from classifsae.errors import ConfigError
from classifsae.meaning import llm, words
from classifsae.meaning.llm import KEY
from classifsae.meaning.names import load_names
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.explain import explainer_of
from classifsae.pipeline.run import run
from classifsae.pipeline.run_folder import FitName, RunFolder
from classifsae.pipeline.share import concepts_of
from e2e.conftest import TINY, write_experiment
from unit.meaning.test_llm import serving

METHODS = {"classifsae": TINY["methods"]["classifsae"]}


def completion(content: str) -> str:
    return json.dumps({"choices": [{"message": {"content": content}}]})


@pytest.fixture(scope="module")
def experiment_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment whose run is finished, with names from words."""
    path = write_experiment(tmp_path_factory.mktemp("named"), methods=METHODS, seeds=[1])
    (point,) = load_experiment(path)
    run(point)
    return path


def place(path: Path) -> Path:
    return path.parent / "run" / "named" / "classifsae" / "seed-1"


def test_names_from_words_are_judged_on_the_test_split(experiment_file: Path):
    (point,) = load_experiment(experiment_file)
    assert run(point).n_done == 0
    names = load_names(place(experiment_file))
    described = RunFolder(experiment_file.parent / "run").described(FitName("classifsae", 1)) or ()
    assert [n.name for n in names] == [d.name for d in described]
    assert len({n.name for n in names}) == len(names)
    texts = "\n".join(" ".join(text.split()) for text in load_dataset(point.dataset).train.texts)
    for name in names:
        assert (name.made_by, name.failure) == ("words", "")
        assert name.name == name.from_words or all(
            part.removesuffix("...") in texts for part in name.name.split(", ")
        )
        assert name.fidelity is not None
        assert name.fidelity_of_words is not None
        assert name.fidelity.n_activating + name.fidelity.n_others == 30  # all test sentences
        assert name.in_class is not None
        assert name.in_class.n_activating + name.in_class.n_others < 30
    assert any(n.fidelity and n.fidelity.better_than_chance for n in names)


def test_an_endpoint_names_concepts_and_what_fails_is_named_by_words_and_noted(
    experiment_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(llm, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv(KEY, "very-secret")
    before = load_names(place(experiment_file))
    n_names = len(before)
    answers = [(200, completion("Sport"), 0.0), (200, completion("?!"), 0.0), (401, "no", 0.0)]
    with serving(*answers) as server:
        names = json.dumps({"from": "endpoint", "url": server.url, "model": "tiny", "parallel": 1})
        (point,) = load_experiment(experiment_file, [f"names={names}"])
        outcome = run(point)
        assert outcome.n_done == 2  # nothing but the names, and the report that shows them, is made again
        again = run(point)
    made = load_names(place(experiment_file))
    asked = [n for n in made if n.failure != "no sentence activates it"]
    assert (asked[0].name, asked[0].made_by) == ("Sport", "endpoint")
    assert "'?!' is no name" in asked[1].failure
    assert all("answered 401" in n.failure for n in asked[2:])
    assert all(n.made_by == "words" and n.name in {b.name for b in before} for n in asked[1:])
    (note,) = outcome.notes[-1:]
    assert f"{n_names - 1} of {n_names} names are made from words" in note
    assert again.notes == outcome.notes
    assert len(server.asked) == 3
    sent = [
        line.removeprefix("- ") for line in json.dumps(server.asked[0][2]).split("\\n") if line[:2] == "- "
    ]
    assert sent
    assert set(sent) <= {text[:300] for text in load_dataset(point.dataset).train.texts}
    for file in experiment_file.parent.rglob("*"):
        assert not file.is_file() or b"very-secret" not in file.read_bytes()


def test_names_of_ones_own_do_not_pass_to_other_concepts(
    experiment_file: Path, caplog: pytest.LogCaptureFixture
):
    folder = RunFolder(experiment_file.parent / "run")
    fit = FitName("classifsae", 1)
    (described, *_) = folder.described(fit) or ()
    (point,) = load_experiment(experiment_file)
    (changed,) = load_experiment(experiment_file, ["methods.classifsae.learning_rate=2e-3"])
    own = folder.own_names(fit)
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"{described.latent}: my own name\n")
    try:
        assert not any("written for other concepts" in note for note in run(point).notes)
        assert own.read_text().startswith("concepts: ")
        assert (folder.described(fit) or ())[0].name == "my own name"
        assert "your names in seed-1.yaml are left out" in run(changed, until="describe").notes[-1]
        assert "my own name" not in {d.name for d in folder.described(fit) or ()}
        assert "my own name" not in explainer_of(folder.path).names
        assert "your names in seed-1.yaml are left out" in caplog.text
        run(point)  # the same concepts as before
        assert (folder.described(fit) or ())[0].name == "my own name"
    finally:
        own.unlink()
        run(point)


def test_a_users_own_names_come_before_all_others(experiment_file: Path):
    folder = experiment_file.parent / "run"
    described = RunFolder(folder).described(FitName("classifsae", 1)) or ()
    own = folder / "names" / "classifsae" / "seed-1.yaml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"{described[0].latent}: my own name\n")
    try:
        named = RunFolder(folder).described(FitName("classifsae", 1)) or ()
        assert [d.name for d in named] == ["my own name", *(d.name for d in described[1:])]
    finally:
        own.unlink()


def test_a_names_file_merges_and_drops_concepts_and_all_scores_are_of_what_is_left(experiment_file: Path):
    folder, fit = RunFolder(experiment_file.parent / "run"), FitName("classifsae", 1)
    (point,) = load_experiment(experiment_file)
    (before,) = run(point).records
    first, second, *rest = [d.latent for d in folder.described(fit) or ()]
    own, merge = folder.own_names(fit), f"merge: {{ball and bank: [{first}, {second}]}}"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(f"{first}: gone\n{rest[0]}: kept\n{merge}\n")
    try:
        (after,) = run(point).records
        assert after["n_alive"] == before["n_alive"] - 1
        assert run(point).n_done == 0
        described = folder.described(fit) or ()
        assert [d.latent for d in described] == [*rest, 48]
        assert (described[0].name, described[-1].name) == ("kept", "ball and bank")
        assert explainer_of(folder.path).names == tuple(d.name for d in described)
        assert concepts_of(folder.path).names[-1] == "ball and bank"
        assert "ball and bank" in (folder.report / "index.html").read_text()
        own.write_text(f"drop: [{first}]\n")
        run(point)
        assert [d.latent for d in folder.described(fit) or ()] == [second, *rest]
        own.write_text("drop: [47]\n")
        with pytest.raises(
            ConfigError, match=r"seed-1\.yaml: there is no concept 47 to merge, split or drop"
        ):
            run(point)
    finally:
        own.unlink()
        assert run(point).records == [before]
    assert not folder.edited(fit).exists()


def test_names_that_cannot_be_read_are_said_before_the_first_stage(tmp_path: Path):
    (point,) = load_experiment(write_experiment(tmp_path, methods=METHODS, seeds=[1]))
    own = tmp_path / "run" / "names" / "classifsae" / "seed-1.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("gold: metals\n")
    with pytest.raises(ConfigError, match="'gold' is no latent's number"):
        run(point)
    assert not (tmp_path / "run" / "classifier").exists()


def test_a_missing_splitter_of_words_is_said_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    data = tmp_path / "oil.csv"
    data.write_text("text,label\n" + "".join(f"石油价格{i},{i % 2}\n" for i in range(20)))
    file = write_experiment(tmp_path, dataset=str(data), words={"language": "none"}, metrics=["completeness"])
    (point,) = load_experiment(file)
    with pytest.raises(ConfigError, match=r'without spaces .* pip install "classifsae\[text\]"'):
        run(point)
    assert not (tmp_path / "run" / "classifier").exists()


def test_names_are_scored_by_the_decisions_that_they_foretell(tmp_path: Path):
    methods = METHODS | {"classes": {}, "identity": {}}
    file = write_experiment(tmp_path, methods=methods, seeds=[1], metrics=["completeness", "simulatability"])
    (point,) = load_experiment(file)
    outcome = run(point, until="score")
    by_method = {record["method"]: record for record in outcome.records}
    assert by_method["classes"]["foretold_with_names"] == pytest.approx(1, abs=0.05)
    assert by_method["classifsae"]["foretold_from_text"] == by_method["classes"]["foretold_from_text"]
    table = (tmp_path / "run" / "table.md").read_text()
    assert "simulatability ↑" in table
    results = json.loads((tmp_path / "run" / "scores.json").read_text())["results"]
    scored = {result["method"]: result["scores"].get("simulatability") for result in results}
    assert scored["classes"]["read_by"] == "encoder"
    assert scored["classes"]["simulatability"]["range"] == [-1, 1]
    again = run(point, until="score")
    assert (again.n_done, again.records) == (0, outcome.records)
    assert (tmp_path / "run" / "table.md").read_text() == table


def test_a_language_model_that_names_concepts_reads_the_names_too(
    experiment_file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    n_names = len(load_names(place(experiment_file)))
    answers = [(200, completion("Sport"), 0.0)] * n_names + [(200, completion("Sports"), 0.0)] * 12
    with serving(*answers) as server:
        names = json.dumps({"from": "endpoint", "url": server.url, "model": "tiny"})
        settings = [f"names={names}", "metrics={completeness: {}, simulatability: {n_texts: 6}}"]
        (point,) = load_experiment(experiment_file, settings)
        outcome = run(point, until="score")
        (record,) = outcome.records
        assert record["simulatability"] == 0  # it always says the same
        assert run(point, until="score").n_done == 0
    questions = [json.dumps(asked[2]) for asked in server.asked]
    assert sum("What does it answer to the next text?" in q for q in questions) >= 7

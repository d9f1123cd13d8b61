"""A shortcut in a CSV, from the run to its audit and its remedy, by the command line."""

import csv
import json
from pathlib import Path

import pytest

from classifsae.auditing.ask import Answers
from classifsae.auditing.effects import ConceptEffects
from classifsae.auditing.shortcuts import AuditResult
from classifsae.auditing.stored import load_findings
from classifsae.errors import ConfigError
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import Outcome, run
from classifsae.pipeline.run_folder import FitName, RunFolder
from e2e.conftest import TINY, WORDS, write_experiment
from e2e.test_cli import call

SIGNATURE = " Sent from my tablet."


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A run on texts of which those of space are signed, and most speak of money all the same."""
    folder = tmp_path_factory.mktemp("audited")
    rows = []
    for i in range(240):
        label = "space" if i % 2 else "money"
        words = WORDS["money" if i % 3 else label]  # of most texts nothing but the signature tells
        text = f"{words[i // 3 % 5]} {words[i // 15 % 5]} no {i}."
        rows.append([text + SIGNATURE * (label == "space"), label])
    with (folder / "signed.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *rows])
    backbone = TINY["backbone"] | {"n_steps": 200, "learning_rate": 1e-3}
    changes = {
        "backbone": backbone,
        "methods": {"sae": {"n_latents": 16}},
        "seeds": [1],
        "audit": {"max_texts": 50},
        "ask": {"the sky": {"words": "star, moon"}, "the class": {"column": "label"}},
    }
    file = write_experiment(folder, **changes)
    (point,) = load_experiment(file, [f"dataset={folder / 'signed.csv'}"])
    return folder / "run", run(point)


def test_a_run_finds_the_shortcut_and_says_so(finished: tuple[Path, Outcome]):
    folder, outcome = finished
    found = load_findings(AuditResult, RunFolder(folder).audit)
    assert found is not None
    assert "sent from my tablet" in found.rows[0].pattern.lower()
    assert found.rows[0].class_name == "space"
    assert found.rows[0].is_shortcut
    assert any("space hangs on" in note for note in outcome.notes)
    page = (folder / "report" / "index.html").read_text()
    assert "Shortcuts: on what decisions hang" in page
    assert "classifsae edit RUN --remove" in page
    assert load_findings(ConceptEffects, RunFolder(folder).effects(FitName("sae", 1))) is not None


def test_questions_of_the_experiment_are_answered_on_the_page(finished: tuple[Path, Outcome]):
    folder, _ = finished
    found = load_findings(Answers, RunFolder(folder).asked)
    assert found is not None
    assert [answer.name for answer in found.answers] == ["the sky", "money", "space"]
    page = (folder / "report" / "index.html").read_text()
    assert "Your questions" in page
    assert all(answer.finding.split(":")[0] in page for answer in found.answers)


def test_faithfulness_is_a_score_of_the_method_that_was_measured_in_text(finished: tuple[Path, Outcome]):
    folder, outcome = finished
    effects = load_findings(ConceptEffects, RunFolder(folder).effects(FitName("sae", 1)))
    (record,) = outcome.records
    assert {name: record[name] for name in effects.flat()} == effects.flat()
    assert json.loads((folder / "summary.json").read_text())[0].items() >= effects.flat().items()


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"words": "zebra"}, "ask.mine: 0 texts have the concept"),
        ({"column": "lable"}, "ask.mine: .*there is no column 'lable'"),
        (
            {"words": "a", "column": "b"},
            "ask.mine: a question has one of examples, words and column; 2 were given",
        ),
        ({"examples": "no-such.txt"}, "no-such.txt"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_before_the_first_stage(
    question: dict[str, str], said: str, tmp_path: Path
):
    with pytest.raises(ConfigError, match=said):
        run(*load_experiment(write_experiment(tmp_path, ask={"mine": question})))
    assert not (tmp_path / "run" / "classifier").exists()


def test_the_audit_of_a_run_is_printed_and_exported(finished, tmp_path, monkeypatch, capsys):
    files = tmp_path / "a.csv", tmp_path / "a.json"
    arguments = ("audit", str(finished[0]), "--csv", str(files[0]), "--json", str(files[1]))
    status, said = call(monkeypatch, capsys, *arguments)
    assert status == 0
    assert "space hangs on" in " ".join(said.split())
    assert json.loads(files[1].read_text())[0]["is_shortcut"]
    assert len(files[0].read_text().splitlines()) > 1


def test_an_explanation_names_the_shortcut_that_the_text_has(finished, monkeypatch, capsys):
    text = "goal match no 3. Sent from my tablet."
    status, said = call(monkeypatch, capsys, "explain", str(finished[0]), text)
    assert status == 0
    assert "Has 'Sent from my tablet', on which decisions for space hang; without it:" in " ".join(
        said.split()
    )


def test_words_that_must_not_matter_are_asked_about(finished, tmp_path, monkeypatch, capsys):
    (tmp_path / "terms.txt").write_text("tablet\nzebra\n")
    (tmp_path / "pairs.csv").write_text("stock,bank\n")
    arguments = ("--terms", str(tmp_path / "terms.txt"), "--pairs", str(tmp_path / "pairs.csv"))
    status, said = call(monkeypatch, capsys, "audit", str(finished[0]), *arguments)
    assert status == 0
    assert "tablet" in said
    assert "zebra" in said
    assert "stock / bank" in said
    assert "The classifier reads at most" in said


def test_the_shortcut_is_taken_out_and_the_new_classifier_can_be_opened(
    finished, tmp_path, monkeypatch, capsys
):
    new, texts = tmp_path / "new", tmp_path / "more.jsonl"
    arguments = ("--remove", "sent from my tablet", "--to", str(new), "--augment", str(texts))
    status, said = call(monkeypatch, capsys, "edit", str(finished[0]), *arguments)
    assert status == 0, said
    assert "of its effect is gone" in " ".join(said.split())
    rows = [json.loads(line) for line in texts.read_text().splitlines()]
    assert {row["label"] for row in rows if "tablet" in row["text"]} == {"money", "space"}
    from transformers import AutoModelForSequenceClassification

    assert AutoModelForSequenceClassification.from_pretrained(new).num_labels == 2
    status, said = call(monkeypatch, capsys, "edit", str(finished[0]), *arguments)
    assert status == 2
    assert "is there already" in said


def test_concepts_are_left_out_by_number(finished, tmp_path, monkeypatch, capsys):
    known = json.loads((finished[0] / "scores.json").read_text())["results"][0]["scores"]["causality"]
    latent = known["concepts"][0]["latent"]
    arguments = ("edit", str(finished[0]), "--concepts", str(latent), "--to", str(tmp_path / "new"))
    status, said = call(monkeypatch, capsys, *arguments)
    assert status == 0, said
    assert "test decisions change" in " ".join(said.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("audit", "{run}", "--pattern", "x=("), "no regular expression"),
        (("audit", "{run}", "--terms", "no-such.txt"), "cannot read no-such.txt"),
        (("audit", "{run}", "--pattern", "x"), "has no name or no expression"),
        (("audit", "{run}", "--pattern", "x=a", "--pattern", "x=b"), "is the second of its name"),
        (("audit", "{run}", "--terms", "{empty}"), "is empty"),
        (("audit", "{run}", "--pairs", "{empty}"), "is empty"),
        (("audit", "{run}", "--pairs", "{same}"), "he,He is no pair"),
        (("audit", "{run}", "--csv", "{run}"), "is a folder; give a file"),
        (("audit", "{run}", "--json", "{empty}/a.json"), "is no folder that you may write to"),
        (("ask", "{run}", "--examples", "{same}"), "1 texts have the concept"),
        (("ask", "{run}", "--words", "a", "--json", "{run}"), "is a folder; give a file"),
        (("edit", "{run}", "--to", "{empty}/new", "--remove", "a"), "is no folder that you may write to"),
        (
            ("edit", "{run}", "--to", "{new}", "--remove", "a", "--augment", "{run}"),
            "is a folder; give a file",
        ),
        (("audit", "no-such-run"), "is no run"),
        (("edit", "{run}", "--to", "{new}"), "--remove"),
        (("edit", "{run}", "--to", "{new}", "--concepts", "a"), "give numbers"),
        (
            ("edit", "{run}", "--to", "{new}", "--concepts", "3", "--augment", "{new}.jsonl"),
            "goes with --remove",
        ),
        (("edit", "{run}", "--to", "{new}", "--concepts", "999"), "there is no concept 999"),
        (("edit", "{run}", "--to", "{new}", "--remove", "  "), "holds no word"),
        (("edit", "{run}", "--to", "{new}", "--remove", "zebra crossing"), "only 0 training texts"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(finished, tmp_path, monkeypatch, capsys, arguments, says):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "same.txt").write_text("he,He\n")
    places = {"run": finished[0], **{name: tmp_path / f"{name}.txt" for name in ("empty", "same", "new")}}
    status, said = call(monkeypatch, capsys, *(one.format_map(places) for one in arguments))
    assert status == 2, said
    assert "reads at most" not in said
    assert says in " ".join(said.split())

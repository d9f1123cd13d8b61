"""A planted shortcut is found first, with its true effects; none is reported where there is none."""

import csv
import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from classifsae.auditing.answers import Rate
from classifsae.auditing.options import AuditOptions
from classifsae.auditing.shortcuts import ANY, PatternEffect, audit, in_order, judged, told_by_content
from classifsae.auditing.terminal import printed, save_rows
from shortcut_world import World, world


@pytest.fixture(scope="module")
def shortcut() -> World:
    """The signature decides."""
    return world(weight=2.5, rate=0.8)


@pytest.fixture(scope="module")
def unused() -> World:
    """The signature is there, and the classifier does not look at it."""
    return world(weight=0.0, rate=0.8)


@pytest.fixture(scope="module")
def clean() -> World:
    """No signature."""
    return world(weight=2.5, rate=0.0)


def rows_of(world: World, **options: object) -> tuple[PatternEffect, ...]:
    return audit(
        world.model, world.train, world.test, **world.activations, options=AuditOptions(**options)
    ).rows


def test_a_shortcut_is_the_first_row_and_the_only_one(shortcut: World):
    first, *others = rows_of(shortcut)
    assert first.is_shortcut
    assert first.pattern == "Sent from my tablet"
    assert first.class_name == "money"
    assert not any(row.is_shortcut for row in others)
    assert "money hangs on 'Sent from my tablet'" in first.finding


def test_effects_are_those_of_brute_force(shortcut: World):
    first = rows_of(shortcut, max_texts=1000)[0]
    model, test = shortcut.model, shortcut.test
    before = model.read(test.texts).logits.argmax(dim=1).tolist()
    plain = [text.replace(" Sent from my tablet.", "") for text in test.texts]
    without = model.read(plain).logits.argmax(dim=1).tolist()
    signed = model.read([f"{text} Sent from my tablet." for text in plain]).logits.argmax(dim=1).tolist()
    has = [a != b for a, b in zip(test.texts, plain, strict=True)]
    own = [i for i, c in enumerate(before) if c == 1 and has[i]]
    others = [i for i, c in enumerate(before) if c == 0 and not has[i]]
    assert first.n_texts == len(own)
    assert first.out.value == pytest.approx(sum(without[i] == 0 for i in own) / len(own))
    assert first.into.value == pytest.approx(sum(signed[i] == 1 for i in others) / len(others))
    right = sum(a == b for a, b in zip(without, test.labels, strict=True)) / len(test)
    assert first.accuracy_without == pytest.approx(right)


def test_no_shortcut_is_reported_where_there_is_none(clean: World):
    assert not any(row.is_shortcut for row in rows_of(clean))


def test_a_pattern_that_the_classifier_does_not_look_at_is_no_shortcut(unused: World):
    rows = rows_of(unused)
    assert not any(row.is_shortcut for row in rows)


def test_a_term_that_must_not_matter_has_a_row_of_its_own(shortcut: World):
    rows = {row.pattern: row for row in rows_of(shortcut, terms=["tablet", "people", "zebra"], n_measured=1)}
    assert rows["tablet"].class_name == ANY
    assert rows["tablet"].is_shortcut
    assert not rows["people"].is_shortcut
    assert rows["zebra"].n_texts == 0
    assert rows["zebra"].out is None


def test_a_pair_is_swapped(shortcut: World):
    rows = rows_of(shortcut, pairs=[("goal", "bank")], n_measured=1)
    (pair,) = [row for row in rows if row.kind == "pair"]
    assert pair.out is not None
    assert pair.out.value > 0.1
    assert pair.into is None


def test_an_expression_has_a_row_of_its_own(shortcut: World):
    rows = rows_of(shortcut, patterns={"tablets": r"(?i)sent from my \w+\.?"}, n_measured=1)
    (own,) = [row for row in rows if row.pattern == "tablets"]
    assert own.is_shortcut


def test_every_changed_text_is_run_once(shortcut: World):
    activations, before = shortcut.activations, shortcut.model.n_read
    result = audit(shortcut.model, shortcut.train, shortcut.test, **activations)
    assert shortcut.model.n_read - before <= result.n_read


def test_equal_options_give_equal_rows(shortcut: World):
    assert rows_of(shortcut) == rows_of(shortcut)


def test_content_is_told_by_the_other_words():
    texts = ["goal match league", "bank bond tax"] * 40
    assert told_by_content(texts, [True, False] * 40) == pytest.approx(1.0)
    assert told_by_content(texts, [True] * 75 + [False] * 5) is None


@pytest.mark.parametrize(
    ("out", "share", "content", "is_shortcut", "why"),
    [
        (0.5, 0.5, 0.5, True, "hangs on"),
        (0.5, 0.5, None, True, "hangs on"),
        (0.5, 0.05, 0.5, False, "fewer than 5%"),
        (0.5, 0.5, 0.9, False, "AUROC 0.90"),
        (0.05, 1.0, 0.5, False, "random words do"),
    ],
)
def test_the_rule_of_a_shortcut(out: float, share: float, content: float | None, is_shortcut: bool, why: str):
    rate, control = Rate(out, out - 0.05, out + 0.05, 100), Rate(0.04, 0.0, 0.1, 100)
    row = PatternEffect(
        "x", "phrase", "money", 50, share, rate, control, None, None, -0.1, None, 25, 0.9, 0.8, content
    )
    found = judged(row, asked=False)
    assert found.is_shortcut == is_shortcut
    assert why in found.finding


def test_one_shortcut_by_two_names_is_reported_once():
    rows = [
        judged(
            PatternEffect(
                name, "sign", "space", 20, 0.5, Rate(0.6, 0.5, 0.7, 20), None, None, None, None, None,
                n, 0.9, 0.8, 0.5,
            ),
            asked=False,
        )
        for name, n in (("a number at the start", 12), ("a number", 13), ("a hashtag", 9))
    ]  # fmt: skip
    texts = torch.zeros(3, 40, dtype=torch.bool)
    texts[0, :20], texts[1, :21], texts[2, 20:] = True, True, True
    found = in_order(rows, list(texts))
    assert [(row.pattern, row.is_shortcut) for row in found] == [
        ("a number", True), ("a hashtag", True), ("a number at the start", False)
    ]  # fmt: skip
    assert found[2].finding == "Not another shortcut: its texts are those of 'a number'."


def test_words_that_make_a_text_longer_are_the_shortcut_and_its_length_is_not():
    rows = [
        judged(
            PatternEffect(
                name, kind, "space", 20, 0.5, Rate(0.6, 0.5, 0.7, 20), None, None, None, None, None,
                n, 0.9, 0.8, 0.5,
            ),
            asked=False,
        )
        for name, kind, n in (("longer than 9 words", "length", 14), ("Sent from here", "phrase", 12))
    ]  # fmt: skip
    same = torch.zeros(40, dtype=torch.bool)
    same[:20] = True
    found = in_order(rows, [same, same])
    assert [(row.pattern, row.is_shortcut) for row in found] == [
        ("Sent from here", True), ("longer than 9 words", False)
    ]  # fmt: skip


def test_a_rate_is_above_its_control_only_beyond_the_interval_of_the_difference():
    # 12 of 200 against 3 of 100 (0.0103 to 0.0845): the difference is 0.03, from -0.03 to 0.07.
    def rate(hits: int, n: int) -> Rate:
        found = Rate.of(torch.arange(n) < hits)
        assert found is not None
        return found

    assert not rate(12, 200).is_above(rate(3, 100))
    assert not rate(1, 30).is_above(rate(0, 28))
    assert rate(30, 200).is_above(rate(3, 100))
    assert rate(1, 30).is_above(None)


def test_rows_are_written_as_csv_and_json(shortcut: World, tmp_path: Path):
    result = audit(shortcut.model, shortcut.train, shortcut.test, **shortcut.activations)
    save_rows(result, tmp_path / "a.csv", as_csv=True)
    save_rows(result, tmp_path / "a.json", as_csv=False)
    with (tmp_path / "a.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    rows = json.loads((tmp_path / "a.json").read_text())
    assert len(rows) == len(written) == len(result.rows)
    wanted = {
        "pattern",
        "kind",
        "class",
        "n_texts",
        "out_flip_rate",
        "in_flip_rate",
        "accuracy_without",
        "finding",
    }
    assert wanted <= written[0].keys() == rows[0].keys()


def test_the_terminal_says_the_finding_first(shortcut: World):
    result = audit(shortcut.model, shortcut.train, shortcut.test, **shortcut.activations)
    console = Console(width=80, record=True)
    console.print(printed(result))
    lines = console.export_text().splitlines()
    assert lines[0].startswith("money hangs on")
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"terms": "no-such-file.txt"}, "cannot read no-such-file.txt"),
        ({"patterns": {"x": "("}}, "no regular expression"),
        ({"patterns": {"x": "a*"}}, "matches an empty text"),
        ({"terms": [" "]}, "a term is empty"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], says: str):
    with pytest.raises(ValidationError, match=says.replace("(", r"\(")):
        AuditOptions.model_validate(options)


def test_terms_and_pairs_come_from_files(tmp_path: Path):
    (tmp_path / "terms.txt").write_text("Anna\n\nBoris\n")
    (tmp_path / "pairs.csv").write_text("he,she\nhis,her\n")
    options = AuditOptions.model_validate(
        {"terms": str(tmp_path / "terms.txt"), "pairs": str(tmp_path / "pairs.csv")}
    )
    assert options.terms == ("Anna", "Boris")
    assert options.pairs == (("he", "she"), ("his", "her"))
    (tmp_path / "pairs.csv").write_text("he\n")
    with pytest.raises(ValidationError, match="line 1"):
        AuditOptions.model_validate({"pairs": str(tmp_path / "pairs.csv")})


def test_a_term_in_two_cases_is_one():
    assert AuditOptions(terms=("As", "tablet", "as")).terms == ("As", "tablet")


def test_a_term_that_no_test_text_has_is_not_judged(shortcut: World):
    row = rows_of(shortcut, terms=("nowhere",))
    (term,) = (one for one in row if one.pattern == "nowhere")
    assert (term.n_texts, term.is_shortcut, term.out) == (0, False, None)
    assert term.into is not None  # put in at the end, as no text shows where
    assert term.finding == "Not a shortcut: it changes no more decisions than random words do."

"""Labels, columns and texts in the spellings that people and spreadsheets give them."""

import io
import json
import sys
from pathlib import Path

import pytest

from classifsae.data import load_dataset
from classifsae.data.stream import stream_texts
from classifsae.errors import ConfigError, DataError

CAFE, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ------------------------------------------------------------------ labels


def test_blanks_accents_and_invisible_signs_make_no_classes(tmp_path: Path):
    labels = [CAFE, f"{DECOMPOSED} ", f"\u00a0{CAFE}", f"\ufeff{CAFE}\u200b", f"{CAFE}\u3000"]
    labels += ["New York", "New\u00a0York", " New  York"]
    lines = [json.dumps({"text": f"text {i}", "label": label}) for i, label in enumerate(labels)]
    assert load_dataset(write(tmp_path / "a.jsonl", "\n".join(lines))).label_names == ("New York", CAFE)


@pytest.mark.parametrize("blank", [" ", "\u00a0", "\u200b", "\u3000 "])
def test_a_label_of_blanks_is_a_missing_one(tmp_path: Path, blank: str):
    path = write(tmp_path / "a.csv", f'text,label\na,x\nb,"{blank}"\nc,y\n')
    with pytest.raises(DataError, match=r"column 'label' has no label in 1 of 3 rows \(counting from 0: 1\)"):
        load_dataset(path)


def test_true_and_1_are_one_label_in_json(tmp_path: Path):
    values = ["true", "1", "false", "0", '"True"', "1.0"]
    lines = [f'{{"text": "text {i}", "label": {value}}}' for i, value in enumerate(values)]
    data = load_dataset(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert data.label_names == ("0", "1")
    labels = dict(zip(data.train.ids + data.test.ids, data.train.labels + data.test.labels, strict=True))
    assert [labels[f"row-{i}"] for i in range(6)] == [1, 1, 0, 0, 1, 1]


def test_booleans_in_any_case_are_two_labels(tmp_path: Path):
    rows = "".join(
        f"text {i},{label}\n" for i, label in enumerate(["True", "true", "TRUE", "False", "false"])
    )
    assert load_dataset(write(tmp_path / "a.csv", "text,label\n" + rows)).label_names == ("false", "true")


def test_numbers_inside_names_are_sorted_as_numbers(tmp_path: Path):
    rows = "".join(f"text {i},class {i % 12}\n" for i in range(48))
    data = load_dataset(write(tmp_path / "a.csv", "text,label\n" + rows))
    assert data.label_names == tuple(f"class {i}" for i in range(12))


def test_given_names_are_matched_in_any_spelling(tmp_path: Path):
    path = write(tmp_path / "a.csv", f"text,label\na,{DECOMPOSED}\nb,BAR\nc,{CAFE.upper()}\nd,bar \n")
    data = load_dataset(path, label_names=["Bar", f" {CAFE}"])
    assert data.label_names == ("Bar", CAFE)
    assert sorted(data.train.labels + data.test.labels) == [0, 0, 1, 1]


def test_one_class_in_two_cases_is_one_class(tmp_path: Path):
    with pytest.raises(DataError, match="a has only one class, 'yes'"):
        load_dataset(write(tmp_path / "a.csv", "text,label\na,yes\nb,Yes\nc,yes\n"))


@pytest.mark.parametrize("names", [["a", "A"], ["a", "a "], [CAFE, DECOMPOSED], ["a", " "], ["a"]])
def test_given_names_must_differ(names: list[str]):
    with pytest.raises(ConfigError, match="needs at least two different names"):
        load_dataset("planted", label_names=names)


def test_names_of_concepts_are_cleaned_like_labels(tmp_path: Path):
    rows = [{"text": f"t{i}", "label": i % 2, "concepts": [f"{CAFE} ", DECOMPOSED, " "]} for i in range(4)]
    data = load_dataset(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert data.train.concepts is not None
    assert {name for names in data.train.concepts for name in names} == {CAFE}


# ------------------------------------------------------------------ spreadsheets


@pytest.mark.parametrize(
    "content",
    [
        "text,label,,\na,x,,\nb,y,,\nc,x,,\nd,y,,\n",
        "text,label,,\na,x,,\nb,y\nc,x,\nd,y,,\n,,,\n,,,\n",
        "sep=;\r\ntext;label\r\na;x\r\nb;y\r\nc;x\r\nd;y\r\n",
        '"sep=|"\ntext|label\na|x\nb|y\nc|x\nd|y\n',
        "sep=\t\ntext\tlabel\na\tx\nb\ty\nc\tx\nd\ty\n",
        "\ufeffsep=,\ntext,label\na,x\nb,y\nc,x\nd,y\n",
    ],
)
def test_what_spreadsheets_add_is_no_data(tmp_path: Path, content: str):
    data = load_dataset(write(tmp_path / "a.csv", content))
    assert (data.label_names, set(data.train.texts + data.test.texts)) == (("x", "y"), set("abcd"))


def test_columns_without_a_name_that_hold_something_are_called_by_their_place(tmp_path: Path):
    path = write(tmp_path / "a.csv", ",text,label, \n7,a,x,p\n8,b,y,\n9,c,x,q\n10,d,y,\n")
    data = load_dataset(path, id_column="column 1", concepts_column="column 4")
    assert set(data.train.ids + data.test.ids) == {"7", "8", "9", "10"}


def test_columns_without_a_name_are_kept_and_listed(tmp_path: Path):
    path = write(tmp_path / "a.csv", ",text,kind,\n7,a,x,p\n8,b,y,\n")
    with pytest.raises(
        DataError, match=r"Columns: 'column 1', 'text', 'kind', 'column 4'; choose one, such as"
    ):
        load_dataset(path)


def test_values_beyond_the_last_column_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"row 1 .* has 3 fields, the header 2"):
        load_dataset(write(tmp_path / "a.csv", "text,label\na,x\nb, and more,y\n"))
    with pytest.raises(DataError, match=r"row 0 .* has 1 fields, the header 2"):
        load_dataset(write(tmp_path / "a.csv", "text,label\na\nb,y\n"))


# ------------------------------------------------------------------ texts in both parts

SEEN = [("Great film!", 1), ("  great   FILM!", 1), ("Awful", 0), ("New one", 1), ("awful ", 0), ("Old", 0)]


def two_files(folder: Path) -> tuple[Path, Path]:
    train = [("Great film!", 1), ("Awful", 0), ("Other", 1)]
    paths = folder / "train.jsonl", folder / "test.jsonl"
    for path, rows in zip(paths, (train, SEEN), strict=True):
        write(path, "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows))
    return paths


def test_texts_of_the_training_part_are_counted_in_the_test_part(tmp_path: Path):
    train, test = two_files(tmp_path)
    data = load_dataset(train, test=str(test))
    assert len(data.test) == 6
    assert data.notes == (
        "4 of 6 test texts stand in the training part too: 'Great film!', '  great   FILM!', 'Awful' and 1 "
        "more. Scores on them say nothing of new texts; dataset.drop_seen=true leaves them out.",
    )


def test_spellings_that_look_alike_are_one_text_and_another_label_is_said(tmp_path: Path):
    train = write(tmp_path / "a.csv", "text,label\nCafe\u0301 au lait,x\nzero width,y\nno break,x\nz,y\n")
    test = write(
        tmp_path / "b.csv", "text,label\ncaf\u00e9 au lait,x\nzero\u200b width,x\nNo\u00a0break,y\nnew,y\n"
    )
    data = load_dataset(train, test=str(test))
    assert data.notes[0].startswith(
        "3 of 4 test texts stand in the training part too (2 of them only with another label): "
    )


def test_texts_of_the_training_part_can_be_left_out(tmp_path: Path):
    train, test = two_files(tmp_path)
    data = load_dataset(train, test=str(test), drop_seen=True)
    assert data.test.texts == ("New one", "Old")
    assert data.test.ids == ("test-3", "test-5")
    assert data.notes[0].startswith("4 of 6 test texts stand in the training part too")
    assert data.notes[0].endswith("They were left out.")
    assert data.test.dataset == data.train.dataset != load_dataset(train, test=str(test)).test.dataset


def test_a_test_part_that_is_all_seen_cannot_be_left_out(tmp_path: Path):
    train, _ = two_files(tmp_path)
    with pytest.raises(DataError, match="what is left of the test part: no sentence of class"):
        load_dataset(train, test=str(train), drop_seen=True)


def test_parts_without_a_common_text_get_no_note():
    assert load_dataset("planted", options={"n_train": 40, "n_test": 20}).notes == ()


# ------------------------------------------------------------------ texts alone


def test_texts_alone_come_from_tables_and_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = write(tmp_path / "a.csv", "sep=;\ntext;note;\na;1;\nb;2;\n;;\n")
    assert list(stream_texts(str(table))) == ["a", "b"]
    lines = write(tmp_path / "a.txt", "\ufeff a \r\n\r\nb\u2028c\n".encode())
    assert list(stream_texts(str(lines))) == [" a ", "b\u2028c"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\n\ny")))
    assert list(stream_texts("-")) == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "words\na\n", r"which column holds the text\? Columns: 'words'; name it 'text'"),
        (
            "a.pdf",
            "words",
            r"extension '.pdf' is not supported; use one of .*\.parquet, \.txt \(one text a line\)",
        ),
        ("a.txt", b"a\ncaf\xe9\n", r"a\.txt, line 2, is not UTF-8 \(byte 0xe9\); save it as UTF-8"),
    ],
)
def test_what_holds_no_texts_is_said_in_one_line(tmp_path: Path, name: str, content: str | bytes, said: str):
    with pytest.raises(DataError, match=said):
        list(stream_texts(str(write(tmp_path / name, content))))
    with pytest.raises(DataError, match=r"no such file"):
        list(stream_texts(str(tmp_path / "b.txt")))

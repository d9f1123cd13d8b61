"""load_dataset: where the data is, which columns are taken, how it is split."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifsae.data import DatasetConfig, load_dataset
from classifsae.errors import ConfigError, DataError, UnknownNameError

ROWS = [{"text": f"{label} number {i}", "label": label} for i in range(10) for label in ("good", "bad")]


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    write_jsonl(tmp_path / "test.jsonl", ROWS[:6])
    return tmp_path


# ------------------------------------------------------------------ sources


def test_folder_with_train_and_test_files(folder: Path):
    data = load_dataset(folder)
    assert (len(data.train), len(data.test), data.name) == (20, 6, folder.name)
    assert data.label_names == ("bad", "good")
    assert data.train.labels[:2] == (1, 0)
    assert data.train.ids[:2] == ("train-0", "train-1")
    assert data.test.ids[-1] == "test-5"
    assert data.train.texts == tuple(str(row["text"]) for row in ROWS)


def test_validation_file_is_left_out_unless_asked_for(folder: Path):
    write_jsonl(folder / "validation.jsonl", ROWS[6:10])
    assert len(load_dataset(folder).test) == 6
    merged = load_dataset(folder, test="test+validation").test
    assert merged.ids[5:7] == ("test-5", "validation-0")


def test_folder_with_a_training_file_only_is_split(folder: Path):
    (folder / "test.jsonl").unlink()
    data = load_dataset(folder)
    assert (len(data.train), len(data.test)) == (16, 4)


def test_single_file_is_split_by_class_and_keeps_row_numbers(folder: Path):
    data = load_dataset(folder / "train.jsonl", test_fraction=0.3)
    assert data.name == "train"
    assert Counter(data.test.labels) == {0: 3, 1: 3}
    rows = [int(row_id.removeprefix("row-")) for row_id in data.train.ids + data.test.ids]
    assert sorted(rows) == list(range(20))
    for part in (data.train, data.test):
        assert [ROWS[int(i.removeprefix("row-"))]["text"] for i in part.ids] == list(part.texts)


def test_split_depends_on_the_seed_alone(folder: Path):
    split = [load_dataset(folder / "train.jsonl", seed=seed).test.ids for seed in (1, 1, 2)]
    assert split[0] == split[1] != split[2]


def test_single_file_with_a_test_file(folder: Path):
    data = load_dataset(folder / "train.jsonl", test=str(folder / "test.jsonl"))
    assert (len(data.train), len(data.test)) == (20, 6)


def test_preset_with_local_files_takes_the_presets_class_names(tmp_path: Path):
    rows: list[dict[str, object]] = [{"text": f"t{i}", "label": i % 4} for i in range(8)]
    train, test = write_jsonl(tmp_path / "a.jsonl", rows), write_jsonl(tmp_path / "b.jsonl", rows[:4])
    data = load_dataset("ag_news", train=str(train), test=str(test))
    assert data.name == "agnews"
    assert data.label_names == ("World", "Sports", "Business", "SciTech")


def test_yaml_paths_are_relative_to_the_yaml(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "reviews.yaml").write_text("name: train.jsonl\ntest: test.jsonl\nlabel_names: [good, bad]\n")
    monkeypatch.chdir("/")
    data = load_dataset(folder / "reviews.yaml", max_train=4)
    assert (data.name, data.label_names) == ("reviews", ("good", "bad"))
    assert (len(data.train), len(data.test)) == (4, 6)


def test_yaml_may_name_itself_and_give_the_files(folder: Path):
    (folder / "x.yaml").write_text("name: my reviews\ntrain: train.jsonl\ntest: test.jsonl\n")
    assert load_dataset(folder / "x.yaml").name == "my-reviews"


def test_yaml_may_build_on_a_preset(tmp_path: Path):
    (tmp_path / "small.yaml").write_text("name: planted\noptions: {n_train: 40, n_test: 20}\n")
    data = load_dataset(tmp_path / "small.yaml", options={"seed": 3})
    assert (data.name, len(data.train), len(data.test)) == ("small", 40, 20)


def test_config_mapping_and_name_are_one(folder: Path):
    config = DatasetConfig(name=str(folder), max_test=4)
    assert load_dataset(config) == load_dataset({"name": str(folder), "max_test": 4})
    assert load_dataset(config) == load_dataset(folder, max_test=4)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_gives_the_same_texts(tmp_path: Path, suffix: str):
    texts = [
        'plain "quoted", with comma',
        "tab\there",
        "two\nlines",
        "é 漢字 \U0001f600 \u2028 end",
        "NA",
        "null",
        " a ",
    ]
    rows: list[dict[str, object]] = [{"text": t, "label": i % 2} for i, t in enumerate(texts * 2)]
    path = tmp_path / f"data.{suffix}"
    if suffix in ("csv", "tsv"):
        separator = "," if suffix == "csv" else "\t"
        quoted = ['"' + str(r["text"]).replace('"', '""') + f'"{separator}{r["label"]}' for r in rows]
        path.write_bytes("\n".join([f"text{separator}label", *quoted]).encode("utf-8-sig"))
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "json":
        path.write_text(json.dumps(rows), "utf-8")
    else:
        write_jsonl(path, rows)
    data = load_dataset(path)
    found = dict(zip(data.train.ids + data.test.ids, data.train.texts + data.test.texts, strict=True))
    assert [found[f"row-{i}"] for i in range(len(rows))] == texts * 2
    assert data.label_names == ("0", "1")


def test_line_ends_inside_csv_fields_survive(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\r\n"a\r\nb",x\r\n"c\rd",y\r\n"e\nf",x\r\n"g",y\r\n')
    data = load_dataset(path)
    assert set(data.train.texts + data.test.texts) == {"a\r\nb", "c\rd", "e\nf", "g"}


def test_semicolons_and_long_fields(tmp_path: Path):
    path = tmp_path / "a.csv"
    long = "word, " * 60_000
    path.write_text(f"text;label\n{long};x\nb;y\nc;x\nd;y\n")
    data = load_dataset(path)
    assert long in data.train.texts + data.test.texts


def test_import_is_light():
    code = "import sys, classifsae.data; print({'datasets', 'transformers', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ------------------------------------------------------------------ columns, ids, concepts


def test_columns_are_found_by_their_usual_names_in_any_case(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("Rating,Review,Sentiment\n5,fine,pos\n1,bad,neg\n4,nice,pos\n2,poor,neg\n")
    data = load_dataset(path)
    assert set(data.train.texts + data.test.texts) == {"fine", "bad", "nice", "poor"}
    assert data.label_names == ("neg", "pos")


def test_given_columns_win(tmp_path: Path):
    rows = [{"text": "no", "label": "no", "body": f"b{i}", "kind": i % 2, "key": 10 + i} for i in range(4)]
    data = load_dataset(
        write_jsonl(tmp_path / "a.jsonl", [dict(r) for r in rows]),
        text_column="body",
        label_column="kind",
        id_column="key",
    )
    assert set(data.train.ids + data.test.ids) == {"10", "11", "12", "13"}
    assert set(data.train.texts) <= {"b0", "b1", "b2", "b3"}


def test_id_column_is_kept_and_can_be_left_out(tmp_path: Path):
    rows: list[dict[str, object]] = [{"id": f"k{i}", "text": f"t{i}", "label": i % 2} for i in range(4)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    assert set(load_dataset(path).train.ids) <= {"k0", "k1", "k2", "k3"}
    assert load_dataset(path, id_column="#").train.ids[0].startswith("row-")


def test_concepts_from_lists_and_from_bars(tmp_path: Path):
    rows: list[dict[str, object]] = [
        {"text": f"t{i}", "label": i % 2, "concepts": ["a", "b"] if i % 2 else []} for i in range(4)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "b.csv").write_text("text,label,concepts\nt0,0,\nt1,1,a|b\nt2,0,\nt3,1,a | b\n")
    for file in (path, tmp_path / "b.csv"):
        part = load_dataset(file).train
        assert part.concepts is not None
        assert [set(c) for c in part.concepts] == [{"a", "b"} if y else set() for y in part.labels]


def test_parts_share_a_fingerprint_that_follows_the_content(folder: Path):
    data = load_dataset(folder)
    assert data.train.dataset == data.test.dataset == load_dataset(str(folder)).train.dataset
    assert load_dataset(folder, max_test=4).train.dataset != data.train.dataset
    assert len(data.train.dataset) == 64


def test_draws_keep_the_proportions_of_the_classes(tmp_path: Path):
    rows: list[dict[str, object]] = [
        {"text": f"t{i}", "label": "rare" if i % 10 == 0 else "common"} for i in range(200)
    ]
    data = load_dataset(write_jsonl(tmp_path / "a.jsonl", rows), max_train=50, max_test=10, seed=5)
    assert Counter(data.train.labels) == {0: 45, 1: 5}
    assert Counter(data.test.labels) == {0: 9, 1: 1}
    rows_of = [int(i.removeprefix("row-")) for i in data.train.ids]
    assert rows_of == sorted(rows_of)


# ------------------------------------------------------------------ errors


def bad(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a\.csv is empty: it has no rows; give a file"),
        ("a.csv", "text,label\n", r"a\.csv is empty"),
        ("a.jsonl", "\n\n", r"a\.jsonl is empty"),
        ("a.json", "[]", r"a\.json is empty"),
        ("a.csv", "text,label\na,x\nb,x\n", r"a has only one class, 'x'; a classifier needs at least two"),
        ("a.csv", "text,label\na,x\nb,x\nc,y\n", r"class 'y' has 1 sentence, too few for a training and"),
        ("a.csv", "words,label\na,x\n", r"holds the text\? Columns: 'words', 'label'; .*text_column=words"),
        ("a.csv", "text,grade\na,x\n", r"holds the label\? Columns: 'text', 'grade'; .*label_column=grade"),
        ("a.csv", "text,label\na,b,x\n", r"row 0 \(counting from 0\) has 3 fields, the header 2; put texts"),
        ("a.csv", 'text,label\n"a" b,x\n', r"cannot be read as CSV: .* \(line 2\); write \" inside"),
        ("a.csv", "text,text\na,x\n", r"names a column twice: text, text; rename one"),
        ("a.csv", "text,label\na,x\n ,y\n,x\nd,y\n", r"has no text in 2 of 4 rows \(counting from 0: 1, 2\)"),
        ("a.csv", "text,label\na,\nb,y\n", r"column 'label' has no label in 1 of 2 rows"),
        ("a.csv", b"text,label\ncaf\xe9,x\n", r"is not UTF-8 \(byte 0xe9 at position 14\); save it as UTF-8"),
        ("a.jsonl", '{"text": "a"\n', r"cannot be read as JSON, from line 1 on: .*one object a line"),
        ("a.json", "[1,", r"cannot be read as JSON, "),
        ("a.json", "[" * 100_000, r"cannot be read as JSON, from line 1 on: .*recursion"),
        ("a.csv", "text,label\na,x\x1b[31m\n", r"the label .* has a control character; leave it"),
        ("a.csv", f"text,label\na,{'9' * 5000}\n", r"the label .* is longer than a file system takes"),
        ("a.jsonl", "3\n", r"row 0 \(counting from 0\) is a int; each must be an object"),
        ("a.jsonl", '{"text": 3, "label": 1}', r"holds int '3' in row 0 .*texts must be strings"),
        ("a.jsonl", '{"text": "a", "label": 0.5}', r"holds float '0.5' in row 0 .*labels and ids must be"),
        ("a.jsonl", '{"text": "\\ud800", "label": 1}', r"in row 0 .*not valid Unicode"),
        ("a.jsonl", '{"text": null, "label": 1}', r"has no text in 1 of 1 rows"),
        ("a.jsonl", '{"text": "a", "label": 1, "concepts": 3}', r"concepts must be a list of names"),
        ("a.parquet", b"PAR", r"a\.parquet cannot be read as Parquet"),
        ("a.txt", "text", r"extension '\.txt' is not supported; use one of \.csv, \.tsv, \.jsonl"),
        ("a.yaml", "- 3", r"a\.yaml must be a mapping of data set options"),
        ("a.yaml", "a: [", r"a\.yaml is not YAML: .*; correct it"),
        ("a.yaml", "nam: x", r"a\.yaml: .*unknown option 'nam'\. Did you mean 'name'\?"),
        ("a.yaml", "name: b.yaml", r"name is another YAML file, .*b\.yaml; name the data itself"),
    ],
)  # fmt: skip
def test_bad_files_are_named_in_one_line(tmp_path: Path, name: str, content: str | bytes, message: str):
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        load_dataset(bad(tmp_path / name, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.csv", "no/such/folder", "./there", "/nowhere", "a.yaml", "b.xlsx"])
def test_a_path_where_nothing_is(name: str):
    with pytest.raises(DataError, match=r"no such file: .* \(looked for /.*\); check the path"):
        load_dataset(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a\0b.csv", "has a control character"), ("x" * 5000 + ".csv", "is longer than a file system takes")],
)
def test_a_name_that_no_file_has(name: str, message: str):
    with pytest.raises(ConfigError, match=message):
        load_dataset(name)


def test_a_link_to_itself(tmp_path: Path):
    (tmp_path / "a.csv").symlink_to("a.csv")
    with pytest.raises(DataError, match="no such file"):
        load_dataset(tmp_path / "a.csv")


def test_parquet_with_bad_text_and_with_metadata_of_another_library(tmp_path: Path):
    texts = [f"text {i}" for i in range(40)]
    table = pa.table({"text": texts, "label": ["ab"[i % 2] for i in range(40)]})
    for metadata in (
        b"\xff",
        b"3",
        b'{"info": 3}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}',
    ):
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / "a.parquet")
        assert load_dataset(tmp_path / "a.parquet").label_names == ("a", "b")
    bad_text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff"] * 2, pa.binary()).buffers())
    pq.write_table(pa.table({"text": bad_text, "label": ["a", "b"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"cannot be read as Parquet: .*Invalid UTF8"):
        load_dataset(tmp_path / "a.parquet")


def test_missing_test_file(folder: Path):
    with pytest.raises(DataError, match=r"no such file: nowhere\.csv"):
        load_dataset(folder / "train.jsonl", test="nowhere.csv")


def test_unknown_name_gets_the_closest_preset():
    with pytest.raises(
        UnknownNameError, match=r"unknown data set 'plantd'\. Did you mean 'planted'\? Known: agnews"
    ):
        load_dataset("plantd")


def test_unknown_option_gets_the_closest():
    with pytest.raises(
        ConfigError, match=r"data set: unknown option 'text_colum'\. Did you mean 'text_column'"
    ):
        load_dataset("planted", text_colum="a")
    with pytest.raises(
        ConfigError, match=r"unknown option 'options\.n_trian'\. Did you mean 'options\.n_train'"
    ):
        load_dataset("planted", options={"n_trian": 4})


def test_bad_values_are_reported_together():
    message = r"data set: test_fraction: .* less than 1, got 2; seed: .*got -1"
    with pytest.raises(ConfigError, match=message):
        load_dataset("planted", test_fraction=2, seed=-1)
    with pytest.raises(
        ConfigError, match=r"label_names: .*needs at least two different names, got \['a', 'a'\]"
    ):
        load_dataset("x.csv", label_names=["a", "a"])


def test_options_that_planted_cannot_use():
    with pytest.raises(ConfigError, match=r"text_column has no meaning for planted; it takes options"):
        load_dataset("planted", text_column="text")


def test_options_are_for_planted_only(folder: Path):
    with pytest.raises(ConfigError, match=r"options is for planted only, not for .*; remove it"):
        load_dataset(folder, options={"n_train": 4})


def test_missing_column_gets_the_closest(folder: Path):
    with pytest.raises(
        DataError,
        match=r"no column 'txt'\. Columns: 'text', 'label'; .*, such as dataset\.text_column=text ",
    ):
        load_dataset(folder, text_column="txt")
    with pytest.raises(
        DataError, match=r"no column 'key'\. Columns: .*; choose one, such as dataset\.id_column=text"
    ):
        load_dataset(folder, id_column="key")


def test_labels_that_were_not_declared(folder: Path):
    message = (
        r"10 rows have labels that are not declared: 'good'; allowed are 'bad', 'fine', or 0 to 1; correct"
    )
    with pytest.raises(DataError, match=message):
        load_dataset(folder, label_names=["bad", "fine"])


def test_class_missing_from_one_part(folder: Path):
    write_jsonl(folder / "test.jsonl", [{"text": "a", "label": "good"}])
    with pytest.raises(
        DataError, match=r", test part: no sentence of class 'bad', only of 'good'; every class"
    ):
        load_dataset(folder)


def test_test_file_with_other_classes(folder: Path):
    write_jsonl(folder / "test.jsonl", [*ROWS[:4], {"text": "a", "label": "odd"}])
    with pytest.raises(
        DataError, match=r", training part: no sentence of class 'odd', only of 'bad', 'good'"
    ):
        load_dataset(folder)


def test_declared_class_missing_from_a_single_file(folder: Path):
    with pytest.raises(DataError, match=r"train: no sentence of class 'odd'"):
        load_dataset(folder / "train.jsonl", label_names=["good", "bad", "odd"])


def test_ids_used_twice(folder: Path):
    rows: list[dict[str, object]] = [{"id": i % 3, "text": f"t{i}", "label": i % 2} for i in range(6)]
    path = write_jsonl(folder / "twice.jsonl", rows)
    with pytest.raises(
        DataError,
        match=r"3 rows repeat the id of another row: '0', '1', '2'; set .*'dataset\.id_column=\"#\"'",
    ):
        load_dataset(path)


def test_too_few_rows_for_the_classes(folder: Path):
    with pytest.raises(
        ConfigError, match=r"max_train is 1, but there are 2 classes, and each needs a sentence"
    ):
        load_dataset(folder, max_train=1)


def test_folder_without_a_training_file(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(
        DataError, match=r"holds no file of the training split 'train' .*, but notes\.txt; set dataset\.train"
    ):
        load_dataset(tmp_path)


def test_folder_with_one_split_in_two_formats(folder: Path):
    (folder / "train.csv").write_text("text,label\na,x\n")
    with pytest.raises(DataError, match=r"holds one split in two formats: .*train\.csv, train\.jsonl"):
        load_dataset(folder)


def test_folder_without_the_split_asked_for(folder: Path):
    with pytest.raises(
        DataError, match=r"has no split 'dev'; splits: .*'test', 'train'; set dataset\.test to one of them"
    ):
        load_dataset(folder, test="dev")


def test_only_one_part_with_concepts(folder: Path):
    write_jsonl(folder / "validation.jsonl", [{**row, "concepts": ["a"]} for row in ROWS])
    with pytest.raises(
        DataError, match=r"only 1 of .*test\.jsonl and .*validation\.jsonl has a concepts column"
    ):
        load_dataset(folder, test="test+validation")


def test_the_order_of_other_classes_is_refused(tmp_path):
    file = tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"text {i},{'pos' if i % 2 else 'neg'}\n" for i in range(20)))
    data = load_dataset(str(file))
    assert data.in_order_of(("pos", "neg")).label_names == ("pos", "neg")
    for others in (("LABEL_0", "LABEL_1"), ("neg", "pos", "x")):
        with pytest.raises(ConfigError, match=r"has the classes neg, pos, not .*; give the same names"):
            data.in_order_of(others)


def test_a_column_of_booleans_can_be_that_of_concepts(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": f"text {i}", "label": "ab"[i % 2], "urgent": i % 3 == 0} for i in range(10)]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = load_dataset({"name": str(path), "concepts_column": "urgent"}).train.concepts
    assert found is not None
    assert {name for names in found for name in names} == {"true", "false"}

"""Several runs as one table: what belongs together, and what each format holds."""

import csv
import io
import json
from pathlib import Path

import pytest

from classifsae.errors import StorageError
from classifsae.pipeline.run_folder import RunFolder
from classifsae.reporting import RunGroup, group_runs, save_tables
from classifsae.reporting.tables.formats import as_csv, as_json, as_latex, as_markdown
from classifsae.storage import finish


def load_groups(folders: list[Path]) -> list[RunGroup]:
    return group_runs([RunFolder(folder).results() for folder in folders])


def record(method: str, seed: int, recovery: float, **changes: object) -> dict[str, object]:
    return {
        "dataset": "short_texts", "backbone": "minilm", "method": method, "seed": seed, "n_concepts": 5,
        "accuracy": 0.9, "n_alive": 5, "recovery_accuracy": recovery, "activation_rate": 10.0,
        "conditional_flip_rate": 0.2, "conditional_tvd": 0.1, "global_flip_rate_100": None,
    } | changes  # fmt: skip


def write_run(folder: Path, *records: dict[str, object], **page: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(records))
    if page:
        (folder / "scores.json").write_text(json.dumps(page))
    finish(folder, inputs="", record={})
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write_run(
        tmp_path / "first",
        record("ica", 1, 0.8), record("sae", 1, 0.9), record("identity", 1, 1.0),
        notes=["3 of 9 test texts were longer than the model reads: cut."], protocol="ours", results=[],
    )  # fmt: skip


def test_runs_with_other_seeds_beside_them_belong_together(tmp_path: Path):
    """Stability is of all seeds of a run, and says nothing of one of them."""
    alone = write_run(tmp_path / "alone", record("sae", 1, 0.7, stability=None, stability_within=None))
    two = write_run(
        tmp_path / "two", *(record("sae", seed, 0.7, stability=0.4, stability_within=0.2) for seed in (1, 2))
    )
    (group,) = load_groups([alone, two])
    assert [r["stability"] for r in group.records] == [0.4, 0.4]


@pytest.fixture
def second(tmp_path: Path) -> Path:
    changes = {"dataset": "50%_off & more", "control_tvd": 0.05}
    return write_run(tmp_path / "second", record("ica", 1, 0.7, **changes), record("sae", 1, 0.6, **changes))


def test_runs_are_grouped_by_model_and_data_set(first: Path, second: Path):
    one, other = load_groups([first, second])
    assert one.title == "minilm on short_texts, accuracy 0.900; seed 1"
    assert one.folders == (str(first),)
    assert other.title.startswith("minilm on 50%_off & more")


def test_seeds_of_one_pair_are_averaged_over_runs(first: Path, tmp_path: Path):
    more = write_run(tmp_path / "more", record("sae", 2, 0.7), record("sae", 3, 0.5))
    (group,) = load_groups([first, more, first])
    assert (len(group.folders), len(group.records)) == (2, 5)
    table = as_json([group])["groups"][0]["methods"]
    sae = next(m for m in table if m["method"] == "sae")
    assert (sae["n_seeds"], sae["scores"]["recovery_accuracy"]["mean"]) == (3, pytest.approx(0.7))


@pytest.mark.parametrize(
    "other", [record("sae", 1, 0.4), record("sae", 2, 0.9, accuracy=0.8)], ids=["same seed", "classifier"]
)
def test_runs_that_cannot_be_averaged_stay_apart_and_are_named(
    first: Path, tmp_path: Path, other: dict[str, object]
):
    groups = load_groups([first, write_run(tmp_path / "other", other)])
    assert [group.folders for group in groups] == [(str(first),), (str(tmp_path / "other"),)]
    assert all(group.title.endswith(f"({group.folders[0]})") for group in groups)


def test_the_published_protocol_is_never_averaged_with_ours(first: Path, tmp_path: Path):
    published = write_run(tmp_path / "published", record("sae", 2, 0.9), protocol="published")
    ours, theirs = load_groups([first, published])
    assert "published protocol" in theirs.title
    assert "published protocol" not in ours.title


def test_markdown_is_one_table_with_the_best_of_each_group_in_bold(first: Path, second: Path):
    text = as_markdown(load_groups([first, second]))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 + 2
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    column = next(i for i, head in enumerate(cells[0]) if head.startswith("recovery accuracy ↑ (0-1)"))
    assert [row[column] for row in cells[2:]] == ["0.800", "**0.900**", "1.000", "**0.700**", "0.600"]
    assert [row[0] for row in cells[2:]] == ["minilm on short_texts", "", "", "minilm on 50%_off & more", ""]
    assert "minilm on short_texts: 3 of 9 test texts were longer than the model reads: cut." in text


def test_a_column_that_one_run_lacks_is_a_dash_there(first: Path, second: Path):
    text = as_markdown(load_groups([first, second]))
    heads, _, one, *_, other = (
        [c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    )
    column = heads.index("control TVD (0-1)")
    assert (one[column], other[column]) == ("-", "0.050")


def test_latex_has_a_line_per_row_and_as_many_cells_as_columns(first: Path, second: Path):
    lines = as_latex(load_groups([first, second])).splitlines()
    assert lines[1].startswith(r"\begin{tabular}{lrrrrrrr}")
    assert [line for line in lines if line.endswith("rule")] == [
        r"\toprule", r"\midrule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip
    table = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(table) == 2 + 3 + 2
    assert {line.replace(r"\&", "").count("&") for line in table} == {7}
    assert r"\textbf{0.900}" in lines[8]


def test_latex_escapes_what_it_would_read_as_commands(tmp_path: Path):
    strange = r"a_b & 50% #1 {x} ~^\$ <|>"
    run = write_run(tmp_path / "r", record(strange, 1, 0.5, dataset="100%_sure"))
    text = as_latex(load_groups([run]))
    assert (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}\$ "
        r"\textless{}\textbar{}\textgreater{} & 5" in text
    )
    assert r"minilm on 100\%\_sure" in text
    assert text.isascii()


def test_csv_has_a_line_per_method_and_two_numbers_per_score(first: Path, tmp_path: Path):
    more = write_run(tmp_path / "more", record("sae", 2, 0.7), record("sae", 3, 0.5))
    lines = list(csv.DictReader(io.StringIO(as_csv(load_groups([first, more])))))
    assert [line["method"] for line in lines] == ["ica", "sae", "identity"]
    sae = lines[1]
    assert float(sae["recovery_accuracy"]) == pytest.approx(0.7)
    assert float(sae["recovery_accuracy_ci95"]) == pytest.approx(4.3027 * 0.2 / 3**0.5, rel=1e-4)
    assert (sae["n_seeds"], sae["global_flip_rate_100"], lines[0]["recovery_accuracy_ci95"]) == ("3", "", "")


def test_json_says_what_every_column_means(first: Path):
    page = as_json(load_groups([first]))
    assert {"name": "activation_rate", "title": "activation rate", "unit": "%", "better": "lower"} in page[
        "columns"
    ]
    scores = page["groups"][0]["methods"][1]["scores"]
    assert scores["recovery_accuracy"] == {"mean": 0.9, "ci95": None, "n": 1, "best": True}
    assert scores["global_flip_rate_100"]["mean"] is None
    assert page["groups"][0]["accuracy"] == 0.9


def test_four_files_are_written_and_again_the_same(first: Path, second: Path, tmp_path: Path):
    groups = load_groups([first, second])
    save_tables(groups, tmp_path / "report")
    files = {p.name: p.read_bytes() for p in (tmp_path / "report").iterdir()}
    assert sorted(files) == ["table.csv", "table.json", "table.md", "table.tex"]
    save_tables(groups, tmp_path / "report")
    assert files == {p.name: p.read_bytes() for p in (tmp_path / "report").iterdir()}


def test_a_role_travels_in_the_summary_and_an_older_one_goes_by_the_name(first: Path, tmp_path: Path):
    (older,) = load_groups([first])
    assert [r["role"] for r in older.records] == ["method", "method", "ceiling"]
    run = write_run(tmp_path / "r", record("mine", 1, 1.0, role="random"), record("sae", 1, 0.9),
                    record("ica", 1, 0.8))  # fmt: skip
    methods = as_json(load_groups([run]))["groups"][0]["methods"]
    assert [(m["method"], m["scores"]["recovery_accuracy"]["best"]) for m in methods] == [
        ("sae", True), ("ica", False), ("mine", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "at least one"),
        ("{}", "must be a list"),
        ('[{"dataset": "d", "backbone": "b", "method": "m"}]', "0.seed"),
        ('[{"dataset": "d", "backbone": "b", "method": "m", "seed": 1, "accuracy": [1]}]', "0.accuracy"),
    ],
)
def test_a_damaged_summary_is_one_clear_line(content: str, said: str, tmp_path: Path):
    (tmp_path / "summary.json").write_text(content)
    finish(tmp_path, inputs="", record={})
    with pytest.raises(StorageError, match=r"the results in .* are damaged") as error:
        load_groups([tmp_path])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_missing_or_no_run_is_refused(first: Path, tmp_path: Path):
    with pytest.raises(StorageError, match="there is no folder"):
        load_groups([tmp_path / "nowhere"])
    with pytest.raises(StorageError, match=r"holds no summary.json, .* did you mean .*first\?"):
        load_groups([first.parent])
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="run its experiment to the end first"):
        load_groups([tmp_path / "empty"])


def test_results_without_a_manifest_are_refused(first: Path):
    (first / "manifest.json").unlink()
    with pytest.raises(StorageError, match=r"holds results without their manifest.json"):
        load_groups([first])

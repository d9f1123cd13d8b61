"""The command line as a user meets it: exit status, and one clear line for whatever is wrong."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from classifsae import __version__, cli
from e2e.conftest import write_experiment
from unit.pipeline.test_paper import PAPER

MANY = "\n".join(f'"Sentence {i} about {word}.",{word}' for i in range(12) for word in ("sports", "money"))


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Exit status and what the command printed, on both streams."""
    monkeypatch.setattr(sys, "argv", ["classifsae", *arguments])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as done:
        cli.main()
    printed = capsys.readouterr()
    return int(done.value.code or 0), printed.out + printed.err


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["dataset={name: no/such/file.csv}"], "no such file"),
        (["dataset={name: plantd}"], "Did you mean 'planted'?"),
        (["backbone={model: minilmm}"], "Did you mean 'minilm'?"),
        (["backbone={model: ./no/such/model}"], "no such"),
        (["seed=3"], "unknown option 'seed'. Did you mean 'seeds'?"),
        (["methods.classifsaes={}"], "unknown method 'classifsaes'. Did you mean 'classifsae'?"),
        (["methods.sae.n_latent=3"], "unknown option 'n_latent'. Did you mean 'n_latents'?"),
        (["methods={sae: {n_latents: 4}}"], "n_concepts is 6, but there are only 4 latents"),
        (
            ["methods={random: {n_concepts: 500, top_k: 3}}"],
            "n_concepts is 500, but there are only 120 training",
        ),
        (["backbone.layer=9"], "layer is 9"),
        pytest.param(
            ["device=cuda"],
            "torch finds no GPU here; use device=cpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
        (["run_dir=/dev/null/run"], "cannot write /dev/null/run"),
    ],
)
def test_wrong_options_are_one_clear_line_and_status_two(
    settings: list[str],
    said: str,
    experiment: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    status, printed = call(monkeypatch, capsys, "run", str(experiment), *settings)
    last = printed.strip().splitlines()[-1]
    assert (status, last.startswith("classifsae: ")) == (2, True), printed
    assert said.lower() in last.lower()
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("content", "settings", "said"),
    [
        ("", [], "empty"),
        ("text,label\n", [], "no rows"),
        ("text,label\n" + MANY.replace("money", "sports"), [], "only one class"),
        ("words,kind\n" + MANY, ["dataset.text_column=word"], "words"),
        ("text,label\n" + MANY, ["dataset.label_names=[sports, art]"], "money"),
        ("text,label\n" + MANY, ["dataset.label_names=[sports, money, art]"], "art"),
    ],
)
def test_wrong_data_is_one_clear_line_and_status_two(
    content: str, settings: list[str], said: str, experiment: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    path = write(experiment.parent / "data.csv", content)
    config = write_experiment(experiment.parent, dataset={"name": str(path)})
    status, printed = call(monkeypatch, capsys, "run", str(config), *settings)
    last = printed.strip().splitlines()[-1]
    assert (status, last.startswith("classifsae: ")) == (2, True), printed
    assert said.lower() in last.lower()


def test_a_method_that_cannot_be_fitted_does_not_keep_the_others_from_the_table(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    methods = "methods={conceptshap: {threshold: 0.999, n_epochs: 1}, random: {top_k: 3}}"
    status, printed = call(monkeypatch, capsys, "run", str(experiment), methods)
    assert status == 2
    last = printed.strip().splitlines()[-1]
    assert "conceptshap seed 1 is left out: conceptshap: all 6 concepts are dead" in last
    folder = experiment.parent / "run"
    assert {record["method"] for record in json.loads((folder / "summary.json").read_text())} == {"random"}
    assert "conceptshap seed 2 is left out" in (folder / "table.md").read_text()
    assert "conceptshap seed 2 is left out" in (folder / "report" / "index.html").read_text()


def test_a_fault_of_ours_is_status_one_and_names_debug(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from classifsae.pipeline import run as stages

    monkeypatch.setattr(stages, "load_dataset", lambda config: 1 / 0)
    status, printed = call(monkeypatch, capsys, "run", str(experiment))
    assert status == 1
    assert "ZeroDivisionError: division by zero (a fault of ClassifSAE; --debug shows where)" in printed


def test_a_disk_that_fails_where_nobody_expects_it_is_no_fault_of_ours(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from classifsae.pipeline import run as stages

    def fail(config: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/scratch")

    monkeypatch.setattr(stages, "load_dataset", fail)
    status, printed = call(monkeypatch, capsys, "run", str(experiment))
    assert status == 2
    assert "the file or folder /tmp/scratch cannot be used: No space left on device; mend that" in printed


def test_debug_shows_the_traceback(experiment: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["classifsae", "run", str(experiment), "seed=3", "--debug"])
    with pytest.raises(Exception, match="unknown option 'seed'"):
        cli.main()


def test_an_own_csv_runs_and_a_second_call_does_nothing(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = ["seeds=[1]", "methods={random: {top_k: 3}, identity: {}}"]
    status, printed = call(monkeypatch, capsys, "run", str(experiment), *settings)
    assert status == 0, printed
    assert "random" in printed
    status, printed = call(monkeypatch, capsys, "run", str(experiment), *settings)
    assert status == 0
    assert "Nothing to do: all 18 stages" in printed


def test_show_prints_the_resolved_experiment_and_changes_nothing(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "show", str(experiment), "n_concepts=9")
    assert status == 0
    assert "n_concepts: 9" in printed
    assert not (experiment.parent / "run").exists()


def test_the_doctor_knows_the_runs_of_the_paper_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    few = ("methods=[random]", "metrics=[completeness]", "device=cpu")
    status, said = call(monkeypatch, capsys, "doctor", str(PAPER), "--index", "14", *few)
    assert status == 0
    assert "bert on imdb, in runs/imdb/bert" in said
    assert "25,000 training and 25,000 test texts" in " ".join(said.split())
    assert "Assumed: bert" in " ".join(said.split())
    assert call(monkeypatch, capsys, "doctor", str(PAPER), "--index", "29")[0] == 2


def test_a_sweep_is_listed_by_number_with_what_is_done_and_one_point_shown_in_full_or_run(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = experiment.parent / "{dataset}" / "{backbone}"
    settings = [f"run_dir={folder}", "sweep={n_concepts: [4, 5]}", "methods={identity: {}}", "seeds=[1]"]
    place = lambda point: experiment.parent / "short" / f"bert,{point}"  # noqa: E731
    status, printed = call(monkeypatch, capsys, "run", str(experiment), "--index", "2", *settings)
    assert status == 0, printed
    status, printed = call(monkeypatch, capsys, "show", str(experiment), *settings)
    assert status == 0
    heading, first, second = printed.splitlines()
    assert heading.split() == ["backbone", "data", "set", "run", "folder", "done"]
    done = "classifier 1/1, activations 2/2, concepts 1/1, scores 1/1, report 1/1"
    assert first.split() == ["1", "bert", "short", str(place("n_concepts=4")), "nothing"]
    assert second.split()[3] == str(place("n_concepts=5"))
    assert second.endswith(done)
    status, printed = call(monkeypatch, capsys, "show", str(experiment), "--index", "1", *settings)
    assert (status, "n_concepts: 4" in printed, "warmup: 0.05" in printed) == (0, True, True)
    status, printed = call(monkeypatch, capsys, "run", str(experiment), "--index", "3", *settings)
    assert (status, "index is 3, but" in printed, "give 1 to 2" in printed) == (2, True, True)


@pytest.mark.parametrize(
    "arguments", [["verify", "a" * 300], ["explain", "a" * 300, "x"], ["show", "a" * 5000]]
)
def test_a_name_longer_than_a_file_system_takes_is_one_clear_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, *arguments)
    assert (status, "File name too long" in printed, "fault" in printed) == (2, True, False)


def test_show_prompt_prints_one_filled_prompt_and_trains_nothing(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    settings = [
        "backbone.kind=decoder",
        "backbone.template='{text} Topic:'",
        "backbone.answers=[a, b, c]",
    ]
    settings += ["backbone.architecture.model_type=gpt_neox"]
    status, printed = call(monkeypatch, capsys, "show", str(experiment), "--prompt", *settings)
    assert status == 0, printed
    assert "Topic:\n" in printed
    assert "tokens: 24 of " in printed
    assert "cut: the first " in printed
    assert "money: 'a' = ['a']" in printed
    assert not (experiment.parent / "run").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("methods", "classifsae"),
        ("datasets", "planted"),
        ("backbones", "minilm"),
        ("metrics", "causality"),
        ("experiments", "demo"),
    ],
)
def test_list_names_what_there_is(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "list", kind)
    assert status == 0
    (line,) = [line for line in printed.splitlines() if line.split()[0] == name]
    assert len(line.split()) > 3


def test_the_version_and_the_completion_of_a_shell_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert call(monkeypatch, capsys, "--version") == (0, f"classifsae {__version__}\n")
    monkeypatch.setenv("_CLASSIFSAE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "classifsae de")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert call(monkeypatch, capsys) == (0, "demo\n")


def test_init_writes_a_file_that_can_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.csv", "text,label\n" + MANY)
    status, printed = call(monkeypatch, capsys, "init", "mine.csv", "dataset.test_fraction=0.25")
    assert status == 0
    assert "# 18 training and 6 test texts" in printed
    assert "Check it, then: classifsae run mine.yaml" in printed
    assert call(monkeypatch, capsys, "show", "mine.yaml")[0] == 0
    status, printed = call(monkeypatch, capsys, "init", "mine.csv", "minilm")
    assert (status, "is there already" in printed) == (2, True)


def test_the_demo_without_extras_is_smaller_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "find_spec", lambda _: None)
    little = [
        "dataset.options={n_train: 240, n_test: 40}",
        "backbone.n_epochs=4",
        "backbone.batch_size=8",
        "methods={kmeans: {n_concepts: 8}}",
        "audit=null",
    ]
    status, printed = call(monkeypatch, capsys, "demo", *little)
    assert status == 0, printed
    assert 'pip install "classifsae[offline,text]"' in printed
    assert (tmp_path / "runs" / "planted" / "bert" / "report" / "index.html").is_file()


def test_an_unknown_kind_to_list_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    status, printed = call(monkeypatch, capsys, "list", "method")
    assert status == 2
    assert "unknown kind 'method'. Did you mean 'methods'?" in printed


def test_importing_the_package_and_its_command_line_loads_nothing_heavy():
    code = (
        "import sys, classifsae, classifsae.cli\n"
        "print([m for m in ('torch', 'transformers', 'sklearn', 'pandas', 'pydantic') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "classifsae", *arguments],
        cwd=cwd, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_brackets_in_a_path_and_an_output_without_signs_for_all_characters_lose_no_work(experiment: Path):
    folder = experiment.parent / "run [bold] [/b]"
    settings = ["seeds=[1]", "methods={random: {top_k: 3}}", f"run_dir={folder}"]
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command("run", str(experiment), *settings, cwd=experiment.parent, **ascii_only)
    assert done.returncode == 0, done.stderr
    assert f"Table, scores and summary: {folder / 'table.md'}" in done.stdout
    again = command("run", str(experiment), *settings, cwd=experiment.parent, PYTHONIOENCODING="cp1252")
    assert f"stages of {folder} are up to date." in again.stdout
    explained = command("explain", str(folder), "caf\u00e9", "--json", cwd=folder, **ascii_only)
    assert explained.returncode == 0, explained.stderr
    assert json.loads(explained.stdout)["text"] == "caf\u00e9"


def test_a_run_is_explained_from_any_directory(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    short = ["seeds=[1]", "methods={random: {top_k: 3}}"]
    monkeypatch.chdir(experiment.parent)
    assert call(monkeypatch, capsys, "finetune", str(experiment), *short, "run_dir=first")[0] == 0
    opened = ["backbone={model: ./first/classifier, tuning: none}", "dataset=short.csv", "run_dir=second"]
    assert call(monkeypatch, capsys, "fit", str(experiment), *short, *opened)[0] == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    status, printed = call(monkeypatch, capsys, "explain", str(experiment.parent / "second"), "a goal")
    assert status == 0, printed


def test_output_that_is_no_terminal_tells_now_and_then_how_far_a_stage_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli, "SECONDS_PER_LINE", 0.02)
    with cli.Bars().stage("finetune") as on_step:
        time.sleep(0.05)
        on_step(5, 100, {"loss": 1.0})  # goes on from a checkpoint
        time.sleep(0.05)
        on_step(10, 100, {"loss": 1.0})
        time.sleep(0.05)
    printed = capsys.readouterr().out
    assert "0:00:00 so far" in printed
    assert "step 5 of 100\n" in printed
    assert re.search(r"finetune +step 10 of 100, 0:00:0\d left\n", printed)


def test_the_doctor_says_what_a_run_would_take_in_80_columns(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli.console, "_width", 80)
    status, said = call(
        monkeypatch, capsys, "doctor", str(experiment), "methods=[random]", "metrics=[completeness]"
    )
    assert status == 0
    assert max(map(len, said.splitlines())) <= 80
    for word in (
        "python",
        "hub",
        "switched off",
        "offline",
        "finetune",
        "score",
        "total",
        "120 training",
    ):
        assert word in said
    assert not (experiment.parent / "run").exists()

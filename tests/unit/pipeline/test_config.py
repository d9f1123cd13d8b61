from pathlib import Path

import pytest
import yaml

from classifsae.errors import ConfigError
from classifsae.metrics.coherence import Coherence
from classifsae.pipeline.config import EXPERIMENTS, Experiment, assign, expand, load_experiment, merge
from classifsae.pipeline.run_folder import RunFolder

BASE = {"backbone": "minilm", "dataset": "planted", "methods": {"classifsae": {}, "sae": {"top_k": 4}}}


def write(path: Path, tree: object) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def load(tmp_path: Path, *settings: str, **changes: object) -> tuple[Experiment, ...]:
    return load_experiment(write(tmp_path / "e.yaml", BASE | changes), settings)


def test_defaults_live_in_the_class(tmp_path: Path):
    (experiment,) = load(tmp_path)
    assert experiment.n_concepts == 20
    assert experiment.seeds == (42,)
    recipe = experiment.recipe("sae", 7)
    assert (recipe.n_concepts, recipe.seed, recipe.top_k) == (20, 7, 4)


def test_a_label_may_name_its_method_and_its_own_number_of_concepts(tmp_path: Path):
    (experiment,) = load(tmp_path, methods={"wide": {"method": "sae", "n_concepts": 5}})
    recipe = experiment.recipe("wide", 0)
    assert (recipe.method_name(), recipe.n_concepts) == ("sae", 5)


def test_a_list_of_methods_is_short_for_no_options(tmp_path: Path):
    (experiment,) = load(tmp_path, methods=["sae", "random"])
    assert experiment.methods == {"sae": {}, "random": {}}


def test_settings_are_yaml_and_reach_into_mappings(tmp_path: Path):
    (experiment,) = load(tmp_path, "seeds=[1, 2]", "methods.sae.learning_rate=5e-4", "n_concepts=6")
    assert experiment.seeds == (1, 2)
    assert experiment.recipe("sae", 1).learning_rate == 5e-4
    assert experiment.recipe("classifsae", 1).n_concepts == 6


def test_naming_a_data_set_keeps_the_other_fields_of_its_mapping(tmp_path: Path):
    (experiment,) = load(
        tmp_path, "dataset=reviews.csv", dataset={"name": "planted", "label_names": ["bad", "good"]}
    )
    assert experiment.dataset.name == "reviews.csv"
    assert experiment.dataset.label_names == ("bad", "good")


def test_a_setting_below_a_name_makes_it_a_mapping(tmp_path: Path):
    (experiment,) = load(tmp_path, "backbone.n_epochs=1")
    assert experiment.backbone.n_epochs == 1


def test_files_extend_others_beside_them(tmp_path: Path):
    write(tmp_path / "common.yaml", BASE | {"seeds": [1, 2], "backbone": {"model": "minilm", "n_epochs": 2}})
    top = write(
        tmp_path / "top.yaml",
        {"extends": "common.yaml", "seeds": [9], "backbone": {"n_epochs": 1}, "methods": {"random": {}}},
    )
    (experiment,) = load_experiment(top)
    assert experiment.seeds == (9,)
    assert experiment.backbone.n_epochs == 1
    assert set(experiment.methods) == {"classifsae", "sae", "random"}


def test_a_file_that_extends_itself_is_refused(tmp_path: Path):
    write(tmp_path / "a.yaml", {"extends": "b.yaml"})
    write(tmp_path / "b.yaml", {"extends": "a.yaml"})
    with pytest.raises(ConfigError, match=r"a.yaml extends itself through a.yaml > b.yaml"):
        load_experiment(tmp_path / "a.yaml")


def test_a_list_of_methods_keeps_the_options_of_those_it_names():
    base = {"methods": {"sae": {"top_k": 3}, "ica": {}, "random": None}, "seeds": [1]}
    assert merge(base, {"methods": ["sae", "random", "kmeans"]})["methods"] == {
        "sae": {"top_k": 3}, "random": None, "kmeans": None
    }  # fmt: skip
    assign(base, "methods", ["sae"])
    assert base["methods"] == {"sae": {"top_k": 3}}


def test_merging_replaces_lists_and_scalars_and_leaves_its_inputs_alone():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "c": 2}) == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_a_sweep_is_every_combination():
    tree = BASE | {"sweep": {"n_concepts": [5, 10], "methods.sae.top_k": [1, 2]}}
    found = [(p["n_concepts"], p["methods"]["sae"]["top_k"]) for p in expand(tree)]
    assert found == [(5, 1), (5, 2), (10, 1), (10, 2)]


def test_an_exception_changes_only_the_points_and_methods_that_it_is_about():
    tree = BASE | {
        "sweep": {"dataset": ["agnews", "planted"]},
        "exceptions": [
            {
                "when": {"backbone": "Mini-LM", "dataset": "ag_news"},
                "set": {"methods": {"sae": {"top_k": 9}, "random": {"top_k": 3}}},
            }
        ],
    }
    first, second = expand(tree)
    assert first["methods"] == {"classifsae": {}, "sae": {"top_k": 9}}
    assert second["methods"] == BASE["methods"]


@pytest.mark.parametrize(
    ("run_dir", "sweep", "folders"),
    [
        ("{dataset}/{backbone}", {"n_concepts": [5, 6]}, ["n_concepts=5", "n_concepts=6"]),
        ("{dataset}/{backbone}/", {"n_concepts": [5], "seeds": [[1], [2]]}, ["seeds=no.1", "seeds=no.2"]),
        (
            "{dataset}/{backbone}",
            {"backbone.layer": [-1, -2], "protocol": ["ours", "published"]},
            [f"backbone.layer={n},protocol={p}" for n in (-1, -2) for p in ("ours", "published")],
        ),
    ],
)
def test_points_of_a_sweep_that_would_share_a_folder_are_named_after_what_they_vary(
    tmp_path: Path, run_dir: str, sweep: dict[str, list[object]], folders: list[str]
):
    points = load(tmp_path, run_dir=run_dir, sweep=sweep)
    assert [str(RunFolder.of(point).path) for point in points] == [f"planted/minilm,{one}" for one in folders]


def test_points_of_a_sweep_with_folders_of_their_own_keep_these(tmp_path: Path):
    two = {"dataset": ["agnews", "planted"]}
    assert [p.run_dir for p in load(tmp_path, run_dir="{dataset}/x", sweep=two)] == ["{dataset}/x"] * 2
    assert [p.run_dir for p in load(tmp_path, run_dir="x", sweep=two)] == [
        "x,dataset=agnews",
        "x,dataset=planted",
    ]


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        load(
            tmp_path,
            seeds=[],
            device="gpu",
            n_concepts=0,
            methods={"sae": {}},
            backbone={"model": "minilm", "n_epoch": 1},
        )
    message = str(caught.value)
    for part in ("seeds", "device", "n_concepts", "n_epoch"):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": [1]}, r"unknown option 'seed'. Did you mean 'seeds'\?"),
        ({"label_column": "team"}, r"unknown option 'label_column'. Did you mean 'dataset.label_column'\?"),
        ({"report": {"figurs": True}}, r"unknown option 'report.figurs'. Did you mean 'report.figures'\?"),
        ({"words": {"langage": "de"}}, r"unknown option 'words.langage'. Did you mean 'words.language'\?"),
        (
            {"top_k": 3},
            r"unknown option 'top_k'. Did you mean 'methods.classifsae.top_k' or 'methods.sae.top_k'\?",
        ),
        (
            {"dataset": {"name": "a.csv", "label_names": [True, False]}},
            r"YAML reads a bare yes or no as true",
        ),
        ({"methods": {"clasifsae": {}}}, r"methods.clasifsae: unknown method .*Did you mean 'classifsae'\?"),
        (
            {"methods": {"sae": {"topk": 3}}},
            r"methods.sae: sae: unknown option 'topk'. Did you mean 'top_k'\?",
        ),
        ({"methods": {"sae": {"top_k": 0}}}, r"methods.sae: sae: top_k: .* greater than 0, got 0"),
        ({"methods": {"sae": {"seed": 3}}}, r"seed is set for all methods together, by seeds"),
        ({"methods": {"a/../b": {"method": "sae"}}}, r"methods: label 'a/../b' names a folder: use letters"),
        ({"seeds": [1, 2, 1]}, r"seeds: must differ from each other, got \[1, 2, 1\]"),
        ({"methods": {}}, r"methods: must name at least one"),
        ({"metrics": {"completness": {}}}, r"unknown metric 'completness'. Did you mean 'completeness'\?"),
        ({"backbone": {"model": "minilm", "layr": 1}}, r"backbone.*layr"),
        ({"dataset": {"name": "planted", "text_colum": "t"}}, r"Did you mean 'text_column'\?"),
        ({"run_dir": "runs/{dataset.__class__}"}, r"run_dir: may hold .dataset. and .backbone."),
        ({"run_dir": "runs/{dataset!r:>1000000000}"}, r"run_dir: may hold .dataset. and .backbone."),
        ({"run_dir": "runs/\0"}, "run_dir: .* has a control character"),
        ({"run_dir": "x" * 300}, "run_dir: .* is longer than a file system takes"),
        ({"n_concepts": 10**30}, "n_concepts: input should be less than or equal to 10000000"),
        ({"seeds": [10**25]}, "seeds.0: input should be less than 4294967296"),
        ({"backbone": {"model": "minilm", "n_steps": 10**15}}, "n_steps: input should be less than"),
        ({"backbone": {"model": "minilm", "learning_rate": float("inf")}}, "should be a finite number"),
        ({"dataset": {"name": "planted", "options": {"n_train": 10**12}}}, "n_train: input should be less"),
        (
            {"sweep": {"n_concepts": list(range(1, 200)), "n_halves": list(range(99))}},
            "sweep has 19,701 runs",
        ),
        ({"run_dir": "runs/{model}"}, r"run_dir: may hold .dataset. and .backbone."),
        ({"seeds": [True]}, "seeds.0: is true; write a number"),
        ({"sweep": {"seeds": 3}}, r"sweep must map options to lists"),
        ({"exceptions": [{"if": {}}]}, r"an exception must be"),
        ({"exceptions": [{"when": {"data": 1}, "set": {}}]}, r"when 'data' is not an option"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, changes: dict[str, object], said: str):
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_paths_are_absolute_in_a_run_and_presets_stay_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("minilm", "planted", "clf"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.csv").touch()
    (preset,) = load(tmp_path)
    assert preset.anchored() == preset
    (own,) = load(tmp_path, "backbone=./minilm", "dataset=a.csv")
    assert own.backbone.preset is None
    assert own.anchored().backbone.model == str(tmp_path / "minilm")
    assert own.anchored().dataset.name == str(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path / "clf")
    (here,) = load(tmp_path, "backbone=.", dataset={"name": "planted", "train": "../a.csv"})
    assert here.anchored().backbone.name == "clf"
    assert (here.anchored().dataset.name, here.anchored().dataset.train) == (
        "planted",
        f"{tmp_path}/clf/../a.csv",
    )


@pytest.mark.parametrize("missing", ["backbone", "dataset", "methods"])
def test_a_missing_part_is_named_with_an_example(tmp_path: Path, missing: str):
    path = write(tmp_path / "e.yaml", {k: v for k, v in BASE.items() if k != missing})
    with pytest.raises(ConfigError, match=f"{missing} is missing; add a line such as '{missing}: "):
        load_experiment(path)


def test_files_that_are_no_experiments_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read the experiment file .*: No such file"):
        load_experiment(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="must be a mapping of options"):
        load_experiment(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_experiment(tmp_path / "bad.yaml")


@pytest.mark.parametrize("setting", ["seeds", "=3"])
def test_a_setting_without_key_or_value_is_refused(tmp_path: Path, setting: str):
    with pytest.raises(ConfigError, match=f"setting '{setting}' is not of the form key=value"):
        load(tmp_path, setting)


def test_a_setting_below_a_number_is_refused():
    with pytest.raises(ConfigError, match=r"setting n_concepts.x: n_concepts is 3, which has no options"):
        assign({"n_concepts": 3}, "n_concepts.x", 1)


def test_the_language_of_words_goes_to_every_metric_that_reads_them(tmp_path: Path):
    (point,) = load(tmp_path, "words.language=none", metrics=["coherence"])
    coherence = point.built_metrics()["coherence"]
    assert isinstance(coherence, Coherence)
    assert coherence.words.language == point.words.language == "none"
    with pytest.raises(ConfigError, match=r"words.language: .*must be none or one of ar, .* got 'xx'"):
        load(tmp_path, "words.language=xx")


def test_a_name_is_a_packaged_experiment_where_there_is_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (packaged,) = load_experiment(Path("demo"))
    assert packaged.dataset.name == "planted"
    Path("own").write_text(yaml.safe_dump(BASE | {"n_concepts": 7}))
    assert load_experiment(Path("own"))[0].n_concepts == 7
    (extended,) = load(tmp_path, extends="demo")
    assert "kmeans" in extended.methods


@pytest.mark.parametrize("name", EXPERIMENTS.names())
def test_every_packaged_experiment_loads_and_says_what_it_is(name: str):
    assert load_experiment(Path(name), ["backbone=minilm", "dataset=planted"] if name == "own" else [])[
        0
    ].methods
    assert EXPERIMENTS.about(name)


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"give the path of a YAML file, or one of .*demo"):
        load_experiment(tmp_path / "demoo")

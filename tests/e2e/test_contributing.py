"""CONTRIBUTING.md is true: a file that it shows is all that a method, metric, data set or backbone takes."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"`(src/\S+)`, then [^\n]*\n\n```\w+\n(.*?)```", TEXT, flags=re.DOTALL))


def write_rows(path: Path, n: int) -> str:
    rows = [f"the {'soup was cold' if i % 2 else 'cake was fresh'} no {i},{i % 2}" for i in range(n)]
    path.write_text("\n".join(["review,stars", *rows]))
    return str(path)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the files of CONTRIBUTING.md in it."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in FILES.items():
        assert not (folder / path).exists()
        (folder / path).write_text(text)
    return folder


def test_rooms_are_listed_as_they_are_layered():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    listed = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`.*?) \|", TEXT, flags=re.MULTILINE)]
    assert listed == [re.findall(r"\w+", layer) for layer in reversed(layers)]


def test_each_kind_takes_under_ten_lines():
    assert [Path(path).parent.name for path in FILES] == ["concepts", "metrics", "datasets", "backbones"]
    for text in FILES.values():
        lines = [line for line in text.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(lines) < 10


def test_a_run_uses_a_new_method_metric_data_set_and_backbone(extended: Path):
    experiment = {
        "backbone": {"model": "roberta", "tiny": True, "n_steps": 30, "batch_size": 8, "learning_rate": 3e-3},
        "dataset": {
            "name": "reviews",
            "train": write_rows(extended / "train.csv", 24),
            "test": write_rows(extended / "test.csv", 12),
        },
        "methods": ["pca"],
        "metrics": ["certainty"],
        "n_concepts": 3,
        "run_dir": "run",
    }
    (extended / "new.yaml").write_text(yaml.safe_dump(experiment))
    command = [sys.executable, "-m", "classifsae", "score", "new.yaml"]
    environment = os.environ | {"PYTHONPATH": str(extended / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=extended, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads((extended / "run" / "summary.json").read_text())
    assert (record["method"], record["dataset"], record["backbone"]) == ("pca", "reviews", "roberta-tiny")
    assert 0.5 <= record["certainty"] <= 1

"""Windows of long texts through a whole run: rows in the note, and scores of whole texts beside them."""

import json
from pathlib import Path

from classifsae.activations import Activations
from classifsae.data import load_dataset
from classifsae.meaning.sentences import Sentences
from classifsae.pipeline.config import load_experiment
from classifsae.pipeline.run import run


def test_windows_are_rows_and_whole_texts_are_scored_as_well(experiment: Path):
    settings = ["seeds=[1]", "methods={random: {top_k: 3}}"]
    (cut,) = load_experiment(experiment, settings)
    assert run(cut).n_done == 1 + 5 + 5 + 1 + 1
    windows = [*settings, "backbone.long_texts=windows", "backbone.overlap=4"]
    (point,) = load_experiment(experiment, windows)
    outcome = run(point)
    assert outcome.n_done == 5 + 5 + 1 + 1  # the classifier is the same: training always cuts
    (record,) = outcome.records
    assert record["n_sentences"] > record["n_documents"] == 30
    assert "split into overlapping windows" in outcome.notes[0]
    assert "per window," in (outcome.folder / "table.md").read_text()
    data = load_dataset(point.dataset)
    found = Activations.load(outcome.folder / "activations" / "test")
    assert all(
        part in data.test.texts[document]
        for part, document in zip(found.texts_of(data.test.texts), found.documents.tolist(), strict=True)
    )
    assert len(json.loads((outcome.folder / "activations" / "test" / "ids.json").read_text())) == len(found)
    rows = found.texts_of(data.test.texts)
    assert len(Sentences.load(outcome.folder / "sentences" / "test", rows)) == len(found)
    assert (outcome.folder / "report" / "index.html").is_file()

"""What ``classifsae edit`` does: a run's classifier without a pattern or without some of its concepts."""

import json
from pathlib import Path
from typing import Literal

from classifsae.auditing.edits import phrase
from classifsae.auditing.remedy import DEAREST, Remedy, remedy
from classifsae.classifier.classifier import Classifier
from classifsae.concepts import Concepts
from classifsae.data import Texts
from classifsae.errors import ConfigError
from classifsae.explaining.explainer import names_of
from classifsae.pipeline.audit import work_of
from classifsae.pipeline.explain import chosen_fit
from classifsae.pipeline.run_folder import SPLITS
from classifsae.storage import write_text
from classifsae.tensors import OnStep

Spread = Literal["remove", "spread"]


def remedy_of(folder: Path, words: str, *, on_step: OnStep | None = None) -> Remedy:
    """A run's classifier without words.

    Raises:
        StorageError: there is no run, or it has no activations.
        DataError, ConfigError: the words, or the classifier, do not allow it.
    """
    work = work_of(folder)
    train, test = (work.activations(split) for split in SPLITS)
    return remedy(
        work.classifier,
        words,
        work.rows("train"),
        work.rows("test"),
        train_activations=train,
        test_activations=test,
        on_step=on_step,
    )


def without_concepts(
    folder: Path, latents: list[int], *, method: str | None = None, seed: int | None = None
) -> tuple[Classifier, str]:
    """A run's classifier in which some concepts can change nothing, and what that does to test decisions.

    Raises:
        StorageError: there is no run, or it has no activations or concepts.
        ConfigError: no such concepts, or a classifier that does not allow it.
    """
    work = work_of(folder)
    which = chosen_fit(work.folder, work.experiment, method, seed)
    found = Concepts.load(work.folder.in_use(which))
    edited = work.classifier.without(found, latents)
    test = work.activations("test")
    after = edited.tail(test.hidden.float()).argmax(dim=1)
    before, labels = test.predictions, test.labels
    accuracy = [float((decisions == labels).double().mean()) for decisions in (before, after)]
    changed, worse = int((before != after).sum()), accuracy[1] < accuracy[0] - DEAREST
    recalls = (
        f"{name} {float((after[own] == c).double().mean()):.3f}, before "
        f"{float((before[own] == c).double().mean()):.3f}"
        for c, name in enumerate(edited.label_names)
        if (own := labels == c).any()
    )
    called = dict(zip(found.kept.tolist(), names_of(found, work.folder.described(which) or ()), strict=True))
    noun = "concept" if len(latents) == 1 else "concepts"
    taken = f"{noun} " + ", ".join(f"{latent} ({called[latent]})" for latent in latents)
    return edited, (
        f"Without {taken} of {which}, {changed} of {len(test)} test decisions change; accuracy "
        f"{accuracy[1]:.3f}, before {accuracy[0]:.3f}. Recall: {'; '.join(recalls)}."
    ) + (" This classifier is much worse; take out fewer concepts." if worse else "")


def require_new(folder: Path) -> None:
    """See that nothing is in the way of a new classifier.

    Raises:
        ConfigError: there is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a new folder with --to.")


def augment(folder: Path, words: str, file: Path, *, how: Spread) -> int:
    """Write the training texts of a run, changed so that words say nothing of the class, for training again.

    Args:
        folder: of the run.
        words: as they stand in the texts.
        file: one JSON object per line, with ``text`` and ``label``.
        how: "remove" the words from all texts, or "spread" them: every text is there with them and without.
    Returns:
        The number of texts written.
    Raises:
        StorageError: there is no run, or the file cannot be written.
    """
    texts = work_of(folder).texts("train")
    rows = _removed(texts, words) if how == "remove" else _spread(texts, words)
    names = texts.label_names
    lines = [json.dumps({"text": text, "label": names[c]}, ensure_ascii=False) for text, c in rows]
    write_text(file, "\n".join(lines) + "\n")
    return len(lines)


def _removed(texts: Texts, words: str) -> list[tuple[str, int]]:
    edit = phrase(words, texts.texts)
    return [(edit.without(text) or text, c) for text, c in zip(texts.texts, texts.labels, strict=True)]


def _spread(texts: Texts, words: str) -> list[tuple[str, int]]:
    edit = phrase(words, texts.texts)
    both = [(text, edit.without(text) or edit.into(text)) for text in texts.texts]
    rows = zip(both, texts.labels, strict=True)
    return [(version, c) for versions, c in rows for version in versions if version is not None]

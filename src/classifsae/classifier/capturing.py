"""One pass over texts: hidden states and logits of every sentence once, in data-set order."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from classifsae.activations import TENSORS, Activations, Source, check_finite, finish_activations
from classifsae.classifier._labels import agreed_labels
from classifsae.classifier.classifier import Classifier
from classifsae.data.texts import Texts
from classifsae.errors import DataError
from classifsae.storage import (
    begin,
    concatenate_files,
    fingerprint,
    manifest_of,
    read_json,
    write_json,
    write_tensors,
)
from classifsae.tensors import OnStep, Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Consecutive sentences, captured.

    Attributes:
        tensors: hidden (b, d), logits (b, c) and labels (b,).
        n_cut: texts that were longer than the model's limit.
    """

    tensors: dict[str, Tensor]
    n_cut: int


def capture(
    classifier: Classifier,
    texts: Texts,
    *,
    folder: Path | None = None,
    max_tokens: int = 16384,
    shard_size: int = 4096,
    on_step: OnStep | None = None,
    inputs: str = "",
) -> Activations:
    """Hidden states, logits, labels and ids of all texts, in their order.

    Args:
        folder: where they are kept, in shards until all are there; a run that was killed resumes at its
            first missing shard. The result is memory-mapped. None: kept in memory.
        max_tokens: tokens per batch at most, padding included (a longer text is a batch of its own).
        shard_size: sentences per shard; memory grows with it, not with the number of texts.
        on_step: told after each batch: sentences done, sentences in all.
        inputs: fingerprint to put into the manifest; by default that of the model, layer, prompt and texts.
    Raises:
        DataError: no texts, or hidden states that hold NaN or infinity.
        ConfigError: other classes than the model's, or a head that reads more than the sentence vector.
        StorageError: the folder cannot be written.
    """
    if len(texts) == 0:
        raise DataError("there are no texts to capture; check the data set.")
    agreed_labels(classifier.label_names, texts.label_names, name=classifier.name)
    classifier.verify(texts.texts)
    pass_ = _Pass(classifier, texts, max_tokens=max_tokens, shard_size=shard_size, on_step=on_step)
    return pass_.in_memory() if folder is None else pass_.in_folder(folder, inputs)


def n_cut_of(folder: Path) -> int:
    """How many of the captured texts were cut at the model's limit."""
    manifest = manifest_of(folder)
    value = None if manifest is None else manifest.record.get("n_cut")
    return value if isinstance(value, int) else 0


@dataclass(frozen=True)
class _Pass:
    """One capture: what is read, and how it is cut into shards and batches."""

    classifier: Classifier
    texts: Texts
    max_tokens: int
    shard_size: int
    on_step: OnStep | None

    @property
    def source(self) -> Source:
        model = self.classifier
        return Source(
            model=model.fingerprint, layer=model.layer, prompt=model.prompt, dataset=self.texts.dataset
        )

    @property
    def inputs(self) -> str:
        """Fingerprint of all that the states depend on, batching included, which moves their last bits."""
        return fingerprint(
            self.source.model_dump(),
            self.texts.identity,
            [self.classifier.reader.max_length, str(self.classifier.dtype), self.classifier.device.type],
            [self.max_tokens, self.shard_size, torch.__version__],
        )

    def in_memory(self) -> Activations:
        """The record, from shards joined in memory."""
        shards = [self._shard(start) for start in self._starts()]
        tensors = {
            name: torch.cat([s.tensors[name] for s in shards]) for name in ("hidden", "logits", "labels")
        }
        self._report(sum(shard.n_cut for shard in shards))
        return Activations(
            hidden=tensors["hidden"],
            logits=tensors["logits"],
            labels=tensors["labels"],
            ids=self.texts.ids,
            source=self.source,
        )

    def in_folder(self, folder: Path, inputs: str) -> Activations:
        """The record, memory-mapped from a finished artefact."""
        own = self.inputs
        begin(folder)
        parts = folder / f"shards-{own[:16]}"
        for other in folder.glob("shards-*"):
            if other != parts:
                shutil.rmtree(other)
        for start in self._starts():
            self._keep(parts / f"{start:012d}.safetensors", start)
        files = sorted(parts.glob("*.safetensors"))
        n_cut = sum(_count(file.with_suffix(".json")) for file in files)
        concatenate_files(folder / TENSORS, files)
        finish_activations(
            folder, ids=self.texts.ids, source=self.source, inputs=inputs or own, facts={"n_cut": n_cut}
        )
        shutil.rmtree(parts)
        self._report(n_cut)
        return Activations.load(folder)

    def _starts(self) -> range:
        return range(0, len(self.texts), self.shard_size)

    def _keep(self, file: Path, start: int) -> None:
        """Write a shard unless it is there; the tensors come last, so they mean that it is whole."""
        if file.exists():
            self._step(min(start + self.shard_size, len(self.texts)))
            return
        shard = self._shard(start)
        write_json(file.with_suffix(".json"), {"n_cut": shard.n_cut})
        write_tensors(file, shard.tensors)

    def _shard(self, start: int) -> Shard:
        rows = slice(start, start + self.shard_size)
        encoded = self.classifier.reader.encode(self.texts.texts[rows])
        states = self.classifier.states_of(
            encoded.ids, max_tokens=self.max_tokens, on_rows=lambda done: self._step(start + done)
        )
        check_finite(states.hidden, self.texts.ids[rows])
        labels = torch.tensor(self.texts.labels[rows])
        return Shard({"hidden": states.hidden, "logits": states.logits, "labels": labels}, encoded.n_cut)

    def _step(self, done: int) -> None:
        if self.on_step is not None:
            self.on_step(done, len(self.texts), {})

    def _report(self, n_cut: int) -> None:
        if n_cut:
            limit = self.classifier.reader.max_length
            logger.warning("%d of %d texts were cut at %d tokens", n_cut, len(self.texts), limit)


def _count(file: Path) -> int:
    facts = read_json(file)
    n_cut = facts.get("n_cut") if isinstance(facts, dict) else None
    return n_cut if isinstance(n_cut, int) else 0

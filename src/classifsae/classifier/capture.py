"""One pass over texts: hidden states and logits of every sentence once, in data-set order."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from classifsae import ranks
from classifsae.activations import TENSORS, Activations, Source, check_finite, finish_activations, window_ids
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import LongTexts
from classifsae.classifier.loading.labels import require_same_order
from classifsae.classifier.reading.windows import windowed
from classifsae.data.texts import Texts
from classifsae.errors import DamagedError, DataError, require_kind
from classifsae.progress import with_bar
from classifsae.storage import (
    MANIFEST,
    Json,
    Manifest,
    begin,
    clear,
    concatenate_files,
    fingerprint,
    finish,
    kept,
    manifest_of,
    read_tensors,
    write_tensors,
)
from classifsae.tensors import OnStep, Tensor

logger = logging.getLogger(__name__)


@with_bar("capture")
def capture(
    classifier: Classifier,
    texts: Texts,
    *,
    folder: str | Path | None = None,
    long_texts: LongTexts = "cut",
    overlap: int = 32,
    max_tokens: int = 16384,
    shard_size: int = 4096,
    on_step: OnStep | None = None,
    inputs: str = "",
) -> Activations:
    """Hidden states, logits, labels and ids of all texts, in their order.

    Args:
        folder: where they are kept, memory-mapped; a run that was killed resumes at its first missing shard.
            Several processes of torchrun share the work. None: kept in memory.
        long_texts: "cut" texts that are longer than the model reads, or split them into overlapping
            "windows", each a row with the label of its text, told apart by ``documents`` and ``spans``.
        overlap: tokens that neighbouring windows share at least.
        max_tokens: tokens per batch at most, padding included (a longer text is a batch of its own).
        shard_size: texts per shard; memory grows with it, not with the number of texts.
        on_step: told after each batch: texts done, texts in all.
        inputs: fingerprint to put into the manifest; by default that of the model, layer, prompt and texts.
    Raises:
        DataError: no texts, or hidden states that hold NaN or infinity.
        ConfigError: other classes or another order than the model's, a head that reads more than the sentence
            vector, or an overlap that fills a window.
        StorageError: the folder cannot be written.
    """
    require_kind(classifier, Classifier, wanted="capture takes a classifier, such as that of finetune")
    require_kind(texts, Texts, wanted="capture takes the texts of one split, such as data.test")
    if len(texts) == 0:
        raise DataError("there are no texts to capture; check the data set.")
    require_same_order(classifier.label_names, texts.label_names, name=classifier.name)
    classifier.verify(texts.texts)
    shared = overlap if long_texts == "windows" else None
    pass_ = _Pass(classifier, texts, shared, max_tokens, shard_size, on_step)
    return pass_.in_memory() if folder is None else pass_.in_folder(Path(folder), inputs)


@dataclass(frozen=True)
class _Pass:
    """One capture: what is read, and how it is cut into shards and batches; without overlap, no windows."""

    classifier: Classifier
    texts: Texts
    overlap: int | None
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
            [self.overlap, self.max_tokens, self.shard_size, torch.__version__],
        )

    def in_memory(self) -> Activations:
        """The record, from shards joined in memory."""
        shards = [self._shard(start) for start in self._starts()]
        tensors = {name: torch.cat([shard[name] for shard, _ in shards]) for name in shards[0][0]}
        self._report(sum(n_long for _, n_long in shards))
        return Activations(**tensors, ids=self._ids(tensors), source=self.source)

    def in_folder(self, folder: Path, inputs: str) -> Activations:
        """The record, memory-mapped from a finished artefact."""
        own = self.inputs
        parts = folder / f"shards-{own[:16]}"
        if ranks.is_first():
            begin(folder)
            for other in folder.glob("shards-*"):
                if other != parts:
                    clear(other)
        ranks.wait()
        for start in ranks.share(self._starts()):
            self._keep(parts / f"{start:012d}", start)
        ranks.wait()
        if ranks.is_first():
            self._join(parts, folder, inputs or own)
        ranks.wait()
        return Activations.load(folder)

    def _join(self, parts: Path, folder: Path, inputs: str) -> None:
        """Finish the artefact from all its shards, and remove these."""
        shards = [parts / f"{start:012d}" for start in self._starts()]
        n_long = sum(int(str(_finished(shard).record["n_long"])) for shard in shards)
        concatenate_files(folder / TENSORS, [shard / TENSORS for shard in shards])
        ids = self._ids(read_tensors(folder / TENSORS))
        facts: dict[str, Json] = {"n_cut": n_long} if self.overlap is None else {"n_split": n_long}
        finish_activations(folder, ids=ids, source=self.source, inputs=inputs, facts=facts)
        clear(parts)
        self._report(n_long)

    def _ids(self, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Ids of the rows; those of the texts, unless some have several rows."""
        documents = tensors.get("documents")
        return self.texts.ids if documents is None else window_ids(self.texts.ids, documents.tolist())

    def _starts(self) -> range:
        return range(0, len(self.texts), self.shard_size)

    def _keep(self, folder: Path, start: int) -> None:
        """Write a shard unless it is there; its manifest says how many of its texts were too long."""
        if kept(folder, large=True) is not None:
            self._step(min(start + self.shard_size, len(self.texts)))
            return
        tensors, n_long = self._shard(start)
        write_tensors(folder / TENSORS, tensors)
        finish(folder, inputs=self.inputs, record={"n_long": n_long})

    def _shard(self, start: int) -> tuple[dict[str, Tensor], int]:
        """Consecutive texts, captured, and how many of them were longer than the model reads.

        The tensors are hidden (b, d), logits (b, c), labels (b,); with windows, documents (b,), spans (b, 2).
        """
        end = min(start + self.shard_size, len(self.texts))
        read = windowed(self.classifier.reader, self.texts.texts[start:end], overlap=self.overlap)
        states = self.classifier.states_of(
            read.rows,
            max_tokens=self.max_tokens,
            on_rows=lambda done: self._step(start + done * (end - start) // len(read.rows)),
        )
        documents = start + torch.tensor(read.owners)
        check_finite(states.hidden, tuple(self.texts.ids[i] for i in documents.tolist()))
        labels = torch.tensor(self.texts.labels)[documents]
        tensors = {"hidden": states.hidden, "logits": states.logits, "labels": labels}
        if read.spans is not None:
            tensors |= {"documents": documents, "spans": torch.tensor(read.spans)}
        return tensors, read.n_long

    def _step(self, done: int) -> None:
        if self.on_step is not None:
            self.on_step(done, len(self.texts), {})

    def _report(self, n_long: int) -> None:
        if n_long:
            limit = self.classifier.reader.max_length
            done = "cut" if self.overlap is None else "split into windows"
            logger.warning("%d of %d texts were %s at %d tokens", n_long, len(self.texts), done, limit)


def _finished(shard: Path) -> Manifest:
    """The manifest of a shard, which every process has written by now.

    Raises:
        DamagedError: it is gone.
    """
    noted = manifest_of(shard)
    if noted is None:
        raise DamagedError(shard, MANIFEST, "is missing")
    return noted

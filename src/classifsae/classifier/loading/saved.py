"""What a folder of ``Classifier.save`` says of itself beside its weights."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from classifsae.classifier.config import BackboneConfig, Kind, resolve_backbone
from classifsae.errors import StorageError
from classifsae.storage import broken_file, manifest_of, read_json, require_unchanged

FACTS = "classifier.json"


class Base(BaseModel, frozen=True, extra="forbid"):
    """A frozen model that is kept by reference: how it was loaded, and the SHA-256 of its weights then."""

    model: str
    revision: str | None
    sha256: str | None
    dtype: Literal["float32", "bfloat16", "float16"]
    quantization: Literal["8bit"] | None = None
    seed: int
    fingerprint: str


class Facts(BaseModel, frozen=True, extra="forbid"):
    """What a saved classifier says of itself.

    ``n_vectors`` are those of its soft prompt; ``base`` is the frozen model, if it is kept by reference;
    ``settings`` is the fingerprint of the configuration and tokenizer of a model that was tuned elsewhere;
    without one, the file does not speak of it.
    """

    kind: Kind
    layer: int
    template: str | None
    answers: tuple[str, ...] | None = None
    max_length: int
    label_names: tuple[str, ...]
    n_vectors: int = 0
    base: Base | None = None
    settings: str = ""


def with_saved(config: BackboneConfig) -> tuple[BackboneConfig, Facts | None]:
    """The options, and under them those of a folder of ``Classifier.save``, if the model is one.

    Raises:
        StorageError: such a folder is unfinished, or damaged.
        MismatchError: a file beside the weights is not as it was saved.
    """
    folder = Path(config.model or "").expanduser()
    if not (folder / FACTS).is_file():
        return config, None
    facts = _facts(folder)
    saved = facts.model_dump(mode="json", include={"kind", "layer", "template", "answers", "max_length"})
    return resolve_backbone({**saved, **config.model_dump(mode="json", exclude_unset=True)}), facts


def _facts(folder: Path) -> Facts:
    if (broken := broken_file(folder)) is not None:
        raise StorageError(
            f"{folder / broken} is missing or was changed; restore it, or run the finetune stage again."
        )
    manifest = manifest_of(folder)
    if manifest is None:
        raise StorageError(f"{folder} holds an unfinished classifier; run the finetune stage again.")
    for file in manifest.files:
        if not file.startswith("model"):  # all files but the weights are small enough to be read each time
            require_unchanged(folder, file)
    try:
        return Facts.model_validate(read_json(folder / FACTS))
    except ValidationError as error:
        raise StorageError(f"{folder / FACTS} is damaged; delete {folder} to have it made again.") from error

"""A model with the tokenizer that it reads with, and what a folder of ``Classifier.save`` says of one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError
from torch import nn

from classifsae.classifier.config import BackboneConfig, Kind, resolve_backbone
from classifsae.classifier.loading.soft_prompt import SoftPrompt
from classifsae.classifier.opening.affine import ChangeAt
from classifsae.errors import StorageError
from classifsae.storage import manifest_of, read_json, require_unchanged

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


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
    ``changed_at`` is the layer whose sentence vector is changed where the model runs, if it is;
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
    changed_at: int | None = None


@dataclass(frozen=True)
class Loaded:
    """A model with the tokenizer that it reads with.

    Attributes:
        model: with its prompt or adapter inside, if it has one.
        tokenizer: a fast one.
        kind: encoder or decoder.
        label_names: the names that a sequence classifier has for its classes; none for a decoder.
        missing: names of weights that its files do not hold, which are therefore random.
        settings: fingerprint of the configuration and tokenizer that came with weights tuned elsewhere.
        prompt: the soft prompt in front of its tokens.
        adapter: peft's handle on the low-rank changes inside it.
        base: where the frozen weights are, if they are kept by reference.
        change: of the sentence vector, made where the model runs.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    kind: Kind
    label_names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    settings: str = ""
    prompt: SoftPrompt | None = None
    adapter: "PeftModel | None" = None
    base: Base | None = None
    change: ChangeAt | None = None


def n_positions(model: "PreTrainedModel") -> int | None:
    """Positions of a model, less those that RoBERTa-like embeddings reserve for padding; None: any number."""
    total = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        is_table = name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
        if is_table and module.padding_idx is not None:
            return module.num_embeddings - module.padding_idx - 1
    return None if total is None or total < 1 else int(total)  # XLNet says -1


def with_saved(config: BackboneConfig) -> tuple[BackboneConfig, Facts | None]:
    """The options, and under them those of a folder of ``Classifier.save``, if the model is one.

    Raises:
        StorageError: such a folder is unfinished.
        DamagedError: a file is not as it was saved.
    """
    folder = Path(config.model or "").expanduser()
    if not (folder / FACTS).is_file():
        return config, None
    facts = _facts(folder)
    saved = facts.model_dump(mode="json", include={"kind", "layer", "template", "answers", "max_length"})
    return resolve_backbone({**saved, **config.model_dump(mode="json", exclude_unset=True)}), facts


def _facts(folder: Path) -> Facts:
    if manifest_of(folder) is None:
        raise StorageError(f"{folder} holds an unfinished classifier; run the finetune stage again.")
    require_unchanged(folder)
    try:
        return Facts.model_validate(read_json(folder / FACTS))
    except ValidationError as error:
        raise StorageError(
            f"{folder / FACTS} is damaged; get it again, or, if a run made it, delete {folder}."
        ) from error

"""Low-rank adapters through peft: made, merged, saved and read in its format, without pickles.

Source: Hu et al. 2021 (arXiv:2106.09685).
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast
from warnings import catch_warnings

from classifsae.classifier.config import BackboneConfig, Kind, LoraOptions
from classifsae.classifier.loading.loaded import Loaded
from classifsae.errors import ConfigError, StorageError
from classifsae.hub.files import folder_with
from classifsae.hub.quiet import as_config_error
from classifsae.storage import Json, read_tensors, write_json, write_tensors
from classifsae.tensors import Tensor

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TASKS: dict[Kind, str] = {"encoder": "SEQ_CLS", "decoder": "CAUSAL_LM"}


def require_peft() -> None:
    """Raise a ConfigError, which says how to install peft, where peft is missing."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ConfigError('LoRA needs peft; pip install "classifsae[peft]".') from error


def adapted(model: "PreTrainedModel", kind: Kind, options: LoraOptions, *, name: str) -> "PeftModel":
    """A handle on a model that from now on has the changes inside, and nothing else to train but a head.

    Raises:
        ConfigError: peft is missing, or finds no modules to change.
    """
    require_peft()
    from peft import LoraConfig

    modules = options.target_modules
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(modules) if isinstance(modules, tuple) else modules,
        modules_to_save=_heads(model, kind),
        task_type=_TASKS[kind],
    )
    return _wrapped(model, config, name=name)


def merged(loaded: Loaded) -> Loaded:
    """The model with its changes added to its weights, as if it had been tuned as a whole."""
    assert loaded.adapter is not None
    return replace(loaded, model=loaded.adapter.merge_and_unload(), adapter=None, base=None)


def write_adapter(folder: Path, loaded: Loaded) -> None:
    """Write the adapter as peft reads it."""
    from peft import get_peft_model_state_dict

    assert loaded.adapter is not None
    write_json(folder / CONFIG, {**options_of(loaded), "inference_mode": True})
    write_tensors(folder / WEIGHTS, get_peft_model_state_dict(loaded.adapter, save_embedding_layers=False))


def options_of(loaded: Loaded) -> dict[str, Json]:
    """The options of a model's adapter, in peft's words."""
    assert loaded.adapter is not None
    options = loaded.adapter.peft_config["default"].to_dict()
    # A set has no order of its own, and equal adapters must be equal files.
    found: dict[str, Json] = json.loads(json.dumps(options, default=sorted))
    return found


def adapter_folder(config: BackboneConfig) -> Path | None:
    """The folder of peft's that a backbone is, here or fetched from the hub; None for any other model."""
    return folder_with(config.model, CONFIG, revision=config.revision) if config.model else None


def base_of(config: BackboneConfig, folder: Path) -> BackboneConfig:
    """The model that a folder of peft's changes.

    Raises:
        ConfigError: peft is missing, or the folder holds something else than LoRA, or names no model.
    """
    adapter = _read_config(folder)
    if not adapter.base_model_name_or_path:
        raise ConfigError(
            f"{config.model}/{CONFIG} names no model; set base_model_name_or_path to a folder or hub id."
        )
    kinds = {task: kind for kind, task in _TASKS.items()}
    kind = config.kind if config.kind != "auto" else kinds.get(str(adapter.task_type or ""), "auto")
    fields = {"model": adapter.base_model_name_or_path, "revision": adapter.revision, "kind": kind}
    return config.model_copy(update={**fields, "preset": None, "sha256": None})


def read_adapter(loaded: Loaded, folder: Path, *, name: str) -> Loaded:
    """A model with the adapter of a folder.

    Raises:
        ConfigError: the adapter is not of this model, or leaves weights untrained that no file holds.
        StorageError: the adapter's weights are missing or damaged.
    """
    config = _read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise StorageError(f"{folder} lacks {WEIGHTS}; adapters are read from safetensors only.")
    wrapped = replace(loaded, adapter=_wrapped(loaded.model, config, name=name))
    _put_in(wrapped, read_tensors(folder / WEIGHTS), where=folder, name=name)
    trained = tuple(config.modules_to_save or ())
    lost = [weight for weight in loaded.missing if weight.split(".")[0] not in trained]
    if lost:
        raise ConfigError(
            f"neither {name} nor the adapter in {folder} holds {lost[0]} (and {len(lost) - 1} more), so they "
            f"are no trained classifier; fine-tune it first (tuning: lora)."
        )
    return wrapped


def _put_in(loaded: Loaded, tensors: dict[str, Tensor], *, where: Path, name: str) -> None:
    from peft import set_peft_model_state_dict

    unfit = f"the adapter in {where} does not fit {name}"
    cure = f"check base_model_name_or_path in {CONFIG}, and that label_names are those that it was tuned with"
    with as_config_error(unfit, cure=cure), catch_warnings(action="ignore"):
        found = set_peft_model_state_dict(loaded.adapter, tensors)
    missing, unexpected = cast("tuple[list[str], list[str]]", found)
    wanted = [key for key in missing if ".lora_" in key or ".modules_to_save." in key]
    if wanted or unexpected:
        raise ConfigError(f"{unfit}: one of them lacks {[*wanted, *unexpected][0]}; {cure}.")


def _wrapped(model: "PreTrainedModel", config: "LoraConfig", *, name: str) -> "PeftModel":
    from peft import PeftModel, get_peft_model

    with (
        as_config_error(f"{name}: LoRA cannot be set up", cure="set lora.target_modules"),
        catch_warnings(action="ignore"),
    ):
        wrapped = get_peft_model(model, config)
    assert isinstance(wrapped, PeftModel)
    return wrapped


def _read_config(folder: Path) -> "LoraConfig":
    require_peft()
    from peft import LoraConfig, PeftConfig

    cure = "give an adapter that the installed peft can read, or update peft"
    with (
        as_config_error(f"{folder / CONFIG} is no adapter of a known kind", cure=cure),
        catch_warnings(action="ignore"),
    ):
        config = PeftConfig.from_pretrained(str(folder))
    if not isinstance(config, LoraConfig):
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise ConfigError(f"{folder} holds an adapter of kind {kind}; only LORA can be opened.")
    return config


def _heads(model: "PreTrainedModel", kind: Kind) -> list[str] | None:
    """Modules with weights outside the body of a sequence classifier: new, and so to be trained whole."""
    if kind == "decoder":
        return None
    body = model.base_model_prefix
    return [name for name, part in model.named_children() if name != body and [*part.parameters()]]

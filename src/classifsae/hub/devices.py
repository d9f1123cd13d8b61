"""What the device and the extras allow: half precision, 8 bits, several GPUs. What cannot work is refused."""

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import nn

from classifsae import ranks
from classifsae.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def pick_device(device: torch.device | str | None) -> torch.device:
    """The device given, else a GPU if there is one, else the CPU; each process of torchrun has its own GPU.

    Raises:
        ConfigError: there are more processes than GPUs.
    """
    found = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
    if str(found) == "cuda" and ranks.n_ranks() > 1:
        if (n_gpus := torch.cuda.device_count()) <= ranks.local_rank():
            raise ConfigError(f"there are {n_gpus} GPUs here; start as many processes, or set device=cpu.")
        torch.cuda.set_device(ranks.local_rank())
    return found


def computes_in_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, rather than imitating them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def check_training(*, precision: str, optimizer: str, device: torch.device) -> None:
    """Refuse a precision or an optimiser that this device, or this installation, does not have.

    Raises:
        ConfigError: says what to choose instead.
    """
    if precision == "fp16" and device.type != "cuda":
        # Hugging Face's trainer would compute in float32 and say nothing.
        raise ConfigError(
            f"precision is fp16, which is trained on a GPU only, and this is the {device.type}; "
            f"choose float32, bf16 or auto."
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise ConfigError("precision is bf16, which this GPU does not have; choose fp16 or float32.")
    if optimizer == "adamw_8bit":
        _require_bitsandbytes("optimizer is adamw_8bit")


def _require_bitsandbytes(asked: str) -> None:
    """Import bitsandbytes, quietly; where it is not installed, name the extra."""
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f'{asked}, which needs bitsandbytes: pip install "classifsae[quantization]", or leave it out.'
        )
    with warnings.catch_warnings():
        # What it imports from torch is about to be removed there, which is not for our users to read.
        warnings.simplefilter("ignore", DeprecationWarning)
        import_module("bitsandbytes")


def placement(*, quantization: str | None, device_map: str | None, device: torch.device) -> dict[str, object]:
    """Arguments of ``from_pretrained`` for where weights go, in how many bits; none for a model moved whole.

    Raises:
        ConfigError: 8 bits without bitsandbytes.
    """
    if quantization is None:
        return {} if device_map is None else {"device_map": device_map}
    from transformers import BitsAndBytesConfig

    _require_bitsandbytes("quantization is 8bit")
    in_8_bits = BitsAndBytesConfig(load_in_8bit=True)
    return {"quantization_config": in_8_bits, "device_map": device_map or {"": _address(device)}}


def place(model: "PreTrainedModel", device: torch.device, *, name: str) -> None:
    """Move a model to a device, unless its weights have been placed while they were loaded.

    Raises:
        ConfigError: some weights found no place and stayed on the CPU or on the disk.
    """
    if any(weight.is_meta for weight in model.parameters()):
        raise ConfigError(
            f"{name} does not fit on the devices here, part of it would be read from the disk at each pass; "
            f"use more GPUs, dtype bfloat16, or quantization 8bit."
        )
    if getattr(model, "hf_device_map", None) is None:
        nn.Module.to(model, device)


def is_quantized(model: nn.Module) -> bool:
    """Whether matrix products are taken in fewer bits than the states have."""
    return any(weight.dtype == torch.int8 for weight in model.parameters())


def _address(device: torch.device) -> str | int:
    if device.type != "cuda":
        return str(device)
    return torch.cuda.current_device() if device.index is None else device.index

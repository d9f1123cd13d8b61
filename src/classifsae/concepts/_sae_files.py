"""Sparse autoencoders as other libraries keep them: the folders of SAELens and sparsify, read without either.

SAELens: ``cfg.json`` and ``sae_weights.safetensors``; sparsify: ``cfg.json`` and ``sae.safetensors``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from classifsae.errors import ConfigError, StorageError
from classifsae.storage import Json, read_json, read_tensors, write_json, write_tensors
from classifsae.tensors import Float, Tensor

CONFIG, SAE_LENS, SPARSIFY = "cfg.json", "sae_weights.safetensors", "sae.safetensors"

Architecture = Literal["standard", "topk", "jumprelu"]
Scale = Literal["none", "constant_norm_rescale"]
"""What is done to states first: nothing, or each is given the norm sqrt(d)."""

_FORMAT = "6.0.0"
"""The version of SAELens whose layout is written; later ones read it."""

_OTHERWISE = "give an SAE that is standard, topk or jumprelu, on states as they are or of norm sqrt(d)"


@dataclass(frozen=True)
class PlainSAE:
    """A sparse autoencoder of one of the three plain kinds, with unit or other decoder rows.

    pre = (s h - b_in) W_enc + b_enc,  codes = relu(pre) where kept else 0,  s h ~ codes W_dec + b_dec

    Attributes:
        architecture: which codes are kept: all, the k largest, or those above a threshold each.
        W_enc, b_enc, W_dec, b_dec: the weights.
        k: of topk.
        threshold: of jumprelu.
        subtracts_b_dec: whether b_in is b_dec, else 0.
        scale: what s is.
    """

    architecture: Architecture
    W_enc: Float[Tensor, "d p"]
    b_enc: Float[Tensor, " p"]
    W_dec: Float[Tensor, "p d"]
    b_dec: Float[Tensor, " d"]
    k: int | None = None
    threshold: Float[Tensor, " p"] | None = None
    subtracts_b_dec: bool = False
    scale: Scale = "none"


def sizes_in(folder: Path) -> tuple[int | None, int | None]:
    """Width d and number of latents p that a folder states, None where it does not."""
    config = _config(folder)
    sizes = [config.get("d_in"), config.get("d_sae") or config.get("num_latents")]
    d, p = (size if isinstance(size, int) and size > 0 else None for size in sizes)
    return d, p


def hook_in(folder: Path) -> str:
    """The place of the language model that a SAELens SAE says it is of, such as blocks.8.hook_resid_pre."""
    config = _config(folder)
    metadata = config.get("metadata")
    found = metadata if isinstance(metadata, dict) else config
    return str(found.get("hook_name") or "")


def read_sae(folder: Path) -> PlainSAE:
    """The sparse autoencoder in a folder of SAELens or sparsify, in float32.

    Raises:
        StorageError: the folder holds none, or its files do not agree.
        ConfigError: it is of a kind that cannot be read.
    """
    config = _config(folder)
    if (folder / SAE_LENS).is_file():
        return _of_sae_lens(folder, config, _weights(folder / SAE_LENS))
    if (folder / SPARSIFY).is_file():
        return _of_sparsify(folder, config, _weights(folder / SPARSIFY))
    raise StorageError(
        f"{folder} holds no {SAE_LENS} (SAELens) and no {SPARSIFY} (sparsify); give the folder of one SAE."
    )


def write_sae_lens(sae: PlainSAE, folder: Path, *, metadata: Mapping[str, Json]) -> None:
    """Write the two files that SAELens loads.

    Raises:
        StorageError: the folder cannot be written.
    """
    tensors = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    config: dict[str, Json] = {
        "architecture": sae.architecture,
        "d_in": sae.W_enc.shape[0],
        "d_sae": sae.W_enc.shape[1],
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtracts_b_dec,
        "normalize_activations": sae.scale,
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": _FORMAT, **metadata},
    }
    if sae.architecture == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold
    write_tensors(folder / SAE_LENS, {name: tensor.float().clone() for name, tensor in tensors.items()})
    write_json(folder / CONFIG, config)


def _config(folder: Path) -> dict[str, Json]:
    if not (folder / CONFIG).is_file():
        raise StorageError(
            f"{folder} holds no {CONFIG}; give the folder of one SAE, on the Hub as owner/name/folder."
        )
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise StorageError(f"{folder / CONFIG} is no mapping; fetch the SAE again.")
    return config


def _weights(file: Path) -> dict[str, Tensor]:
    return {name: tensor.float() for name, tensor in read_tensors(file).items()}


def _of_sae_lens(folder: Path, config: dict[str, Json], weights: dict[str, Tensor]) -> PlainSAE:
    """By its own conventions, those before version 6 among them."""
    options = config.get("activation_fn_kwargs")
    old_k = options.get("k") if isinstance(options, dict) else None
    activation = config.get("activation_fn") or config.get("activation_fn_str") or "relu"
    old = activation == "topk" and old_k is not None
    architecture = "topk" if old else config.get("architecture", "standard")
    if "scaling_factor" in weights and (weights["scaling_factor"] == 1).all():
        del weights["scaling_factor"]
    _require(folder, "architecture", architecture, ("standard", "topk", "jumprelu"))
    _require(folder, "activation_fn", activation, ("relu", "topk") if architecture == "topk" else ("relu",))
    subtracts = config.get("apply_b_dec_to_input", True)
    _require(folder, "apply_b_dec_to_input", subtracts, (True, False))
    scale = config.get("normalize_activations") or "none"
    _require(folder, "normalize_activations", scale, ("none", "constant_norm_rescale"))
    hook = "hook_z" if "hook_z" in str(config.get("hook_name")) else "none"
    _require(folder, "reshape_activations", config.get("reshape_activations", hook), ("none",))
    expected = {"W_enc", "b_enc", "W_dec", "b_dec"} | ({"threshold"} if architecture == "jumprelu" else set())
    _require_tensors(folder, weights, expected)
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = weights["W_dec"].norm(dim=1)
        weights |= {
            "W_enc": weights["W_enc"] * norms,
            "b_enc": weights["b_enc"] * norms,
            "W_dec": weights["W_dec"] / norms[:, None],
        }
    return _checked(
        folder,
        architecture,
        weights,
        k=old_k if old else config.get("k"),
        subtracts_b_dec=bool(subtracts),
        scale=scale,
    )


def _of_sparsify(folder: Path, config: dict[str, Json], weights: dict[str, Tensor]) -> PlainSAE:
    """A TopK autoencoder that subtracts its decoder's bias first."""
    _require(folder, "activation", config.get("activation", "topk"), ("topk",))
    for option in ("signed", "transcode", "skip_connection", "embed_skip", "gram_lookup"):
        _require(folder, option, bool(config.get(option, False)), (False,))
    _require_tensors(folder, weights, {"encoder.weight", "encoder.bias", "W_dec", "b_dec"})
    renamed = {
        "W_enc": weights["encoder.weight"].T.contiguous(),
        "b_enc": weights["encoder.bias"],
        "W_dec": weights["W_dec"],
        "b_dec": weights["b_dec"],
    }
    return _checked(folder, "topk", renamed, k=config.get("k"), subtracts_b_dec=True, scale="none")


def _checked(
    folder: Path,
    architecture: Json,
    weights: dict[str, Tensor],
    *,
    k: Json,
    subtracts_b_dec: bool,
    scale: Json,
) -> PlainSAE:
    """The autoencoder, if its tensors fit each other and k.

    Raises:
        StorageError: they do not.
    """
    d, p = weights["W_enc"].shape if weights["W_enc"].ndim == 2 else (0, 0)
    shapes = {"W_enc": (d, p), "b_enc": (p,), "W_dec": (p, d), "b_dec": (d,), "threshold": (p,)}
    wrong = [name for name, tensor in weights.items() if tuple(tensor.shape) != shapes[name]]
    if wrong or not p:
        raise StorageError(f"the tensors in {folder} do not fit ({', '.join(wrong)}); fetch the SAE again.")
    stated = sizes_in(folder)
    if any(one not in (None, size) for one, size in zip(stated, (d, p), strict=True)):
        said = " x ".join(str(one or "?") for one in stated)
        raise StorageError(
            f"{folder / CONFIG} states an SAE of {said}, and its weights are {d} x {p}; fetch the SAE again."
        )
    if architecture == "topk" and not (isinstance(k, int) and 0 < k <= p):
        raise StorageError(f"{folder / CONFIG} gives k as {k!r}, not 1 to {p}; correct it.")
    return PlainSAE(
        architecture=architecture,  # type: ignore[arg-type]  # one of three, as was required
        **weights,
        k=k if architecture == "topk" and isinstance(k, int) else None,
        subtracts_b_dec=subtracts_b_dec,
        scale=scale,  # type: ignore[arg-type]
    )


def _require(folder: Path, option: str, given: Json, allowed: tuple[Json, ...]) -> None:
    if given not in allowed:
        raise ConfigError(f"the SAE in {folder} has {option}: {given}, which is not read; {_OTHERWISE}.")


def _require_tensors(folder: Path, weights: Mapping[str, Tensor], expected: set[str]) -> None:
    if unlike := sorted(expected ^ weights.keys()):
        raise ConfigError(
            f"the SAE in {folder} has too many or too few tensors ({', '.join(unlike)}), so it is of another "
            f"kind than it says; {_OTHERWISE}."
        )

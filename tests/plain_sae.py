"""Small sparse autoencoders of random weights, in the formats in which others keep them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def weights(width: int, n_latents: int, *, seed: int = 0) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(n_latents, width, generator=draws)
    return {
        "W_enc": (W_dec.T / width).contiguous(),
        "b_enc": 0.1 * torch.randn(n_latents, generator=draws),
        "W_dec": W_dec,
        "b_dec": torch.randn(width, generator=draws),
    }


def sae_lens(folder: Path, tensors: dict[str, Tensor], **options: object) -> Path:
    """A folder of SAELens."""
    d_in, d_sae = tensors["W_enc"].shape
    sizes = {"d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu"}
    version = {"metadata": {"sae_lens_version": "6.54.12"}}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(sizes | version | options))
    return folder


def sparsify(folder: Path, tensors: dict[str, Tensor], **options: object) -> Path:
    """A folder of sparsify."""
    folder.mkdir(parents=True, exist_ok=True)
    named = {
        "encoder.weight": tensors["W_enc"].T.contiguous(),
        "encoder.bias": tensors["b_enc"],
        "W_dec": tensors["W_dec"],
        "b_dec": tensors["b_dec"],
    }
    save_file(named, folder / "sae.safetensors")
    d_in, d_sae = tensors["W_enc"].shape
    sizes = {"d_in": d_in, "num_latents": d_sae, "expansion_factor": 32, "normalize_decoder": True}
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", **sizes, **options}))
    return folder

"""Codes without their zeros, and the products of a training step that touch only the codes that are left."""

from dataclasses import dataclass

import torch
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import embedding_bag

from classifsae.tensors import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class SparseCodes:
    """The k candidates of each sentence: its largest codes, of which some may be zero.

    Attributes:
        values: activations >= 0.
        latents: which latents they are of; no latent twice in a row.
        n_latents: p.
    """

    values: Float[Tensor, "b k"]
    latents: Int[Tensor, "b k"]
    n_latents: int

    @property
    def fired(self) -> Bool[Tensor, " p"]:
        """Latents that are active on any sentence."""
        fired = torch.zeros(self.n_latents, dtype=torch.bool, device=self.values.device)
        fired[self.latents[self.values > 0]] = True
        return fired

    def columns(self, chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Codes of the chosen latents, zeros included."""
        n_chosen = len(chosen)
        # All others meet in one column more, which is cut off.
        place = chosen.new_full((self.n_latents,), n_chosen)
        place[chosen] = torch.arange(n_chosen, device=chosen.device)
        wide = self.values.new_zeros(len(self.values), n_chosen + 1)
        return wide.scatter(1, place[self.latents], self.values)[:, :n_chosen]

    def busy(self, n_sentences: int) -> Int[Tensor, " m"]:
        """Latents that may be active on more than so many sentences: at most b k / n_sentences."""
        counts = torch.bincount(self.latents.flatten(), minlength=self.n_latents)
        return (counts > n_sentences).nonzero().squeeze(1)

    def detached(self, n_first: int) -> "SparseCodes":
        """The same codes, without gradient of the first latents."""
        values = torch.where(self.latents < n_first, self.values.detach(), self.values)
        return SparseCodes(values, self.latents, self.n_latents)

    def times(self, rows: Float[Tensor, "p d"]) -> Float[Tensor, "b d"]:
        """The product of the codes with one row per latent."""
        rebuilt = embedding_bag(self.latents, rows.detach(), per_sample_weights=self.values, mode="sum")
        return _RowGradient.apply(rebuilt, rows, self.values, self.latents)


def encode_sparse(
    inputs: Float[Tensor, "b d"],
    weights: Float[Tensor, "d p"],
    bias: Float[Tensor, " p"],
    *,
    top_k: int,
    also: Int[Tensor, " g"],
) -> tuple[SparseCodes, Float[Tensor, "b g"]]:
    """The k largest of relu(inputs weights + bias), and of some latents the values before relu and TopK.

    Args:
        inputs: without gradient.
        weights, bias: of the encoder; their gradients come from the returned values alone.
        top_k: k.
        also: the latents whose values are wanted whatever their rank.
    """
    values, latents, extra = _Encode.apply(inputs, weights, bias, top_k, also)
    return SparseCodes(values.relu(), latents, weights.shape[1]), extra


class _Encode(torch.autograd.Function):
    """One dense product forward; backward, a sum over the sentences that each latent is a candidate of."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, inputs: Tensor, weights: Tensor, bias: Tensor, top_k: int, also: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        pre_codes = torch.addmm(bias, inputs, weights)
        values, latents = pre_codes.topk(top_k, dim=1, sorted=False)
        ctx.mark_non_differentiable(latents)
        ctx.save_for_backward(inputs, latents, also)
        ctx.n_latents = len(bias)
        return values, latents, pre_codes[:, also]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, values: Tensor, _: Tensor, extra: Tensor):
        inputs, latents, also = ctx.saved_tensors
        weights, bias = transposed_product(
            SparseCodes(values, latents, ctx.n_latents), (inputs, inputs.new_ones(len(inputs), 1))
        )
        if len(also):
            weights.index_add_(0, also, extra.T @ inputs)
            bias.index_add_(0, also, extra.sum(dim=0)[:, None])
        return None, weights.T, bias[:, 0], None, None


class _RowGradient(torch.autograd.Function):
    """Adds to a finished product of codes and rows the gradient of the rows."""

    @staticmethod
    def forward(ctx, product: Tensor, rows: Tensor, values: Tensor, latents: Tensor):
        ctx.save_for_backward(values, latents)
        ctx.n_latents = len(rows)
        return product.view_as(product)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        values, latents = ctx.saved_tensors
        (rows,) = transposed_product(SparseCodes(values, latents, ctx.n_latents), (gradient,))
        return gradient, rows, None, None


def transposed_product(codes: SparseCodes, factors: tuple[Float[Tensor, "b d"], ...]) -> list[Float[Tensor, "p d"]]:
    """codes^T factor: for each latent the sum over its sentences of code times row."""
    latents = codes.latents.flatten()
    order = latents.argsort(stable=True)
    counts = torch.bincount(latents, minlength=codes.n_latents)
    starts = counts.cumsum(dim=0) - counts
    sentences = order // codes.latents.shape[1]
    weights = codes.values.flatten()[order]
    return [
        embedding_bag(sentences, factor, starts, per_sample_weights=weights, mode="sum") for factor in factors
    ]

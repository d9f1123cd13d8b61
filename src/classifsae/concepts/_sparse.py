"""Codes without their zeros, and the products of a training step that touch only the codes that are left.

Of the products of a step with all latents, one remains: of states and encoder. The decoder's output and all
gradients are sums over the k candidates of each sentence, 10 where a dense product has 768 terms.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import embedding_bag

from classifsae.tensors import Bool, Float, Int, Tensor


@dataclass(frozen=True)
class SparseCodes:
    """The k candidates of each sentence: its largest codes, of which some may be zero.

    Attributes:
        values: activations.
        latents: which latents they are of; no latent twice in a row.
        by_latent: the b k candidates in the order of their latents.
        starts: where in that order each latent's candidates begin.
    """

    values: Float[Tensor, "b k"]
    latents: Int[Tensor, "b k"]
    by_latent: Int[Tensor, " b*k"]
    starts: Int[Tensor, " p"]

    @classmethod
    def largest(cls, pre_codes: Float[Tensor, "b p"], top_k: int) -> "SparseCodes":
        """The k largest values of each row, in no order."""
        values, latents = pre_codes.topk(top_k, dim=1, sorted=False)
        counts = torch.bincount(latents.flatten(), minlength=pre_codes.shape[1])
        return cls(
            values=values,
            latents=latents,
            by_latent=latents.flatten().argsort(stable=True),
            starts=counts.cumsum(dim=0) - counts,
        )

    @property
    def fired(self) -> Bool[Tensor, " p"]:
        """Latents that are active on any sentence."""
        fired = torch.zeros_like(self.starts, dtype=torch.bool)
        fired[self.latents[self.values > 0]] = True
        return fired

    def busy(self, n_sentences: int) -> Int[Tensor, " m"]:
        """Latents that are candidates on more than so many sentences: fewer than b k / n_sentences."""
        ends = torch.cat([self.starts[1:], self.starts.new_tensor([self.latents.numel()])])
        return (ends - self.starts > n_sentences).nonzero()[:, 0]

    def columns(self, chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Codes of the chosen latents, zeros included."""
        n_chosen = len(chosen)
        # All others meet in one column more, which is cut off.
        place = torch.full_like(self.starts, n_chosen)
        place[chosen] = torch.arange(n_chosen, device=chosen.device)
        wide = self.values.new_zeros(len(self.values), n_chosen + 1)
        return wide.scatter(1, place[self.latents], self.values)[:, :n_chosen]

    def detached(self, n_first: int) -> "SparseCodes":
        """The same codes, without gradient of the first latents."""
        return replace(self, values=torch.where(self.latents < n_first, self.values.detach(), self.values))

    def scaled(self, factors: Float[Tensor, "b 1"]) -> "SparseCodes":
        """Each sentence's codes times its factor."""
        return replace(self, values=self.values * factors)

    def times(
        self, rows: Float[Tensor, "p d"], *, also: Int[Tensor, " g"]
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "g d"]]:
        """codes rows: for each sentence the sum over its candidates of code times row; and some rows."""
        product = embedding_bag(self.latents, rows.detach(), per_sample_weights=self.values, mode="sum")
        taken: tuple[Tensor, Tensor] = _RowGradient.apply(product, rows, self, also)  # type: ignore[no-untyped-call]
        return taken

    def transposed_times(self, factor: Float[Tensor, "b d"]) -> Float[Tensor, "p d"]:
        """codes^T factor: for each latent the sum over its sentences of code times row; without gradient."""
        sentences = self.by_latent // self.latents.shape[1]
        weights = self.values.detach().flatten()[self.by_latent]
        return embedding_bag(sentences, factor, self.starts, per_sample_weights=weights, mode="sum")


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
    with torch.no_grad():
        pre_codes = (inputs @ weights).add_(bias)
        taken = _Taken(inputs, SparseCodes.largest(pre_codes, top_k), also, pre_codes[:, also])
    values, extra = _EncoderGradient.apply(weights, bias, taken)  # type: ignore[no-untyped-call]
    return replace(taken.codes, values=values.relu()), extra


@dataclass(frozen=True)
class _Taken:
    """What a training step takes of a product of inputs and encoder."""

    inputs: Float[Tensor, "b d"]
    codes: SparseCodes
    also: Int[Tensor, " g"]
    extra: Float[Tensor, "b g"]


_Gradients: TypeAlias = tuple[Tensor | None, ...]


class _EncoderGradient(torch.autograd.Function):
    """Gives values that were taken of a finished product the gradients of weights and bias."""

    @staticmethod
    def forward(ctx: FunctionCtx, weights: Tensor, bias: Tensor, taken: _Taken) -> tuple[Tensor, Tensor]:
        # Views: a node that holds its own outputs is never freed, nor is all that they hold.
        codes = replace(taken.codes, values=taken.codes.values.detach())
        ctx.taken = replace(taken, codes=codes, extra=taken.extra.detach())  # type: ignore[attr-defined]
        return taken.codes.values, taken.extra

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, values: Tensor, extra: Tensor) -> _Gradients:
        taken: _Taken = ctx.taken  # type: ignore[attr-defined]
        codes = replace(taken.codes, values=values)
        weights = codes.transposed_times(taken.inputs)
        bias = values.new_zeros(len(weights)).index_put_((codes.latents,), values, accumulate=True)
        weights.index_add_(0, taken.also, extra.T @ taken.inputs)
        bias.index_add_(0, taken.also, extra.sum(dim=0))
        return weights.T, bias, None


class _RowGradient(torch.autograd.Function):
    """Gives a finished product of codes and rows, and some of these rows, the gradient of the rows."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, product: Tensor, rows: Tensor, codes: SparseCodes, also: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.codes, ctx.also = codes, also  # type: ignore[attr-defined]
        return product.view_as(product), rows[also]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor, extra: Tensor) -> _Gradients:
        codes: SparseCodes = ctx.codes  # type: ignore[attr-defined]
        rows = codes.transposed_times(gradient).index_add_(0, ctx.also, extra)  # type: ignore[attr-defined]
        return gradient, rows, None, None

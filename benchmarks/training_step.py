"""A training step of the sparse autoencoders, against a plain twin of the published one, on one thread.

The twin is the procedure as it is written down: every product dense, gradients by autograd, Adam as
PyTorch gives it by default. Both start from the same weights and see the same batches of 500 correlated
states; in the last part of the 200 steps some latents are dead, and ghost gradients work on them. Also timed:
the floor, which is the one product that no step can do without, and one sweep of fused Adam.

    python benchmarks/training_step.py [--profile]
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from side_by_side import in_turn, write
from torch import nn
from torch.nn.functional import cross_entropy

from classifsae.concepts._autoencoder import DEAD_AFTER, SparseCoder, SparseObjective
from classifsae.concepts._optimise import AlongMemory
from classifsae.concepts._optimise import _step as step_of
from classifsae.concepts.classifsae import ClassifSAEObjective
from classifsae.concepts.sae import SAEObjective
from classifsae.tensors import Tensor

SIZES = ((384, 768), (1024, 2048))
N_STATES, BATCH, TOP_K, N_CLASSES, N_CONCEPTS, FREE = 5600, 500, 10, 4, 20, 0.1
N_STEPS, PER_ROUND, RATE = 200, 10, 5e-5
SAME = 1e-4


@dataclass(frozen=True)
class Task:
    """States, the classifier's answers, and the batches of all steps."""

    hidden: Tensor
    predictions: Tensor
    batches: list[Tensor]

    @classmethod
    def of(cls, width: int) -> "Task":
        """Clusters in a few directions, as states of a fine-tuned classifier are."""
        generator = torch.Generator().manual_seed(0)
        predictions = torch.randint(N_CLASSES, (N_STATES,), generator=generator)
        centres = torch.randn(N_CLASSES, width, generator=generator)
        spread = torch.randn(width // 32, width, generator=generator) / 4
        hidden = centres[predictions] + torch.randn(N_STATES, width // 32, generator=generator) @ spread
        drawn = torch.randint(N_STATES, (N_STEPS, BATCH), generator=generator)
        return cls(hidden, predictions, list(drawn))


class Twin:
    """The published step, written out.

    Args:
        coder: trained in place.
        head: of ClassifSAE, None for the plain SAE.
    """

    def __init__(self, coder: SparseCoder, head: nn.Linear | None, task: Task) -> None:
        self.coder, self.head, self.task = coder, head, task
        self.silent = torch.zeros(coder.n_latents, dtype=torch.int64)
        self.parameters = [*coder.parameters(), *(head.parameters() if head else ())]
        self.adam = torch.optim.Adam(self.parameters, lr=RATE)

    def step(self, number: int) -> float:
        """One step; returns the loss."""
        rows, W_dec = self.task.batches[number], self.coder.W_dec
        with torch.no_grad():
            W_dec.copy_(W_dec / W_dec.norm(dim=1, keepdim=True))
        loss = self.loss(self.task.hidden[rows], self.task.predictions[rows])
        self.adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad -= (W_dec.grad * W_dec).sum(dim=1, keepdim=True) * W_dec
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        return loss.item()

    def loss(self, hidden: Tensor, predictions: Tensor) -> Tensor:
        coder = self.coder
        scale = hidden.shape[1] ** 0.5 / hidden.norm(dim=1, keepdim=True)
        pre_codes = (hidden * scale) @ coder.W_enc + coder.b_enc
        values, latents = pre_codes.relu().topk(TOP_K, dim=1)
        codes = torch.zeros_like(pre_codes).scatter(1, latents, values)
        rebuilt = (codes @ coder.W_dec + coder.b_dec) / scale
        dead = self.silent > DEAD_AFTER
        self.silent = torch.where((codes > 0).any(dim=0), 0, self.silent + 1)
        error = square(rebuilt, hidden)
        loss = error.sum(dim=1).mean()
        if dead.any():
            loss = loss + self.ghost(hidden, rebuilt, pre_codes, error, dead)
        if self.head is None:
            return loss
        n_free = int(len(hidden) * FREE)
        rate = (codes.sum(dim=0) - codes.topk(n_free, dim=0).values.sum(dim=0)).sum() / len(hidden)
        imitation = cross_entropy(self.head(codes[:, :N_CONCEPTS]), predictions)
        return 0.02 * loss + 0.02 * rate + imitation

    def ghost(
        self, hidden: Tensor, rebuilt: Tensor, pre_codes: Tensor, error: Tensor, dead: Tensor
    ) -> Tensor:
        residual = hidden - rebuilt
        guess = pre_codes[:, dead].exp() @ self.coder.W_dec[dead]
        scale = residual.norm(dim=1, keepdim=True) / (2 * guess.norm(dim=1, keepdim=True) + 1e-6)
        q = square(guess * scale.detach(), residual.detach())
        return (q * (error / (q + 1e-6)).detach()).mean()


def square(guess: Tensor, truth: Tensor) -> Tensor:
    return (guess - truth).square() / ((truth - truth.mean(dim=0)).norm(dim=1, keepdim=True) + 1e-6)


class Ours:
    """The project's step on the same task."""

    def __init__(self, coder: SparseCoder, head: nn.Linear | None, task: Task) -> None:
        self.task, self.objective = task, objective_of(coder, head, task)
        self.adam = AlongMemory(self.objective.parameters(), lr=RATE)

    def step(self, number: int) -> float:
        """One step; returns the loss."""
        return step_of(self.objective, self.adam, self.task.batches[number], number, 1.0)["loss"].item()


def objective_of(coder: SparseCoder, head: nn.Linear | None, task: Task) -> SparseObjective:
    if head is None:
        return SAEObjective(coder, hidden=task.hidden)
    return ClassifSAEObjective(
        coder,
        head,
        hidden=task.hidden,
        predictions=task.predictions,
        weights={"reconstruction": 0.02, "ghost": 0.02, "activation_rate": 0.02, "imitation": 1.0},
        free_rate=FREE,
        detach_from=10 * N_STEPS,
    )


def fresh(width: int, n_latents: int, *, supervised: bool) -> tuple[SparseCoder, nn.Linear | None]:
    coder = SparseCoder.initial(width=width, n_latents=n_latents, top_k=TOP_K, seed=0)
    torch.manual_seed(0)
    return coder, nn.Linear(N_CONCEPTS, N_CLASSES) if supervised else None


def floor_of(width: int, n_latents: int, task: Task) -> Callable[[], None]:
    """The product with the encoder, and fused Adam over all weights, for a round of steps."""
    coder, _ = fresh(width, n_latents, supervised=False)
    parameters = [nn.Parameter(parameter.detach().contiguous()) for parameter in coder.parameters()]
    adam = torch.optim.Adam(parameters, lr=RATE, fused=True)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    hidden = task.hidden[:BATCH]

    def work() -> None:
        for _ in range(PER_ROUND):
            hidden @ coder.W_enc.detach()
            adam.step()

    return work


def compare(width: int, n_latents: int, *, supervised: bool) -> dict[str, float]:
    """Times per step in milliseconds, the ratio, and the largest relative gap of the losses."""
    task = Task.of(width)
    ours = Ours(*fresh(width, n_latents, supervised=supervised), task)
    twin = Twin(*fresh(width, n_latents, supervised=supervised), task)
    losses: dict[str, list[float]] = {"ours": [], "twin": []}

    def steps(name: str, model: Ours | Twin) -> Callable[[], None]:
        def work() -> None:
            begin = len(losses[name])
            losses[name] += [model.step(number) for number in range(begin, begin + PER_ROUND)]

        return work

    taken = in_turn(
        N_STEPS // PER_ROUND - 1,
        ours=steps("ours", ours),
        twin=steps("twin", twin),
        floor=floor_of(width, n_latents, task),
    )
    gaps = (abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["twin"], strict=True))
    ms = {name: 1000 * statistics.median(times) / PER_ROUND for name, times in taken.items()}
    ratios = [b / a for a, b in zip(taken["ours"], taken["twin"], strict=True)]
    half = len(ratios) // 2
    return {
        "width": width,
        "latents": n_latents,
        "ours_ms": ms["ours"],
        "twin_ms": ms["twin"],
        "floor_ms": ms["floor"],
        "ratio": statistics.median(ratios),
        "ratio_before_any_is_dead": statistics.median(ratios[:half]),
        "ratio_with_ghost_gradients": statistics.median(ratios[half:]),
        "dead_at_the_end": int(ours.objective.dead.sum()),
        "largest_gap_of_losses": max(gaps),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--profile", action="store_true", help="also where the time of our step goes")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    results = []
    for width, n_latents in SIZES:
        for name in ("sae", "classifsae"):
            result = compare(width, n_latents, supervised=name == "classifsae")
            results.append({"method": name} | result)
            print(
                f"{name:<10} ({width}, {n_latents}): ours {result['ours_ms']:.1f} ms, "
                f"twin {result['twin_ms']:.1f} ms: {result['ratio']:.1f} times as fast "
                f"({result['ratio_before_any_is_dead']:.1f} before any latent is dead, "
                f"{result['ratio_with_ghost_gradients']:.1f} with {result['dead_at_the_end']} dead); "
                f"floor {result['floor_ms']:.1f} ms; losses within {result['largest_gap_of_losses']:.0e}"
            )
            if arguments.profile:
                profile(width, n_latents, supervised=name == "classifsae")
    print(f"written to {write('training_step', results)}")
    if any(r["largest_gap_of_losses"] > SAME for r in results):
        raise SystemExit(f"losses differ by more than {SAME:g}")


def profile(width: int, n_latents: int, *, supervised: bool) -> None:
    """Print where the time of our step goes, by operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    ours = Ours(*fresh(width, n_latents, supervised=supervised), Task.of(width))
    with recording(activities=[ProfilerActivity.CPU]) as record:
        for number in range(50):
            ours.step(number)
    print(record.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=40))


if __name__ == "__main__":
    main()

"""A method of your own is one class. Here principal components; run me, or name me in an experiment."""

import torch

import classifsae as cs
from classifsae.activations import Source
from classifsae.concepts import METHODS, LinearCoder, Run
from classifsae.tensors import Tail, Tensor


class PCA(cs.ConceptMethod):
    """Keep the m directions along which hidden states vary most."""

    def learn(self, train: cs.Activations, tail: Tail, run: Run) -> LinearCoder:
        """The mean and the leading right singular vectors of the states."""
        mean = train.hidden.mean(dim=0)
        _, _, directions = torch.linalg.svd(train.hidden - mean, full_matrices=False)
        kept = directions[: self.n_concepts]
        return LinearCoder(mean=mean, encoder=kept.T, decoder=kept)


def tail(hidden: Tensor, /) -> Tensor:
    """The rest of a toy classifier; a real one has cs.Classifier.tail."""
    return 3 * hidden[:, :3]


def states(n: int, *, seed: int) -> cs.Activations:
    """One cloud of hidden states per class; real ones come from cs.capture(model, texts)."""
    labels, draws = torch.arange(n) % 3, torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 16, generator=draws) + 4 * torch.eye(3, 16)[labels]
    ids, source = tuple(map(str, range(n))), Source(model="toy", layer=1, prompt="", dataset="clouds")
    return cs.Activations(hidden=hidden, logits=tail(hidden), labels=labels, ids=ids, source=source)


if __name__ == "__main__":
    recipe = METHODS.load("03_own_method:PCA")  # in an experiment: `pca: {method: "03_own_method:PCA"}`
    concepts = recipe(n_concepts=4).fit(states(600, seed=0), tail)
    for number in cs.score(concepts, tail, states(200, seed=1)).flat():
        print(f"{number.value:9.3f}  {number.name}: {number.quantity.says}")

"""A batch shared between processes: the mean of their gradients is the gradient of the whole batch."""

from pathlib import Path

import pytest
import torch
from tiny_models import ENCODER, texts

from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import resolve_backbone
from classifsae.classifier.loading.frozen import start
from classifsae.classifier.tuning.finetune import _arguments
from classifsae.classifier.tuning.trainer import ClassifierTrainer, Steps

CPU = torch.device("cpu")


@pytest.mark.parametrize("n_ranks", [2, 4])
@pytest.mark.parametrize("n_rows", [1, 5, 8])
@pytest.mark.parametrize("class_weights", [None, torch.tensor([0.5, 1.0, 3.0])])
def test_shares_of_a_batch_have_its_loss_and_gradient_as_their_mean(
    n_ranks: int, n_rows: int, class_weights: torch.Tensor | None, tmp_path: Path, monkeypatch
):
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = resolve_backbone({**ENCODER, "architecture": {**ENCODER["architecture"], **off}})
    data = texts()
    model = Classifier(start(config, data, CPU), config, data.label_names)
    for weight in model.model.parameters():
        weight.requires_grad_(True)
    trainer = ClassifierTrainer(
        model,
        _arguments(config, tmp_path, n_steps=1, device=CPU),
        texts=data,
        plan=[],
        class_weights=class_weights,
        inputs="",
        steps=Steps(None, None),
    )

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        rows = list(zip(data.texts[:n_rows], data.labels[:n_rows], strict=True))
        loss = trainer.compute_loss(model.model, trainer._collate(rows))
        weights = [weight for weight in model.model.parameters() if weight.requires_grad]
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return loss.detach(), torch.cat([g.flatten() for g in found if g is not None])

    whole = step()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", str(n_ranks))
    shares = []
    for rank in range(n_ranks):
        monkeypatch.setenv("RANK", str(rank))
        shares.append(step())
    for one, parts in zip(whole, zip(*shares, strict=True), strict=True):
        torch.testing.assert_close(torch.stack(parts).mean(dim=0), one, atol=1e-5, rtol=1e-4)

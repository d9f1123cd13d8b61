"""Hugging Face's Trainer, fed with one plan of batches, silent, and resumable to the same bits."""

import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from classifsae import ranks
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.opening.blocks import overridden
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError
from classifsae.stopping import ask, is_asked, stop_if_asked
from classifsae.storage import clear, finish, kept, tensors_of, write_tensors, writing
from classifsae.tensors import Float, OnStep, Tensor

LabelledText = tuple[str, int]
WEIGHTS = "weights.safetensors"
_NO_LABEL = -100  # which cross_entropy leaves out


class ClassifierTrainer(Trainer):
    """Cross-entropy over the C class logits, on batches from a plan.

    Args:
        classifier: reads the texts; its model is trained.
        args: Hugging Face's options.
        texts: with their labels.
        plan: the batches of the whole run, as row indices.
        class_weights: weight of each class in the loss.
        inputs: fingerprint of everything that the run depends on; only its own checkpoints are resumed.
        steps: told of each optimiser step.
    """

    def __init__(
        self,
        classifier: Classifier,
        args: TrainingArguments,
        *,
        texts: Texts,
        plan: list[list[int]],
        class_weights: Float[Tensor, " c"] | None,
        inputs: str,
        steps: "Steps",
    ) -> None:
        self.classifier, self.texts, self.plan, self.steps = classifier, texts, plan, steps
        self.class_weights, self.inputs = class_weights, inputs
        # More is trained than the model's own weights, which the Trainer refuses to train in 8 bits: it looks
        # for transformers' own adapters, and sees neither peft's nor a soft prompt.
        with overridden("_hf_peft_config_loaded", {classifier.model: True}):
            super().__init__(model=classifier.model, args=args, data_collator=self._collate)
        # The loss is a mean over each batch: let accumulation average it over batches.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(steps)

    def get_train_dataloader(self) -> DataLoader[LabelledText]:
        """The plan's batches, tokenised as they come."""
        rows: list[LabelledText] = list(zip(self.texts.texts, self.texts.labels, strict=True))
        return DataLoader(
            rows,  # type: ignore[arg-type]  # a list is a map-style data set
            batch_sampler=self.plan,
            collate_fn=self._collate,
            pin_memory=self.args.device.type == "cuda",
        )

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean cross-entropy over the classes, weighted if asked."""
        labels, whole = inputs.pop("labels"), inputs.pop("labels_of_all", None)
        weights = None if self.class_weights is None else self.class_weights.to(labels.device)
        logits = self.classifier.opened.class_logits(model, inputs)
        if whole is None:
            loss = functional.cross_entropy(logits, labels, weight=weights)
        else:
            # Gradients are averaged over processes: a share of one mean counts as often as there are shares.
            summed = functional.cross_entropy(logits, labels, weight=weights, reduction="sum")
            loss = summed * ranks.n_ranks() / (len(whole) if weights is None else weights[whole].sum())
        self.steps.losses.append(loss.detach())
        return loss

    def _collate(self, rows: list[LabelledText]) -> dict[str, Tensor]:
        """A batch; of several processes, what this one has of it, with the labels of all."""
        labels = torch.tensor([label for _, label in rows])
        if ranks.n_ranks() == 1:
            return {**self.classifier.batch([text for text, _ in rows]), "labels": labels}
        own, own_labels = ranks.share(rows), labels[ranks.rank() :: ranks.n_ranks()]
        if not own:  # a text that counts for nothing, as all must take part
            own, own_labels = rows[:1], torch.tensor([_NO_LABEL])
        batch = self.classifier.batch([text for text, _ in own])
        return {**batch, "labels": own_labels, "labels_of_all": labels}

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The weights that are trained, and nothing else: the original keeps the frozen ones too."""
        if self.args.should_save and output_dir is not None:
            write_tensors(Path(output_dir) / WEIGHTS, self._trained())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Put back the weights that are trained."""
        saved = tensors_of(Path(resume_from_checkpoint), WEIGHTS)
        with torch.no_grad():
            for name, weight in self._trained().items():
                weight.copy_(saved[name])

    def _trained(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name; those that are shared, once."""
        made = self.accelerator.unwrap_model(self.model)
        return {name: weight for name, weight in made.named_parameters() if weight.requires_grad}

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Write a checkpoint, declare it whole, then remove the ones before."""
        run = Path(self.args.output_dir or ".")
        with writing(run):
            super()._save_checkpoint(model, trial)
        ranks.wait()
        folder = run / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            finish(folder, inputs=self.inputs, record={"step": self.state.global_step})
            for old in run.glob("checkpoint-*"):
                if old != folder:
                    clear(old)


class Steps(TrainerCallback):
    """Reports each optimiser step, and asks for a checkpoint when it is time.

    Args:
        on_step: told after each step.
        checkpoint_seconds: time between checkpoints; None: none are written.
    """

    def __init__(self, on_step: OnStep | None, checkpoint_seconds: float | None) -> None:
        self.on_step, self.checkpoint_seconds = on_step, checkpoint_seconds
        self.losses: list[Tensor] = []
        self.saved_at = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Report the loss, which must be finite, and ask for a checkpoint."""
        loss, is_time = self._agreed(torch.stack(self.losses).mean())
        self.losses.clear()
        if not np.isfinite(loss):
            if not ranks.is_first():
                raise ranks.LostError
            raise ConfigError(
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}; "
                f"lower learning_rate, or set precision to float32 or bf16."
            )
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps, {"loss": loss})
        if self.checkpoint_seconds is not None:
            control.should_save = is_time or is_asked()

    def _agreed(self, loss: Float[Tensor, ""]) -> tuple[float, bool]:
        """The loss, and whether it is time for a checkpoint, by all processes; what stops one, stops all."""
        seconds = time.monotonic() - self.saved_at
        is_time = self.checkpoint_seconds is not None and seconds >= self.checkpoint_seconds
        if ranks.n_ranks() == 1:
            return loss.item(), is_time
        from torch.distributed import all_reduce  # which not every build of torch has

        said = loss.new_tensor([0.0, is_time and ranks.is_first(), is_asked()])
        said[0] = loss / ranks.n_ranks()
        all_reduce(said)
        if said[2]:
            ask(signal.SIGTERM)
        return said[0].item(), bool(said[1])

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Count the time anew; stop here if that was asked."""
        self.saved_at = time.monotonic()
        stop_if_asked()


def last_whole_checkpoint(folder: Path, inputs: str) -> str | None:
    """The latest finished checkpoint of the same inputs; any other is removed."""
    whole: dict[int, Path] = {}
    for path in sorted(folder.glob("checkpoint-*")):
        manifest = kept(path, large=True)
        if manifest is not None and manifest.inputs == inputs:
            whole[int(path.name.removeprefix("checkpoint-"))] = path
        elif ranks.is_first():
            clear(path)
    ranks.wait()
    return str(whole[max(whole)]) if whole else None

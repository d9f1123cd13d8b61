"""Hugging Face's Trainer, fed with one plan of batches, silent, and resumable without pickles."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
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

from classifsae.classifier.classifier import ModelCall
from classifsae.classifier.reading.reader import Reader
from classifsae.data.texts import Texts
from classifsae.errors import ConfigError
from classifsae.storage import (
    Json,
    clear,
    finish,
    manifest_of,
    read_json,
    read_tensors,
    write_json,
    write_tensors,
)
from classifsae.tensors import Float, OnStep, Tensor

Row = tuple[str, int]
WEIGHTS = "weights.safetensors"
STATE_TENSORS, STATE_FACTS = "training_state.safetensors", "training_state.json"
WINDOW = 50


@dataclass(frozen=True)
class Plan:
    """The batches of a whole training run, as row indices; what is resumed is a place in this list.

    Attributes:
        batches: every batch in order, all passes over the texts one after the other.
        batch_size: rows per batch, fewer in the last of a pass.
    """

    batches: list[list[int]]
    batch_size: int
    drop_last: bool = False

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def plan_batches(lengths: list[int], *, batch_size: int, n_batches: int, seed: int) -> Plan:
    """Seeded passes over all rows, each row once per pass; rows of like length share a batch.

    Within each pass, windows of 50 random batches are sorted by length, cut, and the batches shuffled.
    """
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < n_batches:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        windows = [order[i : i + WINDOW * batch_size] for i in range(0, len(order), WINDOW * batch_size)]
        by_length = [row for window in windows for row in sorted(window, key=lengths.__getitem__)]
        cut = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return Plan(batches[:n_batches], batch_size)


class _TrainingState(BaseModel, frozen=True):
    """What the optimiser and the schedule remember, but for tensors."""

    groups: list[dict[str, Json]]
    slots: dict[str, Json]
    scheduler: dict[str, Json]


class ClassifierTrainer(Trainer):
    """Cross-entropy over the C class logits, on batches from a plan.

    Args:
        model: the model.
        args: Hugging Face's options.
        folder: where checkpoints go, as in ``args``.
        rows: the texts.
        reader: how to tokenise and pad.
        plan: the batches.
        class_logits: from what runs the model, and its inputs, to the logits of the classes.
        class_weights: weight of each class in the loss.
        inputs: fingerprint of everything that the run depends on; only its own checkpoints are resumed.
        on_step: told after each optimiser step.
        checkpoint_seconds: time between checkpoints; None: none are written.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        *,
        folder: Path,
        rows: Texts,
        reader: Reader,
        plan: Plan,
        class_logits: Callable[[ModelCall, Mapping[str, Tensor]], Tensor],
        class_weights: Float[Tensor, " c"] | None,
        inputs: str,
        on_step: OnStep | None,
        checkpoint_seconds: float | None,
    ) -> None:
        self.folder, self.rows, self.reader, self.plan = folder, rows, reader, plan
        self.class_logits, self.class_weights, self.inputs = class_logits, class_weights, inputs
        self.losses: list[Tensor] = []
        with _beside_8_bits(model):
            super().__init__(model=model, args=args, data_collator=self._collate)
        # The loss is a mean over each batch: let accumulation average it over batches.
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)
        self.add_callback(_Steps(self.losses, on_step, checkpoint_seconds))

    def get_train_dataloader(self) -> DataLoader[Row]:
        """The plan's batches, tokenised as they come."""
        rows: list[Row] = list(zip(self.rows.texts, self.rows.labels, strict=True))
        loader: DataLoader[Row] = DataLoader(
            rows,  # type: ignore[arg-type]  # a list is a map-style data set
            batch_sampler=self.plan,
            collate_fn=self._collate,
            pin_memory=self.args.device.type == "cuda",
        )
        prepared: DataLoader[Row] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Mean cross-entropy over the classes, weighted if asked."""
        labels = inputs.pop("labels")
        weights = None if self.class_weights is None else self.class_weights.to(labels.device)
        logits = self.class_logits(lambda given: model(**given).logits, inputs)
        loss = functional.cross_entropy(logits, labels, weight=weights)
        self.losses.append(loss.detach())
        return loss

    def _collate(self, rows: list[Row]) -> dict[str, Tensor]:
        batch = self.reader.collate(self.reader.encode([text for text, _ in rows]).ids)
        return {**batch.inputs, "labels": torch.tensor([label for _, label in rows])}

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The weights that are trained, and nothing else: the original also pickles the arguments."""
        if self.args.should_save and output_dir is not None:
            write_tensors(Path(output_dir) / WEIGHTS, self._trained())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Put back the weights that are trained."""
        saved = read_tensors(Path(resume_from_checkpoint) / WEIGHTS)
        with torch.no_grad():
            for name, weight in self._trained().items():
                weight.copy_(saved[name])

    def _trained(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name; those that are shared, once."""
        made = self.accelerator.unwrap_model(self.model)
        return {name: weight for name, weight in made.named_parameters() if weight.requires_grad}

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Write a checkpoint, declare it whole, then remove the ones before."""
        super()._save_checkpoint(model, trial)
        folder = self.folder / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            finish(folder, inputs=self.inputs, record={"step": self.state.global_step})
            for old in self.folder.glob("checkpoint-*"):
                if old != folder:
                    clear(old)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.args.should_save or self.optimizer is None or self.lr_scheduler is None:
            return
        optimizer = self.optimizer.state_dict()
        values = {
            f"{i}.{name}": v for i, slots in optimizer["state"].items() for name, v in _flat(slots).items()
        }
        facts: dict[str, Json] = {
            "groups": optimizer["param_groups"],
            "slots": {k: v for k, v in values.items() if not isinstance(v, Tensor)},
            "scheduler": self.lr_scheduler.state_dict(),
        }
        write_tensors(
            Path(output_dir) / STATE_TENSORS, {k: v for k, v in values.items() if isinstance(v, Tensor)}
        )
        write_json(Path(output_dir) / STATE_FACTS, facts)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.optimizer is None or self.lr_scheduler is None:
            return
        facts = _TrainingState.model_validate(read_json(Path(checkpoint) / STATE_FACTS))
        tensors = read_tensors(Path(checkpoint) / STATE_TENSORS)
        state: dict[int, dict[str, object]] = {}
        for key, value in [*tensors.items(), *facts.slots.items()]:
            index, _, name = key.partition(".")
            state.setdefault(int(index), {})[name] = value.clone() if isinstance(value, Tensor) else value
        self.optimizer.load_state_dict({"state": state, "param_groups": facts.groups})
        self.lr_scheduler.load_state_dict(facts.scheduler)

    def _save_scaler(self, output_dir: str) -> None:
        if self.accelerator.scaler is not None and self.args.should_save:
            write_json(Path(output_dir) / "scaler.json", self.accelerator.scaler.state_dict())

    def _load_scaler(self, checkpoint: str | None) -> None:
        if checkpoint is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(read_json(Path(checkpoint) / "scaler.json"))

    def _save_rng_state(self, output_dir: str) -> None:
        write_tensors(self._rng_file(output_dir), _generator_states())

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            _set_generator_states(read_tensors(self._rng_file(checkpoint)))

    def _rng_file(self, folder: str) -> Path:
        return Path(folder) / f"rng_{self.args.process_index}.safetensors"


@contextmanager
def _beside_8_bits(model: nn.Module) -> Iterator[None]:
    """Say that more is trained than a model's own weights, which the Trainer refuses to train in 8 bits.

    It looks for transformers' own adapters, and sees neither ours nor a soft prompt.
    """
    mark = "_hf_peft_config_loaded"
    before = getattr(model, mark, False)
    setattr(model, mark, True)
    try:
        yield
    finally:
        setattr(model, mark, before)


def _flat(slots: Mapping[str, Json | Tensor]) -> dict[str, Json | Tensor]:
    """The slots of one weight; the 8-bit AdamW keeps its own in a mapping inside, and takes them without."""
    inner = [value for value in slots.values() if isinstance(value, dict)]
    plain = {name: value for name, value in slots.items() if not isinstance(value, dict)}
    return {**plain, **{name: value for mapping in inner for name, value in mapping.items()}}


class _Steps(TrainerCallback):
    """Reports each optimiser step, and asks for a checkpoint when it is time."""

    def __init__(self, losses: list[Tensor], on_step: OnStep | None, every_seconds: float | None) -> None:
        self.losses, self.on_step, self.every_seconds = losses, on_step, every_seconds
        self.saved_at = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        loss = torch.stack(self.losses).mean().item()
        self.losses.clear()
        if not np.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} at step {state.global_step} of {state.max_steps}; "
                f"lower learning_rate, or set precision to float32 or bf16."
            )
        if self.on_step is not None:
            self.on_step(state.global_step, state.max_steps, {"loss": loss})
        if self.every_seconds is not None and time.monotonic() - self.saved_at >= self.every_seconds:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.saved_at = time.monotonic()


def last_whole_checkpoint(folder: Path, inputs: str) -> Path | None:
    """The latest finished checkpoint of the same inputs; any other is removed."""
    whole: dict[int, Path] = {}
    for path in sorted(folder.glob("checkpoint-*")):
        manifest = manifest_of(path)
        if manifest is not None and manifest.inputs == inputs:
            whole[int(path.name.removeprefix("checkpoint-"))] = path
        else:
            clear(path)
    return whole[max(whole)] if whole else None


def _generator_states() -> dict[str, Tensor]:
    """States of all global generators: torch (CPU and GPUs), Python and numpy."""
    (_, words, gauss), legacy = random.getstate(), np.random.get_state(legacy=False)
    states = {
        "torch": torch.random.get_rng_state(),
        "python": torch.tensor(words),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor(
            [*legacy["state"]["key"].tolist(), legacy["state"]["pos"], legacy["has_gauss"]]
        ),
        "numpy_gauss": torch.tensor(legacy["gauss"], dtype=torch.float64),
    }
    if torch.cuda.is_available():
        states |= {f"cuda_{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_generator_states(states: Mapping[str, Tensor]) -> None:
    torch.random.set_rng_state(states["torch"].clone())
    gauss = states["python_gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    *words, position, has_gauss = states["numpy"].tolist()
    cached = states["numpy_gauss"].item()
    np.random.set_state(("MT19937", np.array(words, dtype=np.uint32), position, has_gauss, cached))
    cuda = [states[f"cuda_{i}"].clone() for i in range(len(states)) if f"cuda_{i}" in states]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)

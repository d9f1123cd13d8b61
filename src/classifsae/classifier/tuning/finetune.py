"""Aligning a backbone with the task (spec section 2): cross-entropy on class logits or answer tokens."""

import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from classifsae import ranks
from classifsae.classifier.classifier import Classifier
from classifsae.classifier.config import DEFAULT_EPOCHS, BackboneConfig, resolve_backbone
from classifsae.classifier.opening.blocks import overridden
from classifsae.data.labels import check_classes
from classifsae.data.texts import Texts
from classifsae.errors import require_kind
from classifsae.hub.devices import check_training, computes_in_bf16, pick_device, place
from classifsae.hub.quiet import quiet, seeded
from classifsae.progress import with_bar
from classifsae.stopping import saves_first
from classifsae.storage import Json, begin, fingerprint, hash_tensors
from classifsae.tensors import Float, OnStep, Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

    from classifsae.classifier.tuning.trainer import Steps

CHECKPOINTS = "checkpoints"
WINDOW = 50
"""Random batches among which texts are sorted by length."""
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_bnb_8bit"}


@with_bar("fine-tuning")
def finetune(
    backbone: str | Path | Mapping[str, Json] | BackboneConfig,
    train: Texts,
    *,
    folder: str | Path | None = None,
    device: torch.device | str | None = None,
    on_step: OnStep | None = None,
    inputs: str = "",
    checkpoint_seconds: float = 300.0,
    **overrides: Json,
) -> Classifier:
    """Train a backbone to classify; the result is frozen. Processes of torchrun share each batch.

    Args:
        backbone: a preset, folder, hub id, or options (:class:`BackboneConfig`).
        train: the training texts.
        folder: of checkpoints, then of the classifier; a run that was killed resumes from its last whole
            checkpoint and ends with the same weights. None: nothing is kept.
        device: where to train; a GPU if there is one.
        on_step: told after each optimiser step, with its loss.
        inputs: fingerprint to put into the manifest; by default that of the options and texts.
        checkpoint_seconds: time between checkpoints.
        overrides: fields that replace those of the backbone.
    Raises:
        ConfigError: options that cannot work, no such model, a loss that is not finite.
        DataError: a class without training texts.
        StorageError: the folder cannot be written.
    """
    require_kind(train, Texts, wanted="finetune takes the training texts, such as data.train")
    config = resolve_backbone(backbone, **overrides)
    folder = None if folder is None else Path(folder)
    if folder is not None and ranks.is_first():
        begin(folder)
    ranks.wait()
    if config.tuning == "none":
        trained = Classifier.load(config, label_names=train.label_names, device=device)
    else:
        from classifsae.classifier.tuning.trainer import Steps

        check_classes(train.labels, train.label_names, where="the training texts")
        steps = Steps(on_step, None if folder is None else checkpoint_seconds)
        with TemporaryDirectory() if folder is None else nullcontext(folder / CHECKPOINTS) as checkpoints:
            trained = _tuned(config, train, Path(checkpoints), steps, device=pick_device(device))
    if folder is not None and ranks.is_first():
        own = fingerprint(config.model_dump(mode="json"), train.identity)
        trained.save(folder, inputs=inputs or own)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    ranks.wait()
    return trained


def _tuned(
    config: BackboneConfig, train: Texts, checkpoints: Path, steps: "Steps", *, device: torch.device
) -> Classifier:
    from classifsae.classifier.loading.adapters import merged
    from classifsae.classifier.loading.frozen import start
    from classifsae.classifier.tuning.trainer import ClassifierTrainer, last_whole_checkpoint

    check_training(precision=config.precision, optimizer=config.optimizer, device=device)
    loaded = start(config, train, device)
    place(loaded.model, device, name=config.name)
    trainable = [weight for weight in loaded.model.parameters() if weight.requires_grad]
    untrained = Classifier(loaded, config, train.label_names)
    for weight in trainable:
        weight.requires_grad_(True)
    n_steps = _n_steps(config, len(train))
    plan = plan_batches(
        [len(text) for text in train.texts],
        batch_size=config.batch_size,
        n_batches=n_steps * config.gradient_accumulation,
        seed=config.seed,
    )
    weights = hash_tensors(sorted(loaded.model.state_dict().items()))
    versions: list[Json] = [torch.__version__, version("transformers"), untrained.device.type]
    if ranks.n_ranks() > 1:  # each draws its own dropout
        versions.append(ranks.n_ranks())
    inputs = fingerprint(config.training_fields(), train.identity, weights, versions)
    with _isolated(loaded.model, config.seed), untrained.opened.prompting():
        trainer = ClassifierTrainer(
            untrained,
            _arguments(config, checkpoints, n_steps=n_steps, device=untrained.device),
            texts=train,
            plan=plan,
            class_weights=_class_weights(train) if config.class_weights else None,
            inputs=inputs,
            steps=steps,
        )
        if not ranks.is_first():
            torch.manual_seed(config.seed + ranks.rank())
        checkpoint = last_whole_checkpoint(checkpoints, inputs)
        with nullcontext() if steps.checkpoint_seconds is None else saves_first(), ranks.together():
            trainer.train(resume_from_checkpoint=checkpoint)
    if config.tuning == "lora" and config.lora.merge:
        loaded = merged(loaded)
    return Classifier(loaded, config, train.label_names)


def plan_batches(lengths: list[int], *, batch_size: int, n_batches: int, seed: int) -> list[list[int]]:
    """The batches of a whole run, as row indices: seeded passes over all rows, each row once per pass.

    Rows of like length share a batch: within each pass, windows of 50 random batches are sorted by length,
    cut, and the batches shuffled. What is resumed is a place in this list.
    """
    generator = torch.Generator().manual_seed(seed)
    batches: list[list[int]] = []
    while len(batches) < n_batches:
        order = torch.randperm(len(lengths), generator=generator).tolist()
        windows = [order[i : i + WINDOW * batch_size] for i in range(0, len(order), WINDOW * batch_size)]
        by_length = [row for window in windows for row in sorted(window, key=lengths.__getitem__)]
        cut = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return batches[:n_batches]


@contextmanager
def _isolated(model: "PreTrainedModel", seed: int) -> Iterator[None]:
    """Training that leaves nothing behind but the weights: no gradients, no wrapper of mixed precision."""
    with quiet(), seeded(seed), overridden("forward", {model: model.forward}):
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)


def _arguments(
    config: BackboneConfig, checkpoints: Path, *, n_steps: int, device: torch.device
) -> "TrainingArguments":
    """Hugging Face's options for ours."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        **_schedule(config),
        output_dir=str(checkpoints),
        max_steps=n_steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        weight_decay=config.weight_decay,
        max_grad_norm=config.clip,
        optim=_OPTIMIZERS[config.optimizer],
        bf16=computes_in_half(config, device) and config.precision != "fp16",
        fp16=config.precision == "fp16",
        seed=config.seed,
        use_cpu=device.type == "cpu",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    # Set afterwards, as versions disagree on the name of the argument and warn about the other.
    arguments.gradient_checkpointing = arguments.activation_checkpointing = config.gradient_checkpointing
    # Several visible GPUs would be used through DataParallel, whose copies ignore overridden forwards.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _schedule(config: BackboneConfig) -> dict[str, Any]:
    """The peak and the course of the learning rate: each way of tuning has its own."""
    if config.tuning == "soft_prompt":  # a straight line from the first step on, in Hugging Face's words
        line = {"lr_end": config.soft_prompt.final_learning_rate, "power": 1.0}
        peak, course = config.soft_prompt.learning_rate, "polynomial"
        return {"learning_rate": peak, "lr_scheduler_type": course, "lr_scheduler_kwargs": line}
    peak = config.lora.learning_rate if config.tuning == "lora" else config.learning_rate
    return {"learning_rate": peak, "lr_scheduler_type": "cosine", "warmup_steps": config.warmup}


def computes_in_half(config: BackboneConfig, device: torch.device) -> bool:
    """Whether a forward and backward pass on this device is in 16 bits."""
    asked = config.precision in ("bf16", "fp16")
    return asked or (config.precision == "auto" and computes_in_bf16(device))


def _n_steps(config: BackboneConfig, n_texts: int) -> int:
    per_step = config.batch_size * config.gradient_accumulation
    return config.n_steps or math.ceil((config.n_epochs or DEFAULT_EPOCHS) * n_texts / per_step)


def _class_weights(train: Texts) -> Float[Tensor, " c"]:
    """w_c = N / (C n_c) (spec section 2)."""
    counts = torch.bincount(torch.tensor(train.labels), minlength=len(train.label_names))
    return len(train) / (len(counts) * counts)

"""What can be known to be wrong before the first stage, so that no stage is waited for in vain."""

from classifsae.data import Dataset
from classifsae.errors import ConfigError
from classifsae.pipeline.config import Experiment


def usable_device(experiment: Experiment) -> str:
    """The device of an experiment.

    Raises:
        ConfigError: it is a GPU, and there is none.
    """
    import torch

    from classifsae.hub.devices import pick_device

    chosen = experiment.device
    if chosen == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch finds no GPU here; use device=cpu or device=auto.")
    return str(pick_device(None if chosen == "auto" else chosen))


def check_for_scores(experiment: Experiment, data: Dataset) -> None:
    """See that what the scores need is installed: a language's words, an encoder of sentences.

    Raises:
        ConfigError: names the extra to install, or the model that is not there.
    """
    experiment.words.require_installed((*data.train.texts, *data.test.texts))
    if experiment.needs_sentences:
        check_encoder(experiment)


def check_encoder(experiment: Experiment) -> None:
    """See that the encoder of sentences can be there.

    Raises:
        ConfigError: an extra is missing, or there is no such model.
    """
    from classifsae.meaning.encoder import encoder_fingerprint

    encoder_fingerprint(experiment.encoder)


def check_for_names(experiment: Experiment) -> None:
    """See that a language model on this machine, and the encoder that judges names, can be there.

    Raises:
        ConfigError: there is no such folder, or an extra is missing.
    """
    if experiment.names.source == "words":
        return
    from classifsae.hub.files import locate

    check_encoder(experiment)
    if experiment.names.source == "local":
        locate(experiment.names.model or "")


def check_methods(experiment: Experiment, data: Dataset, *, width: int | None) -> None:
    """See that every method can work on so many sentences, of a width that may not be known yet.

    Raises:
        ConfigError: says which option of which method to change.
    """
    n_classes = len(data.label_names)
    is_cut = experiment.backbone.long_texts == "cut"  # else a text may be several rows
    for label in experiment.methods:
        recipe = experiment.recipe(label, experiment.seeds[0])
        n_sentences = len(data.train) if is_cut else None
        recipe.check(n_sentences=n_sentences, width=width, n_classes=n_classes)

"""What the processes beside the first do: their part of the stages that it tells them of."""

import logging
import warnings
from functools import lru_cache

from pydantic import BaseModel

from classifsae import ranks
from classifsae.data import load_dataset
from classifsae.errors import ClassifSAEWarning
from classifsae.pipeline.checks import usable_device
from classifsae.pipeline.config import Experiment
from classifsae.pipeline.run_folder import SPLITS, RunFolder
from classifsae.pipeline.stages import Stage, Work, capture, finetune


class Order(BaseModel, frozen=True):
    """A stage that all make together.

    Attributes:
        experiment: as JSON.
        stage: its name.
        inputs: its fingerprint.
    """

    experiment: str
    stage: str
    inputs: str


def tell_of(stage: Stage, experiment: Experiment) -> None:
    """Have all processes make a stage of an experiment."""
    order = Order(experiment=experiment.model_dump_json(), stage=stage.name, inputs=stage.inputs)
    ranks.tell(order.model_dump(mode="json"))


def help_out() -> None:
    """Take part in each stage that the first process tells of, and say nothing, until there are no more.

    Raises:
        ClassifSAEError: this process cannot read or write what the first one could.
        LostError: another process ended.
    """
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClassifSAEWarning)
        for given in ranks.orders():
            order = Order.model_validate(given)
            _stage(order).make(order.inputs, None)


def _stage(order: Order) -> Stage:
    work = _work(order.experiment)
    if order.stage == "finetune":
        return finetune(work)
    return next(stage for s in SPLITS if (stage := capture(work, s, trained="")).name == order.stage)


@lru_cache(maxsize=1)
def _work(experiment: str) -> Work:
    point = Experiment.model_validate_json(experiment)
    return Work(point, load_dataset(point.dataset), RunFolder.of(point), usable_device(point))

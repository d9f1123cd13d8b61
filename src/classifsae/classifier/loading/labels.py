"""Names of the classes: the model's own against the data set's."""

import re
from collections.abc import Sequence

from classifsae.errors import ConfigError
from classifsae.registry import canonical


def agreed_labels(own: Sequence[str], wanted: Sequence[str] | None, *, name: str) -> tuple[str, ...]:
    """The names to use: the data set's, if the model's are the same in the same order, or say nothing.

    Args:
        own: the model's names; ``LABEL_0``, ``LABEL_1`` ... say nothing.
        wanted: the data set's names, if known.
        name: what to call the model in messages.
    Raises:
        ConfigError: another number of classes, other names, or another order.
    """
    if wanted is None:
        return tuple(own)
    if len(own) != len(wanted):
        raise ConfigError(
            f"{name} has {len(own)} classes ({', '.join(own)}), "
            f"the data set {len(wanted)} ({', '.join(wanted)}); "
            f"fine-tune it on this data set (tuning: full), or give data with the same classes."
        )
    mine, theirs = [canonical(n) for n in own], [canonical(n) for n in wanted]
    if mine != theirs and not _says_nothing(own):
        where = f"{name} has the classes {', '.join(own)}, the data set has them"
        if sorted(mine) == sorted(theirs):
            in_order = ", ".join(wanted[theirs.index(n)] for n in mine)
            raise ConfigError(
                f"{where} in another order ({', '.join(wanted)}); set dataset.label_names=[{in_order}]."
            )
        raise ConfigError(
            f"{where} under other names ({', '.join(wanted)}); "
            f"give the data the model's names, or fine-tune the model on them (tuning: full)."
        )
    return tuple(wanted)


def _says_nothing(names: Sequence[str]) -> bool:
    return all(re.fullmatch(rf"(LABEL_)?{index}", name) for index, name in enumerate(names))

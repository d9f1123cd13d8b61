"""What options may be: numbers that are finite and fit a machine, names that files and terminals can have."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

LONGEST = 255
"""Characters of a name: what file systems take."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def as_name(given: str) -> str:
    """A name or path, as it is.

    Raises:
        ValueError: it has a control character, or a part that no file system takes.
    """
    if _CONTROL.search(given):
        raise ValueError(f"{given[:60]!r} has a control character; leave it out")
    if max(map(len, re.split(r"[/\\]", given))) > LONGEST or len(given) > 8 * LONGEST:
        raise ValueError(f"{given[:60]!r}... is longer than a file system takes; shorten it")
    return given


LONGEST_OF_CONCEPT = 80
"""Characters of a concept's name."""


def name_of_concept(given: str) -> str:
    """A concept's name, on one line.

    Raises:
        ValueError: it is no text, empty, or too long.
    """
    if not isinstance(given, str):
        raise ValueError("is no text; write it as one")
    name = " ".join(given.split())
    if not 1 <= len(name) <= LONGEST_OF_CONCEPT:
        cure = "shorten it" if name else "write one or leave it out"
        raise ValueError(f"has {len(name)} characters, it may have 1 to {LONGEST_OF_CONCEPT}; {cure}")
    return as_name(name)


Name = Annotated[str, AfterValidator(as_name)]

MOST = 10**10
"""No count is larger."""


def _no_switch(given: object) -> object:
    """A number, not true or false, which YAML reads in yes and off too."""
    if isinstance(given, bool):
        raise ValueError(f"is {str(given).lower()}; write a number")
    return given


_Int = Annotated[int, BeforeValidator(_no_switch)]
PositiveInt = Annotated[_Int, Field(gt=0, le=MOST)]
NonNegativeInt = Annotated[_Int, Field(ge=0, le=MOST)]
Count = Annotated[_Int, Field(gt=0, le=10**7)]
"""Of what is held in memory all at once, such as concepts, or sentences that are made."""

Seed = Annotated[_Int, Field(ge=0, lt=2**32)]
"""As NumPy and scikit-learn take them."""
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

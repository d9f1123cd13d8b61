"""Numbers that options may have: finite, and no larger than anything that a machine can hold."""

from typing import Annotated

from pydantic import Field

MOST = 10**10
"""No count is larger."""

PositiveInt = Annotated[int, Field(gt=0, le=MOST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MOST)]
Count = Annotated[int, Field(gt=0, le=10**7)]
"""Of what is held in memory all at once, such as concepts, or sentences that are made."""

Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""As NumPy and scikit-learn take them."""
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

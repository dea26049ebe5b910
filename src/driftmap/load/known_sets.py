"""Which data sets have a name here?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """One data set that a name stands for.

    Args:
        name: What a person writes in place of a file.
    """

    name: str


KNOWN_SETS = (
    KnownSet(name="align"),
    KnownSet(name="alpaca"),
    KnownSet(name="alpaca_cleaned"),
    KnownSet(name="alpaca_cleaned_no_safety"),
)

"""Which mistakes can a user make, and with what exit code does the command end?

Every message says where, what was found and what to do. Broken invariants are
`assert`s and foreign errors pass through.
"""


class DriftmapError(ValueError):
    """A mistake that the person at the keyboard can mend; exit code 1."""

    exit_code = 1


class UsageError(DriftmapError):
    """The command line, a recipe or a setting cannot be meant; exit code 2."""

    exit_code = 2


class DataError(DriftmapError):
    """A samples file, or a sample in it, cannot be used."""


class ModelError(DriftmapError):
    """A model, adapter or tokenizer cannot be loaded or used."""


class FamilyError(ModelError):
    """The layout of a model is not known well enough to name its weights."""


class MeasureError(DriftmapError):
    """A measure was given numbers it has no answer for."""


class StoreError(DriftmapError):
    """A file of a run is missing, foreign or corrupted, or cannot be written."""

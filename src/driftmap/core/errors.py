"""Which mistakes can a user make, and with what exit code does the command end?

Every message says where, what was found and what to do. Broken invariants are
`assert`s and foreign errors pass through. An error that needs more than a sentence
names its topic, an entry of the troubleshooting page; the command line points there.
"""

from typing import Literal

Topic = Literal[
    "memory",
    "disk",
    "model-not-found",
    "data-not-recognised",
    "gated-model",
    "tokenizer-without-offsets",
    "chat-template",
]
"""Entries of `docs/how-to/troubleshooting.md`, by the anchors of their titles."""


class DriftmapError(ValueError):
    """A mistake that the person at the keyboard can mend; exit code 1."""

    exit_code = 1

    def __init__(self, message: str, *, topic: Topic | None = None) -> None:
        """Say what is wrong, and which entry of the troubleshooting page has more.

        Args:
            message: Where, what was found and what to do, in one sentence.
            topic: The entry that explains this mistake, if there is one.
        """
        super().__init__(message)
        self.topic = topic


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


class EngineError(DriftmapError):
    """Processes or machines that shared the work were lost, or cannot be had."""

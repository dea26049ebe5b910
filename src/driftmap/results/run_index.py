"""Which runs are there, and what did each find?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RunState = Literal["finished", "interrupted", "failed", "damaged"]
"""Whether a run is done; stands, or still works, at a step; was stopped by an error; or
cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run, as its folder tells it.

    Args:
        key: A short name of its own, of letters and digits.
        name: Its folder, as a person knows it.
        kind: Which command made it.
        title: The question of its report; empty without one.
        verdict: What it found, in a sentence; empty without a report.
        points: What it found, with its numbers.
        model: What was studied.
        date: When it was last worked on, in UTC.
        state: Whether it is done.
        stage: Where it stands or why it stopped; empty where it is done.
        num_bytes: Of its files.
        settings: Option -> value, as text.
        report: Address of its report, as seen from the index; empty without one.
    """

    key: str
    name: str
    kind: str
    title: str
    verdict: str
    points: tuple[str, ...]
    model: str
    date: str
    state: RunState
    stage: str
    num_bytes: int
    settings: Mapping[str, str]
    report: str

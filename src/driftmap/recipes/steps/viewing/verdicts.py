"""What did a run find, in a sentence, by its own report?

`report.txt` is the page as plain text: a title, a lead, and callouts whose title stands
between brackets. The first callout holds the answer of most kinds of runs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["callout", "text", "lead"]

SOURCES: Mapping[str, Source] = {
    "read": "text",
    "evaluate": "lead",
    "check-judge": "lead",
}
"""Kinds whose verdict is the text below the first title between brackets, or the lead;
of all others it is that title with the text's first sentence, and the sentence alone
where the title asks."""

READ = 2**16
"""Characters of a report that are read; its answer comes first."""

_CALLOUT = re.compile(r"^\[([^\n]+)\]\n(.+?)(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a report says.

    Args:
        title: Its question.
        verdict: What was found, in a sentence.
        points: The same with its numbers.
    """

    title: str
    verdict: str
    points: tuple[str, ...]


def told(report: Path, kind: str) -> Told:
    """Read what a report says first.

    Args:
        report: `report.txt` of a run.
        kind: Which command made it.
    """
    with report.open(encoding="utf-8", errors="replace") as file:
        text = file.read(READ)
    title, lead = _head(text)
    found = _CALLOUT.search(text)
    source = SOURCES.get(kind, "callout")
    if found is None or source == "lead":
        return Told(title=title, verdict=_first_sentence(lead), points=(lead,))
    heading, points = _joined(found[1]), _points(found[2])
    verdict = _first_sentence(points[0])
    is_told = source == "callout" and not heading.endswith("?")
    if is_told and heading.rstrip(".") not in verdict:
        verdict = f"{heading}. {verdict}"
    return Told(title=title, verdict=verdict, points=points)


def _head(text: str) -> tuple[str, str]:
    """The title, underlined, and the paragraph below it."""
    blocks = re.split(r"\n\s*\n", text.strip(), maxsplit=2)
    title = _joined(re.sub(r"\n=+\s*$", "", blocks[0]))
    return title, _joined(blocks[1]) if len(blocks) > 1 else ""


def _points(text: str) -> tuple[str, ...]:
    if not text.startswith("- "):
        return (_joined(text),)
    return tuple(_joined(point) for point in re.split(r"(?:^|\n)- ", text)[1:])


def _first_sentence(text: str) -> str:
    return _END.split(text, maxsplit=1)[0]


def _joined(text: str) -> str:
    return " ".join(text.split())

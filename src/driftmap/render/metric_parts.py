"""What do a study and drift logs show of a metric in the same way?"""

from collections.abc import Sequence

from driftmap.render.charts import Line, Lines
from driftmap.render.drift_curves import positive
from driftmap.render.page import Callout, Node
from driftmap.render.wording import MetricWords

FAR_APART = 10
"""Ratio of greatest to least line from which a logarithmic axis is needed."""


def lines_over_steps(unit: str, lines: Sequence[Line]) -> Lines:
    """Draw one line per group, on a logarithmic axis where they end far apart."""
    ends = [line.y[-1] for line in lines]
    is_log = min(ends) > 0 and max(ends) > FAR_APART * min(ends)
    return Lines(
        x_title="training step",
        y_title=f"{unit}, log scale" if is_log else unit,
        lines=[positive(line) for line in lines] if is_log else list(lines),
        is_log=is_log,
    )


def clustering_caution(words: MetricWords) -> list[Node]:
    """Warn of a metric whose units differ between groups; nothing for the others."""
    if not words.caution:
        return []
    title = "Not comparable between groups of different clustering"
    return [Callout(kind="caution", title=title, texts=[words.caution])]

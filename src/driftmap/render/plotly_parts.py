"""What do all charts on a page share: escaped labels, axes, gaps?"""

import html
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from driftmap.render.charts import Numbers

Spec: TypeAlias = dict[str, object]


def axis(title: str, *, is_log: bool = False) -> Spec:
    """An axis of plotly.js with a title."""
    axis: Spec = {
        "title": {"text": label(title), "standoff": 12},
        "exponentformat": "e",
    }
    return axis | ({"type": "log", "dtick": 1} if is_log else {})


def label(text: str) -> str:
    """A text as plotly.js shows it: it reads some HTML."""
    return html.escape(text.replace("`", ""), quote=False)


def finite(values: Numbers | Sequence[float]) -> list[float | None]:
    """JSON has no NaN: a gap is null."""
    return [v if np.isfinite(v) else None for v in values]

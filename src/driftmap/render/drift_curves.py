"""How does one group's drift over training become a line?"""

from dataclasses import replace

import numpy as np

from driftmap.render.charts import Line, Numbers
from driftmap.results.table import Table


def group_line(rows: Table, group: str, column: str, role: str = "") -> Line:
    """A line over steps, with the interval over seeds where the means have one.

    Args:
        rows: Curves of one group in one metric.
        group: Its name.
        column: `mean` or `std`.
        role: Whose colour it has, where that is not its name's.
    """
    order = np.argsort(rows["step"], kind="stable")
    low, high = rows["low"][order], rows["high"][order]
    is_banded = column == "mean" and bool(np.isfinite([low, high]).all())
    return Line(
        name=group,
        x=rows["step"][order].tolist(),
        y=rows[column][order].tolist(),
        low=low.tolist() if is_banded else (),
        high=high.tolist() if is_banded else (),
        role=role,
    )


def positive(line: Line) -> Line:
    """What a logarithmic axis can show: no value of 0, and no band that reaches it."""
    kept = [n for n, value in enumerate(line.y) if value > 0]

    def of(values: Numbers) -> list[float]:
        return [values[n] for n in kept] if values else []

    has_band = all(value > 0 for value in of(line.low))
    return replace(
        line,
        x=of(line.x),
        y=of(line.y),
        low=of(line.low) if has_band else (),
        high=of(line.high) if has_band else (),
    )

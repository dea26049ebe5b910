"""How does one group's drift over training become a line?"""

import numpy as np

from driftmap.render.charts import Line
from driftmap.results.table import Table


def group_line(rows: Table, group: str, column: str) -> Line:
    """A line over steps, with the interval over seeds where the means have one.

    Args:
        rows: Curves of one group in one metric.
        group: Its name.
        column: `mean` or `std`.
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
    )

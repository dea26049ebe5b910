"""How do estimates with their intervals become a line with a band?"""

from collections.abc import Sequence
from math import nan

from driftmap.render.charts import Line, Numbers
from driftmap.results.statistics import Interval


def banded(
    name: str, x: Numbers, values: Sequence[Interval | None], role: str = ""
) -> Line:
    """Draw estimates over x, with a band from the lower to the upper ends.

    Args:
        name: Name in the legend.
        x: Places on the axis, ascending.
        values: As many as places; None is a gap.
        role: Whose colour it has, where that is not its name's.

    >>> one = Interval(estimate=2.0, low=1.0, high=4.0, level=0.95, num=8)
    >>> line = banded("drift", [0, 1], [one, None])
    >>> line.y, line.low, line.high
    ([2.0, nan], [1.0, nan], [4.0, nan])
    """
    return Line(
        name=name,
        x=x,
        y=[nan if value is None else value.estimate for value in values],
        low=[nan if value is None else value.low for value in values],
        high=[nan if value is None else value.high for value in values],
        role=role,
    )

"""Which ways of freezing does each kind of tuning have?"""

from driftmap.core.errors import UsageError
from driftmap.results.freezing import FreezingWay
from driftmap.tune.settings import TuningSettings


def require_way(way: FreezingWay, settings: TuningSettings) -> None:
    """Refuse a way of freezing that this tuning does not have.

    Raises:
        UsageError: Rows or columns without an adapter, or single weights under DoRA.
    """
    if settings.tune == "full" and way in ("rows", "columns"):
        raise UsageError(
            f"--freeze-by {way} masks the factors of an adapter, and --tune full has "
            "none; give --freeze-by element"
        )
    if settings.dora and way != "rows":
        raise UsageError(
            f"--freeze-by {way} does not hold under --dora, which rescales whole "
            "rows; give --freeze-by rows, or leave --dora out"
        )

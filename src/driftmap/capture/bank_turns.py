"""Did every bank run once, as it was told to, and did its gradients come back?"""

from collections.abc import Iterable

from driftmap.core.errors import MeasureError

MAPS = 2
"""Maps of a bank: into its experts, and out of them (count)."""


class BankTurns:
    """Keeps count of what banks did in one batch.

    Args:
        paths: The banks' modules.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._ran: set[str] = set()
        self._shown: dict[str, int] = {}

    def begin(self) -> None:
        """Forget the batch before."""
        self._ran, self._shown = set(), {}

    def run(self, path: str, *, may_repeat: bool = False) -> None:
        """Note that a bank runs.

        Args:
            path: Which.
            may_repeat: It may run again, as where a block is computed twice.

        Raises:
            MeasureError: It ran before and may not.
        """
        if path in self._ran and not may_repeat:
            raise _ran_again(path)
        self._ran.add(path)

    def show(self, path: str) -> bool:
        """Note that a bank shows one of its maps.

        Returns:
            Whether that was the last one.

        Raises:
            MeasureError: It had shown both before.
        """
        self._shown[path] = self._shown.get(path, 0) + 1
        if self._shown[path] > MAPS:
            raise _ran_again(path)
        return self._shown[path] == MAPS

    def finish(self) -> None:
        """Require that every bank has shown both of its maps.

        Raises:
            MeasureError: One ran by another way than ours, or no gradient came back.
        """
        for path in self._paths:
            if path not in self._ran:
                raise MeasureError(
                    f"{path}: the model never ran this bank in the way it was told "
                    "to; leave its experts out"
                )
            if self._shown.get(path, 0) < MAPS:
                raise MeasureError(
                    f"{path}: no gradient came back to this bank; does the model "
                    "detach its hidden states or run without gradients?"
                )


def _ran_again(path: str) -> MeasureError:
    return MeasureError(
        f"{path}: the model runs this bank more than once in a pass; leave its "
        "experts out"
    )

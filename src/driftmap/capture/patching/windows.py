"""In which layers is a state put back, for each column of a grid?"""

from math import ceil

from driftmap.core.errors import MeasureError
from driftmap.signals.traces import Restoring


def put_back_layers(restoring: Restoring, num_layers: int) -> tuple[range, ...]:
    """Layers of every column: a window of them, or the column's own.

    Args:
        restoring: What is put back.
        num_layers: L.

    Raises:
        MeasureError: It cannot be meant.

    >>> put_back_layers(Restoring(kind="mlp", window=3), 4)
    (range(0, 2), range(0, 3), range(1, 4), range(2, 4))
    >>> put_back_layers(Restoring(kind="attn", window=2), 3)
    (range(0, 1), range(0, 2), range(1, 3))
    >>> put_back_layers(Restoring(), 2)
    (range(0, 1), range(1, 2))
    """
    kind, window = restoring.kind, restoring.window
    if restoring.dims is not None and kind != "hidden":
        raise MeasureError(
            f"{kind}: single coordinates are put back of hidden states alone; leave "
            "`dims` out"
        )
    if kind not in ("mlp", "attn"):
        if window is not None:
            raise MeasureError(f"{kind}: it has no window; leave it out")
        return tuple(range(layer, layer + 1) for layer in range(num_layers))
    if window is None or window < 1:
        raise MeasureError(
            f"{kind}: a window of {window} layers; give 1 or more (10 as published)"
        )
    return tuple(
        range(max(0, layer - window // 2), min(num_layers, layer + ceil(window / 2)))
        for layer in range(num_layers)
    )

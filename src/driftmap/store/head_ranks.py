"""How do ranks of attention heads that another program made come in?

The published shape is one JSON object, `{"layer-0-head-3": 0.97, ...}`: block, query
head and how well a probe on it tells harm, say.
"""

import json
import math
import re
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.heads import Head, RankedHead

_KEY = re.compile(r"layer-(\d+)-head-(\d+)")


def import_head_ranks(path: Path) -> tuple[RankedHead, ...]:
    """Read ranks, the highest value first; equal ones by layer and head.

    Args:
        path: The JSON file.

    Raises:
        StoreError: The file is missing or of another shape, or a key is unknown or
            stands there twice.
    """
    pairs = _pairs(path)
    found: dict[Head, float] = {}
    for key, value in pairs:
        match = _KEY.fullmatch(key)
        if match is None:
            raise StoreError(
                f"{path}: {key!r} names no head; keys are like 'layer-0-head-3'"
            )
        head = Head(layer=int(match[1]), number=int(match[2]))
        if head in found:
            raise StoreError(
                f"{path}: {head.name} stands there twice; keep one of them"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StoreError(f"{path}: {key} is {value!r}; give a number")
        if not math.isfinite(value):
            raise StoreError(f"{path}: {key} is {value}; give a finite number")
        found[head] = float(value)
    ranked = [RankedHead(head=head, value=value) for head, value in found.items()]
    return tuple(sorted(ranked, key=lambda r: (-r.value, r.head.layer, r.head.number)))


def _pairs(path: Path) -> list[tuple[str, object]]:
    try:
        pairs = json.loads(path.read_text("utf-8"), object_pairs_hook=_Pairs)
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file; check the name") from None
    except (ValueError, OSError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(pairs, _Pairs) or not pairs:
        raise StoreError(
            f"{path}: holds no ranks of heads; give one JSON object like "
            '{"layer-0-head-3": 0.97}'
        )
    return pairs


class _Pairs(list[tuple[str, object]]):
    """An object of JSON with its keys as they stand, also those that come twice."""

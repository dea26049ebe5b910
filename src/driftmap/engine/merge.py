"""Do parts of a run make the whole, and how do they come together?

Parts must be of equal settings, hold no sample twice and leave none out. Nothing is
computed: their shards are put side by side in one folder, as if one command had made
them all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from driftmap.core.errors import EngineError
from driftmap.core.progress import progress
from driftmap.engine.folder import adopt, clear_half_written, fault_of
from driftmap.engine.parts import FOLDER, finished, inputs_of, read_part, write_told
from driftmap.engine.shards import Fraction, bounds
from driftmap.engine.work import Shard

Owned = tuple[Shard, Path]
"""A shard, and the run folder that holds it."""

_MOST_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Parts that make a whole.

    Args:
        owned: All shards, in the order of the samples, and who holds each.
        told: What the parts have in common, as their files say.
    """

    owned: tuple[Owned, ...]
    told: Mapping[str, object]


def require_whole(parts: Sequence[Path]) -> Whole:
    """Refuse parts that do not make a whole.

    Args:
        parts: Run folders, each made with `--partition` or a range.

    Raises:
        EngineError: Parts differ, overlap, are damaged, or some samples are missing.
    """
    told = {part: read_part(part / FOLDER) for part in parts}
    if len(told) < len(parts):
        twice = next(part for part in told if list(parts).count(part) > 1)
        raise EngineError(f"{twice}: is named twice; name each part once")
    _require_equal(told)
    owned = sorted(
        (each for part in parts for each in _shards_in(part)),
        key=lambda each: (each[0].start, each[0].stop),
    )
    _require_disjoint(owned)
    _require_cover([shard for shard, _ in owned], list(told.values()))
    return Whole(owned=tuple(owned), told={**told[parts[0]], "partition": None})


def take_over(whole: Whole, out: Path) -> None:
    """Put the shards of all parts into one run folder; the parts are left as they are.

    Args:
        whole: The parts.
        out: The run folder of the whole; shards that it holds already are kept.
    """
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    clear_half_written(folder)
    with progress("shards", len(whole.owned)) as bar:
        for shard, part in whole.owned:
            if fault_of(shard, folder) is not None:
                adopt(part / FOLDER / shard.name, folder)
            bar.advance(note=str(shard))
    write_told(folder, whole.told)


def missing_ranges(shards: Sequence[Shard], num_samples: int) -> list[tuple[int, int]]:
    """Find the samples that are in no shard, as half-open ranges.

    >>> missing_ranges([Shard(number=0, start=2, stop=4)], 9)
    [(0, 2), (4, 9)]
    """
    edges = [0, *(edge for s in shards for edge in (s.start, s.stop)), num_samples]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return [(stop, start) for stop, start in gaps if start > stop]


def _shards_in(part: Path) -> Iterator[Owned]:
    for shard, fault in finished(part / FOLDER):
        if fault:
            raise EngineError(
                f"{fault}; repeat the command that made {part}, which makes it again"
            )
        yield shard, part


def _require_equal(told: Mapping[Path, Mapping]) -> None:
    (first, of_first), *others = told.items()
    before = _flat(inputs_of(of_first))
    for other, of_other in others:
        now = _flat(inputs_of(of_other))
        names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
        if names:
            name = names[0]
            raise EngineError(
                f"{other}: was made with other settings than {first}: {name} is "
                f"{now.get(name)!r}, not {before.get(name)!r}; make all parts with the "
                "same"
            )


def _require_disjoint(owned: Sequence[Owned]) -> None:
    for (shard, part), (after, other) in pairwise(owned):
        if after.start < shard.stop:
            both = min(shard.stop, after.stop)
            raise EngineError(
                f"samples {after.start + 1} to {both} are in {part} and in {other}; "
                "leave one of them out"
            )


def _require_cover(shards: Sequence[Shard], told: Sequence[Mapping]) -> None:
    num_samples, size = told[0]["num_samples"], told[0]["size"]
    gaps = missing_ranges(shards, num_samples)
    if not gaps:
        return
    count = _common_count([each["partition"] for each in told])
    named = [_named(gap, count, num_samples, size) for gap in gaps[:_MOST_NAMED]]
    more = len(gaps) - len(named)
    raise EngineError(
        f"samples {', '.join(named)}{f' and {more} more ranges' if more else ''} of "
        f"{num_samples} are in no part; make them, or repeat the command of a part "
        "that was cut off, and merge again"
    )


def _common_count(partitions: Sequence[str | None]) -> int | None:
    """How many parts there are, where all parts say the same."""
    counts = {words.partition("/")[2] for words in partitions if words is not None}
    (count,) = counts if len(counts) == 1 else ("",)
    return int(count) if count else None


def _named(gap: tuple[int, int], count: int | None, num_samples: int, size: int) -> str:
    """Samples counted from 1, and which parts they are of.

    >>> _named((64, 128), 3, 150, 64)
    '65 to 128 (2/3)'
    """
    start, stop = gap
    if count is None:
        return f"{start + 1} to {stop}"
    parts = []
    for index in range(1, count + 1):
        part = Fraction(index=index, count=count)
        first, end = bounds(num_samples, part, size=size)
        if first < stop and start < end:
            parts.append(str(part))
    return f"{start + 1} to {stop} ({', '.join(parts)})"


def _flat(value: Mapping, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flat(inner, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = inner
    return flat

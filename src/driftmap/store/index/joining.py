"""What does an index become when samples are added, or when parts of it are joined?

Nothing is made or copied here: these are rules on headers. Shards are never cut or
glued, so the shards of a joined index are those of its parts.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.index import IndexHeader, IndexPart, Span
from driftmap.store.index.folder import ids_of, in_words, uncovered
from driftmap.store.index.header import require_same_settings


def with_part(folder: Path, header: IndexHeader, part: IndexPart) -> IndexHeader:
    """Add a source to an index.

    Args:
        folder: The index.
        header: What it says of itself.
        part: What is to be added.

    Returns:
        The header afterwards; the one of now where the source is its newest part, so
        that a command that was cut off goes on.

    Raises:
        StoreError: An older part is of the same samples.
    """
    if header.parts and header.parts[-1].sha256 == part.sha256:
        return header
    known = [old for old in header.parts if old.sha256 == part.sha256]
    if known:
        raise StoreError(
            f"{folder}: the samples of {part.data} are in it already, added as "
            f"{known[0].data}; nothing is left to do"
        )
    return replace(header, parts=(*header.parts, part))


def require_new_ids(folder: Path, header: IndexHeader, ids: Sequence[str]) -> None:
    """Refuse samples of which an index holds some already.

    Args:
        folder: The index.
        header: What it says of itself, without the samples.
        ids: Ids of the samples.

    Raises:
        StoreError: One of them is there.
    """
    new = set(ids)
    known = [one for one in ids_of(folder, header) if one in new]
    if known:
        shown = ", ".join(known[:3]) + (", ..." if len(known) > 3 else "")
        raise StoreError(
            f"{folder}: holds {len(known)} of these ids already ({shown}); give other "
            "ids, or leave these rows out"
        )


def joined(parts: Sequence[tuple[Path, IndexHeader]]) -> IndexHeader:
    """Join indexes that hold different ranges of the same sources.

    Args:
        parts: Folders, and what each says of itself.

    Returns:
        The header of the whole.

    Raises:
        StoreError: Settings or sources differ, ranges overlap, or one is missing.
    """
    first, header = parts[0]
    for folder, other in parts[1:]:
        require_same_settings(first, header, other, str(folder))
        if _sources(other) != _sources(header):
            raise StoreError(
                f"{folder}: holds samples of {_named(other)}, {first} of "
                f"{_named(header)}; join parts of one and the same data"
            )
    size = header.settings.shard_size
    whole = []
    for index, part in enumerate(header.parts):
        held = sorted(
            (span.start, span.stop, str(folder))
            for folder, other in parts
            for span in other.parts[index].spans
        )
        _require_disjoint(part, held)
        _require_cover(part, held)
        spans = _fused([(start, stop) for start, stop, _ in held], size)
        whole.append(replace(part, spans=spans))
    return replace(header, parts=tuple(whole))


def _sources(header: IndexHeader) -> list[tuple[str, int]]:
    return [(part.sha256, part.num_samples) for part in header.parts]


def _named(header: IndexHeader) -> str:
    return ", ".join(f"{p.data} ({p.num_samples} samples)" for p in header.parts)


def _require_disjoint(part: IndexPart, held: Sequence[tuple[int, int, str]]) -> None:
    for (_, stop, one), (start, other_stop, other) in pairwise(held):
        if start < stop:
            both = in_words([(start, min(stop, other_stop))])
            raise StoreError(
                f"{one} and {other} both hold samples {both} of {part.data}; leave one "
                "of them out"
            )


def _require_cover(part: IndexPart, held: Sequence[tuple[int, int, str]]) -> None:
    gaps = uncovered([(start, stop) for start, stop, _ in held], part.num_samples)
    if gaps:
        start, stop = gaps[0]
        raise StoreError(
            f"samples {in_words(gaps)} of {part.data} are in none of the parts; build "
            f"them with --partition-start {start} --partition-end {stop}"
            f"{' and so on' if len(gaps) > 1 else ''}, or name the part that holds them"
        )


def _fused(spans: Sequence[tuple[int, int]], size: int) -> tuple[Span, ...]:
    """Make one span of those that meet where a shard ends."""
    fused: list[Span] = []
    for start, stop in spans:
        if fused and fused[-1].stop == start and start % size == 0:
            fused[-1] = Span(start=fused[-1].start, stop=stop)
        else:
            fused.append(Span(start=start, stop=stop))
    return tuple(fused)

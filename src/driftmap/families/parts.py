"""Which part does each linear map of a block play, and which of its rows?

Names say most. Where a name says nothing, the place and the shape often leave one
choice: the one map of the attention that leads back to the hidden state is `o`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftmap.core.places import Part, RowBlocks
from driftmap.families.spec import Fused

Shape = tuple[int, int]
"""Output and input units of a map."""

_MLP: tuple[Part, ...] = ("up", "down")

REQUIRED: tuple[Part, ...] = ("q", "k", "v", "o", *_MLP)


class UnclearPartsError(Exception):
    """Why the maps of a block cannot be told apart; caught where the block is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPart:
    """What one map, or some of its rows, is for."""

    path: str
    part: Part
    num_rows: int
    num_columns: int
    split: RowBlocks | None
    head_size: int | None

    @staticmethod
    def whole(path: str, shape: Shape, part: Part) -> "MapPart":
        """A map that is of one part."""
        return MapPart(
            path=path,
            part=part,
            num_rows=shape[0],
            num_columns=shape[1],
            split=None,
            head_size=None,
        )


def block_parts(
    maps: Mapping[str, Shape], names: Mapping[str, Part | Fused], num_heads: int
) -> tuple[MapPart, ...]:
    """Name the parts of one block.

    Args:
        maps: Shape of every linear map of the block by its path inside the block.
        names: Ends of such paths, and the part or parts they hold.
        num_heads: Query heads of the attention.

    Returns:
        Every part once; maps whose part is not known are left out.

    Raises:
        UnclearPartsError: A part is missing or there twice, or shapes disagree.

    >>> maps = {"att.qkv": (6, 2), "att.back": (2, 2), "fc1": (8, 2), "fc2": (2, 8)}
    >>> names = {"qkv": Fused(parts=("q", "k", "v")), "fc1": "up"}
    >>> sorted(part.part for part in block_parts(maps, names, 2))
    ['down', 'k', 'o', 'q', 'up', 'v']
    """
    named: dict[str, Part | Fused] = {
        path: names[end] for path in maps if (end := _known_end(path, names))
    }
    named |= _attention_output(maps, named)
    named |= _two_matrix_mlp(maps, named)
    _check_complete(named, REQUIRED)
    heads = _heads(maps, named, num_heads)
    found = [
        part
        for path, content in named.items()
        for part in _cut(path, maps[path], content, heads)
    ]
    _check_shapes({part.part: part for part in found}, heads)
    return tuple(found)


def clear_parts(
    maps: Mapping[str, Shape], names: Mapping[str, Part | Fused], num_heads: int | None
) -> tuple[MapPart, ...]:
    """Name what is clear of a block that has no one attention and one MLP.

    Maps below one module belong together: an attention with all of q, k, v and o, or
    an MLP (of a dense layer, of a shared expert) with its up and down.

    Args:
        maps: Shape of every linear map of the block by its path inside the block.
        names: Ends of such paths, and the part or parts they hold.
        num_heads: Query heads of the attention; None where it is not known.

    Returns:
        Parts of the groups of which all shapes agree; the other maps are left out.

    >>> maps = {"one.up": (8, 2), "one.down": (2, 8), "two.up": (4, 2), "x.q": (2, 2)}
    >>> names = {"up": "up", "down": "down", "q": "q"}
    >>> [(part.path, part.part) for part in clear_parts(maps, names, 2)]
    [('one.up', 'up'), ('one.down', 'down')]
    """
    groups: dict[str, dict[str, Shape]] = {}
    for path, shape in maps.items():
        groups.setdefault(_parent(path), {})[path] = shape
    return tuple(
        part for group in groups.values() for part in _clear(group, names, num_heads)
    )


def _clear(
    maps: Mapping[str, Shape], names: Mapping[str, Part | Fused], num_heads: int | None
) -> list[MapPart]:
    named: dict[str, Part | Fused] = {
        path: names[end] for path in maps if (end := _known_end(path, names))
    }
    named |= _attention_output(maps, named)
    found = [MapPart.whole(p, maps[p], "router") for p in _holders(named, "router")]
    for half in (("q", "k", "v", "o"), ("gate", "up", "down")):
        of_half: dict[str, Part | Fused] = {
            p: c for p, c in named.items() if set(_parts_of(c)) & set(half)
        }
        try:
            found += _half_parts(maps, of_half, num_heads)
        except UnclearPartsError:
            continue
    return found


def _half_parts(
    maps: Mapping[str, Shape], named: Mapping[str, Part | Fused], num_heads: int | None
) -> list[MapPart]:
    is_attention = bool(_holders(named, "o"))
    required: tuple[Part, ...] = ("q", "k", "v", "o") if is_attention else _MLP
    _check_complete(named, required)
    heads = _Heads(num_rows=0, size=0)
    if is_attention:
        if num_heads is None:
            raise UnclearPartsError("the number of heads is not known")
        heads = _heads(maps, named, num_heads)
    found = [
        part
        for path, content in named.items()
        for part in _cut(path, maps[path], content, heads)
    ]
    _check_shapes({part.part: part for part in found}, heads)
    return found


def _known_end(path: str, names: Mapping[str, Part | Fused]) -> str:
    ends = [end for end in names if path == end or path.endswith(f".{end}")]
    return max(ends, key=len, default="")


def _parts_of(content: Part | Fused) -> tuple[Part, ...]:
    return content.parts if isinstance(content, Fused) else (content,)


def _holders(named: Mapping[str, Part | Fused], part: Part) -> list[str]:
    return [path for path, content in named.items() if part in _parts_of(content)]


def _attention_output(
    maps: Mapping[str, Shape], named: Mapping[str, Part | Fused]
) -> dict[str, Part | Fused]:
    queries = _holders(named, "q")
    if _holders(named, "o") or len(queries) != 1:
        return {}
    attention = _parent(queries[0])
    hidden = maps[queries[0]][1]
    outputs = [
        path
        for path, (num_rows, _) in maps.items()
        if path not in named and _parent(path) == attention and num_rows == hidden
    ]
    return {outputs[0]: "o"} if len(outputs) == 1 else {}


def _two_matrix_mlp(
    maps: Mapping[str, Shape], named: Mapping[str, Part | Fused]
) -> dict[str, Part | Fused]:
    ups, downs, queries = (_holders(named, part) for part in ("up", "down", "q"))
    if downs or len(ups) > 1 or len(queries) != 1:
        return {}
    attention, hidden = _parent(queries[0]), maps[queries[0]][1]
    unnamed = [
        path
        for path in maps
        if path not in named and (_parent(path) != attention or not attention)
    ]
    pairs = [
        (up, down)
        for up in ups or unnamed
        for down in unnamed
        if up != down
        and maps[up][1] == hidden
        and maps[down] == (hidden, maps[up][0] // len(_parts_of(named.get(up, "up"))))
    ]
    if len(pairs) != 1:
        return {}
    up, down = pairs[0]
    return {up: named.get(up, "up"), down: "down"}


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _check_complete(
    named: Mapping[str, Part | Fused], required: Sequence[Part]
) -> None:
    every: list[Part] = [
        part for content in named.values() for part in _parts_of(content)
    ]
    missing = [part for part in required if part not in every]
    if missing:
        raise UnclearPartsError(f"no map for {' '.join(missing)}")
    for part in dict.fromkeys(every):
        if len(paths := _holders(named, part)) > 1:
            raise UnclearPartsError(
                f"{len(paths)} maps for {part} ({', '.join(paths)})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heads:
    """Query heads of one attention; `num_rows` is what all of them take together."""

    num_rows: int
    size: int


def _heads(
    maps: Mapping[str, Shape], named: Mapping[str, Part | Fused], num_heads: int
) -> _Heads:
    num_columns = maps[_holders(named, "o")[0]][1]
    if num_columns % num_heads:
        raise UnclearPartsError(
            f"o has {num_columns} columns, which {num_heads} heads cannot share"
        )
    return _Heads(num_rows=num_columns, size=num_columns // num_heads)


def _cut(
    path: str, shape: Shape, content: Part | Fused, heads: _Heads
) -> Iterator[MapPart]:
    num_rows, num_columns = shape
    cuts: dict[Part, RowBlocks] = {}
    if isinstance(content, Fused):
        cuts = _cut_rows(path, num_rows, content, heads)
    for part in _parts_of(content):
        split = cuts.get(part)
        yield MapPart(
            path=path,
            part=part,
            num_rows=num_rows if split is None else split.length * split.count,
            num_columns=num_columns,
            split=split,
            head_size=heads.size if part in ("q", "k", "v", "o") else None,
        )


def _cut_rows(
    path: str, num_rows: int, fused: Fused, heads: _Heads
) -> dict[Part, RowBlocks]:
    lengths: dict[Part, int] = {}
    q_rows = heads.num_rows if "q" in fused.parts else 0
    others = [part for part in fused.parts if part != "q"]
    other_rows = (num_rows - q_rows) // len(others)
    count = max(other_rows // heads.size, 1) if fused.by_head else 1
    for part in fused.parts:
        lengths[part] = q_rows if part == "q" else other_rows
    if sum(lengths.values()) != num_rows or any(
        length <= 0 or length % count for length in lengths.values()
    ):
        raise UnclearPartsError(
            f"{path} has {num_rows} rows, which {' '.join(fused.parts)} with "
            f"{heads.num_rows // heads.size} heads of {heads.size} cannot share"
        )
    cuts: dict[Part, RowBlocks] = {}
    start = 0
    for part, length in lengths.items():
        length //= count
        cuts[part] = RowBlocks(
            start=start, length=length, stride=num_rows // count, count=count
        )
        start += length
    return cuts


def _check_shapes(parts: Mapping[Part, MapPart], heads: _Heads) -> None:
    expected: dict[Part, Shape] = {}
    hidden = parts["q" if "q" in parts else "up"].num_columns
    if "q" in parts:
        kv_rows = parts["k"].num_rows
        expected["q"] = heads.num_rows, hidden
        expected["k"] = kv_rows - kv_rows % heads.size, hidden
        expected["v"] = kv_rows, hidden
        expected["o"] = hidden, heads.num_rows
    if "up" in parts:
        inner = parts["up"].num_rows
        expected["gate"] = expected["up"] = inner, hidden
        expected["down"] = hidden, inner
    for part, found in parts.items():
        if (shape := (found.num_rows, found.num_columns)) != expected[part]:
            raise UnclearPartsError(
                f"{found.path} would be {part}, but is {list(shape)} where the "
                f"rest of the block asks for {list(expected[part])} [out in]"
            )

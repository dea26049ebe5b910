"""How do the modules of two models stand side by side, equal neighbours folded?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from driftmap.families.modules import join
from driftmap.load.folded_names import ranges
from driftmap.results.model_structure import ModuleLine, TreeChange, TreeRow

Modules = Mapping[str, ModuleLine]


@dataclass(slots=True)
class _Place:
    """A place in either tree."""

    name: str
    base: ModuleLine | None
    tuned: ModuleLine | None
    children: list["_Place"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A place with all below it, in a form that can be compared."""

    row: TreeRow
    below: tuple["_Shown", ...]


def paired_rows(base: Modules | None, tuned: Modules) -> tuple[TreeRow, ...]:
    """Put two trees of modules side by side.

    Args:
        base: Modules by path, parents before children; None without a base.
        tuned: The same of what was made of it.

    Returns:
        The lines of both, from the top down. Neighbours with numbers for names, all of
        whose modules are equal on both sides, are one line.
    """
    order = _order(base or {}, tuned)
    places: dict[str, _Place] = {}
    for path in order:
        parent, _, name = path.rpartition(".")
        place = _Place(name, (base or {}).get(path), tuned.get(path))
        places[path] = place
        if path:
            places[parent].children.append(place)
    shown = _shown(places[""], depth=0, has_base=base is not None)
    return tuple(_rows(shown))


def _order(base: Modules, tuned: Modules) -> list[str]:
    """Paths of both, with every parent; what one tree lacks stands by its siblings."""
    order: dict[str, None] = {"": None}
    for path in (*base, *tuned):
        words = path.split(".") if path else []
        for depth in range(len(words) + 1):
            order.setdefault(join(*words[:depth]))
    return list(order)


def _shown(place: _Place, depth: int, *, has_base: bool) -> _Shown:
    row = TreeRow(
        depth=depth,
        name=place.name,
        times=1,
        base=place.base,
        tuned=place.tuned,
        change=_change(place, has_base=has_base),
    )
    below = [_shown(one, depth + 1, has_base=has_base) for one in place.children]
    return _Shown(row, tuple(_folded(below)))


def _change(place: _Place, *, has_base: bool) -> TreeChange:
    base, tuned = place.base, place.tuned
    if tuned is not None and tuned.wrap is not None:
        return "wrapped" if base is None or _fits(base, tuned) else "changed"
    if has_base and (base is None) != (tuned is None):
        return "tuned-only" if base is None else "base-only"
    if base is None or tuned is None:
        return "same"
    return "same" if _fits(base, tuned) else "changed"


def _fits(base: ModuleLine, tuned: ModuleLine) -> bool:
    kinds_agree = base.kind == tuned.kind or not (base.kind and tuned.kind)
    return kinds_agree and base.shape == tuned.shape


def _folded(siblings: Sequence[_Shown]) -> Iterator[_Shown]:
    """Runs of equal numbered siblings as one each."""
    run: list[_Shown] = []
    for one in siblings:
        if run and not _continues(run, one):
            yield _as_one(run)
            run = []
        run.append(one)
    if run:
        yield _as_one(run)


def _continues(run: Sequence[_Shown], one: _Shown) -> bool:
    names = run[-1].row.name, one.row.name
    if not all(name.isdecimal() for name in names):
        return False
    return int(names[1]) == int(names[0]) + 1 and _likeness(one) == _likeness(run[0])


def _likeness(shown: _Shown) -> object:
    """All of a place but its name."""
    row = shown.row
    return row.base, row.tuned, row.change, shown.below


def _as_one(run: Sequence[_Shown]) -> _Shown:
    first = run[0].row
    if len(run) == 1:
        return run[0]
    row = TreeRow(
        depth=first.depth,
        name=ranges([int(one.row.name) for one in run]),
        times=len(run),
        base=first.base,
        tuned=first.tuned,
        change=first.change,
    )
    return _Shown(row, run[0].below)


def _rows(shown: _Shown) -> Iterator[TreeRow]:
    yield shown.row
    for one in shown.below:
        yield from _rows(one)

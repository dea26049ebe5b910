"""How do products of pairs made elsewhere come in, from the published JSON shapes?

`dot_products.json` holds `{query: {original: {parameter: D}}}`,
`paraphrased_dot_products.json` `{query: {parameter: A}}` for whatever version was
asked, and `original_dot_products.json` `{original: {parameter: B}}`;
`sample_size_N.json` holds `{query: {original: cosine}}`, and projections the same
below their total size. A query and its original have one id.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import StoreError
from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts, Truth
from driftmap.store.json_members import read_members
from driftmap.store.pair_products import Pairs

DOT, ASKED, FOUND = "dot_products", "paraphrased_dot_products", "original_dot_products"
FULL = TensorPlace(name="full gradient", part="block")
"""Stands for all tensors together where a file tells no more."""

COSINES = "gradient_similarity"
"""Folder of cosines; that of products is called as their file is."""

PROJECTED = "random_projection"
"""Folder of cosines of projected gradients."""

GENERATED = "model_generated"
SETS = {"paraphrased": "paraphrased", GENERATED: "generated"}
"""Folder -> name of the set of queries."""

_PART = re.compile(r"(.+)_part_(\d+)_(\d+)")
_SIZES = re.compile(r"sample_size_(\d+|full)")
_SAME = 0.01
"""Two files may differ by so much of an original's energy: as two runs do."""

PlaceOf = Callable[[str], TensorPlace]
Energies = Float64[np.ndarray, "query tensor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What one file, or all its partial files, hold; `files` in the order of parts."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    def members(self) -> Iterator[tuple[Path, str, object]]:
        for file in self.files:
            for key, value in read_members(file):
                yield file, key, value


def import_pairs(folder: Path, place_of: PlaceOf) -> tuple[Pairs, ...]:
    """Read the products of every set of queries that lies under a folder.

    Where there are no products, the cosines of full gradients are read instead, as
    those of a single tensor. Partial files are joined unless the whole file is there.

    Args:
        folder: Of one model and one number of samples; looked through whole.
        place_of: Says where a parameter of this name stands.

    Returns:
        One per set of queries; `truth.sets` names it.

    Raises:
        StoreError: There is nothing to read or too much, partial files overlap or
            leave a gap, or a file is damaged or does not fit the others.
    """
    sources = [s for s in _sources(folder) if s.name == DOT]
    if sources:
        return tuple(_products(s, place_of) for s in _one_per_set(folder, sources))
    sources = [
        s
        for s in _sources(folder)
        if _SIZES.fullmatch(s.name) and PROJECTED not in s.folder.parts
    ]
    if not sources:
        raise StoreError(
            f"{folder}: holds neither `{DOT}.json` nor `sample_size_N.json`, nor "
            "parts of them; name the folder that results were written to"
        )
    return tuple(
        _of_cosines(
            source.members(),
            {
                "read from": ", ".join(map(str, source.files)),
                "numbers": "cosines",
                "set": _set_of(source),
            },
        )
        for source in _one_per_set(folder, sources)
    )


def import_projections(folder: Path) -> dict[str, dict[int, Pairs]]:
    """Read cosines of projected gradients that lie below `random_projection`.

    Args:
        folder: As for `import_pairs`.

    Returns:
        Set of queries -> total size of the projection -> its cosines, as those of a
        single tensor; empty where there are none.

    Raises:
        StoreError: Files overlap, leave a gap, are damaged or too many.
    """
    sources = [s for s in _sources(folder) if _is_projected(s)]
    return {
        _set_of(source): {
            size: _of_cosines(
                members,
                {
                    "read from": ", ".join(map(str, source.files)),
                    "numbers": f"cosines of projections, total size {size:,}",
                    "set": _set_of(source),
                },
            )
            for size, members in _by_size(source).items()
        }
        for source in _one_per_set(folder, sources)
    }


def _by_size(source: _Source) -> dict[int, list[tuple[Path, str, object]]]:
    """Queries and what stands below them, by the size above them."""
    found: dict[int, list[tuple[Path, str, object]]] = {}
    for file, size, queries in source.members():
        where = f"{file}: {size}"
        if not size.isdecimal():
            raise StoreError(
                f"{where}: is no size of a projection; is it a projection?"
            )
        rows = _row(where, queries)
        found.setdefault(int(size), []).extend(
            (file, q, row) for q, row in rows.items()
        )
    return found


def _is_projected(source: _Source) -> bool:
    return bool(_SIZES.fullmatch(source.name)) and PROJECTED in source.folder.parts


def _sources(folder: Path) -> list[_Source]:
    """All files by what they hold, partial ones joined."""
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder; check the name")
    whole: dict[tuple[Path, str], list[Path]] = {}
    parts: dict[tuple[Path, str], list[Path]] = {}
    for file in sorted(folder.rglob("*.json")):
        part = _PART.fullmatch(file.stem)
        kept, name = (parts, part[1]) if part else (whole, file.stem)
        kept.setdefault((file.parent, name), []).append(file)
    joined = {key: _in_order(files) for key, files in parts.items() if key not in whole}
    return [
        _Source(name=name, folder=place, files=tuple(files))
        for (place, name), files in sorted((whole | joined).items())
    ]


def _in_order(files: Iterable[Path]) -> list[Path]:
    """Partial files one after the other; refuses those that overlap or leave a gap."""
    found: list[tuple[int, int, Path]] = []
    for file in files:
        part = _PART.fullmatch(file.stem)
        assert part is not None, f"{file}: is no part"
        found.append((int(part[2]), int(part[3]), file))
    found.sort()
    start, _, first = found[0]
    if start:
        raise StoreError(f"{first}: no file holds what is from 0 to {start}; add it")
    for (_, stop, before), (start, _, after) in pairwise(found):
        if start > stop:
            raise StoreError(
                f"{after}: no file holds what is from {stop} to {start}; add it"
            )
        if start < stop:
            raise StoreError(
                f"{after}: holds {start} to {stop} again, as {before.name} does; "
                "keep one of the two"
            )
    return [file for _, _, file in found]


def _one_per_set(folder: Path, sources: Sequence[_Source]) -> list[_Source]:
    by_set: dict[str, _Source] = {}
    for source in sources:
        other = by_set.setdefault(_set_of(source), source)
        if other is not source:
            raise StoreError(
                f"{folder}: holds more than one result for the {_set_of(source)} set, "
                f"such as {other.files[0].relative_to(folder)} and "
                f"{source.files[0].relative_to(folder)}; name the folder of one of them"
            )
    return list(by_set.values())


def _set_of(source: _Source) -> str:
    """Name of the set of queries, as the folders above say it."""
    named = [
        SETS[name]
        for part in source.folder.parts
        for name in sorted(SETS)
        if part.endswith(name)
    ]
    if named:
        return named[-1]
    # Sets of other names are exported under those, in their place.
    above = ["", *source.folder.parts]
    own = [name for home, name in pairwise(above) if home in (DOT, COSINES)]
    return own[-1] if own else "paraphrased"


def _products(dot: _Source, place_of: PlaceOf) -> Pairs:
    beside = {s.name: s for s in _sources(dot.folder) if s.folder == dot.folder}
    for name in (ASKED, FOUND):
        if name not in beside:
            raise StoreError(
                f"{dot.folder}: {name}.json is missing beside {DOT}.json; without it "
                "there are products but no cosines"
            )
    asked, found = (_energies(beside[name]) for name in (ASKED, FOUND))
    parameters = tuple(next(iter(asked.values()), {}))
    rows = _read_rows(str(dot.folder), dot.members(), parameters)
    if lacking := [query for query in rows.queries if query not in asked]:
        raise StoreError(
            f"{beside[ASKED].files[0]}: {lacking[0]!r} is missing, which "
            f"{dot.files[0].name} has; add it"
        )
    where = f"{beside[FOUND].files[0]}"
    return _pairs(
        rows,
        tuple(place_of(name) for name in parameters),
        np.stack([_ordered(where, asked[query], parameters) for query in rows.queries]),
        {o: _ordered(where, row, parameters) for o, row in found.items()},
        {"read from": str(dot.folder), "numbers": "products", "set": _set_of(dot)},
    )


def _of_cosines(
    members: Iterable[tuple[Path, str, object]], provenance: Mapping[str, str]
) -> Pairs:
    rows = _read_rows(provenance["read from"], members, None)
    energies = {o: np.ones(1) for o in chain.from_iterable(rows.named)}
    asked = np.ones((len(rows.queries), 1))
    return _pairs(rows, (FULL,), asked, energies, provenance)


def _pairs(
    rows: "_Rows",
    tensors: tuple[TensorPlace, ...],
    asked: Energies,
    found: Mapping[str, np.ndarray],
    provenance: Mapping[str, str],
) -> Pairs:
    """Put the numbers of queries beside those of originals.

    An original that its own query was not compared with, and that no file knows, is
    there without energy: as the truth that was not found.
    """
    source = provenance["read from"]
    for query, named in zip(rows.queries, rows.named, strict=True):
        if lost := [original for original in named if original not in found]:
            raise StoreError(
                f"{source}: {query!r} was compared with {lost[0]!r}, of which "
                f"{FOUND}.json says nothing; add it"
            )
    if not found.keys() & set(rows.queries):
        raise StoreError(
            f"{source}: no query has the id of an original ({rows.queries[0]!r}, "
            f"{next(iter(found), '')!r}), so nothing tells which is behind it"
        )
    nothing = np.zeros(len(tensors))
    whole = {**found, **{q: nothing for q in rows.queries if q not in found}}
    number = {original: n for n, original in enumerate(whole)}
    candidates = np.full(rows.values.shape[:2], NONE, dtype=np.int64)
    for query, named in enumerate(rows.named):
        candidates[query, : len(named)] = [number[original] for original in named]
    return Pairs(
        products=PairProducts(
            queries=rows.queries,
            originals=tuple(whole),
            candidates=candidates,
            tensors=tensors,
            dot=rows.values,
            query_energy=asked,
            original_energy=np.stack(list(whole.values())),
            provenance=provenance,
        ),
        truth=Truth(
            original=np.array([number[query] for query in rows.queries]),
            same=np.arange(len(whole)),
            sets=(provenance["set"],) * len(rows.queries),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """What stands below each query: originals by name, and the numbers of each."""

    queries: tuple[str, ...]
    named: tuple[tuple[str, ...], ...]
    values: Float64[np.ndarray, "query candidate tensor"]


def _read_rows(
    source: str,
    members: Iterable[tuple[Path, str, object]],
    parameters: tuple[str, ...] | None,
) -> _Rows:
    """Read what stands below queries: a number per parameter, or one where None."""
    named: dict[str, tuple[str, ...]] = {}
    values: list[np.ndarray] = []
    width = 1 if parameters is None else len(parameters)
    for file, query, row in members:
        where = f"{file}: {query}"
        if query in named:
            raise StoreError(f"{where}: another part holds it too; keep one of the two")
        row = _row(where, row)
        if parameters is None:
            numbers = _numbers(where, row).reshape(-1, 1)
        else:
            listed = [_ordered(f"{where}: {o}", row[o], parameters) for o in row]
            numbers = np.array(listed).reshape(-1, width)
        named[query] = tuple(row)
        values.append(numbers)
    if not named:
        raise StoreError(f"{source}: holds no query; was it cut short?")
    most = max(map(len, values))
    padded = np.zeros((len(values), most, width))
    for query, numbers in enumerate(values):
        padded[query, : len(numbers)] = numbers
    return _Rows(queries=tuple(named), named=tuple(named.values()), values=padded)


def _energies(source: _Source) -> dict[str, dict[str, object]]:
    """Rows by name; parts may share some, as several queries share an original."""
    found: dict[str, dict[str, object]] = {}
    for file, name, row in source.members():
        where = f"{file}: {name}"
        numbers = _row(where, row)
        known = found.setdefault(name, numbers)
        one, other = _numbers(where, numbers), _numbers(where, known)
        if len(one) != len(other) or not np.allclose(one, other, rtol=_SAME, atol=0):
            raise StoreError(f"{where}: another part says otherwise; keep one of them")
    return found


def _ordered(where: str, row: object, parameters: tuple[str, ...]) -> np.ndarray:
    """A row's numbers in the order of the parameters."""
    numbers = _row(where, row)
    if tuple(numbers) != parameters:
        if odd := sorted(numbers.keys() ^ set(parameters)):
            raise StoreError(
                f"{where}: {odd[0]!r} is here or in other rows, but not in both; "
                "are they of one model?"
            )
        numbers = {name: numbers[name] for name in parameters}
    return _numbers(where, numbers)


def _row(where: str, row: object) -> dict[str, object]:
    if not isinstance(row, dict):
        raise StoreError(f"{where}: {row!r:.40} is no JSON object; is it another file?")
    return row


def _numbers(where: str, row: Mapping[str, object]) -> Float64[np.ndarray, " _"]:
    for name, value in row.items():
        if type(value) not in (float, int) or not math.isfinite(cast(float, value)):
            raise StoreError(f"{where}: {name}: {value!r:.40} is no finite number")
    return np.array(list(row.values()), dtype=np.float64)

"""How is a group of weights kept in a file of about two bytes a weight?

Per matrix the file holds compressed rows (`KEY.row_start`, `KEY.column`) or,
where more than one weight in 16 is a member, one bit per weight (`KEY.bits`,
row by row, lowest bit first), and optionally the members' scores (`KEY.score`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from driftmap.core.errors import DataError, StoreError
from driftmap.core.places import Site, canonical_order
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.plain import Plain, from_plain, to_plain
from driftmap.store.codec import (
    TensorFile,
    open_tensors,
    require_distinct,
    save_tensors,
    site_to_plain,
    sites_of,
)

GROUP_KIND = "driftmap.group"
_DENSE = 16
_NARROW = 65_536
_UNLESS_SAID = {
    "per": "matrix",
    "grain": "weight",
    "source": "",
    "source_sha256": "",
}


class GroupFile:
    """An open group: name, matrices and origin are known, members are read on demand.

    Args:
        file: The open container.
    """

    def __init__(self, file: TensorFile) -> None:
        """Use `open_group`."""
        self._file = file
        self.sites = sites_of(file)
        self._known = frozenset(self.sites)
        self.name, self.origin = _name_and_origin(file)

    def members(self, site: Site) -> Int64[np.ndarray, " weight"]:
        """Flat indices in one matrix, ascending, read without the others.

        Raises:
            StoreError: They are damaged.
        """
        if site not in self._known:
            return np.empty(0, dtype=np.int64)
        read = _bits if f"{site.key}.bits" in self._file else _compressed_rows
        return read(self._file, site)

    def scores(self, site: Site) -> Float32[np.ndarray, " weight"] | None:
        """Scores of the members in one matrix; None where none were kept.

        Raises:
            StoreError: They are damaged.
        """
        name = f"{site.key}.score"
        return self._file.read(name, "float32", 1) if name in self._file else None


def save_group(path: Path, group: WeightGroup) -> None:
    """Write a group, the same bytes each time.

    Raises:
        StoreError: The disk refuses.
    """
    sites = sorted(group.members, key=canonical_order)
    require_distinct([site.key for site in sites])
    arrays: dict[str, np.ndarray] = {}
    for site in sites:
        index = group.members[site]
        _require_members(site, index)
        arrays.update(_encode(site, index))
        if site in group.scores:
            score = group.scores[site]
            assert score.shape == index.shape, f"{site.key}: a score per member"
            arrays[f"{site.key}.score"] = score
    header = {
        "name": group.name,
        "sites": [site_to_plain(site) for site in sites],
        "origin": _origin_to_plain(group.origin),
    }
    save_tensors(path, arrays, GROUP_KIND, header)


@contextmanager
def open_group(path: Path) -> Iterator[GroupFile]:
    """Open a group to read single matrices of it.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, GROUP_KIND) as file:
        yield GroupFile(file)


def load_group(path: Path) -> WeightGroup:
    """Read a whole group.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_group(path) as group:
        members = {site: group.members(site) for site in group.sites}
        scores = {site: group.scores(site) for site in group.sites}
        for site, score in scores.items():
            if score is not None and score.shape != members[site].shape:
                raise _damaged(path, f"{site.key}.score")
        return WeightGroup(
            name=group.name,
            members=members,
            origin=group.origin,
            scores={site: s for site, s in scores.items() if s is not None},
        )


def _origin_to_plain(origin: GroupOrigin) -> Plain:
    """What holds for most groups stays out of their files."""
    held = asdict(origin)
    for name, usual in _UNLESS_SAID.items():
        if held[name] == usual:
            del held[name]
    return to_plain(held)


def _require_members(site: Site, index: Int64[np.ndarray, " weight"]) -> None:
    ascending = bool((np.diff(index) > 0).all())
    assert ascending, f"{site.key}: members must ascend and be unique"
    inside = index.size == 0 or (index[0] >= 0 and index[-1] < site.num_weights)
    assert inside, f"{site.key}: a member is outside the matrix"


def _encode(site: Site, index: Int64[np.ndarray, " weight"]) -> dict[str, np.ndarray]:
    if index.size * _DENSE > site.num_weights:
        member = np.zeros(site.num_weights, dtype=bool)
        member[index] = True
        return {f"{site.key}.bits": np.packbits(member, bitorder="little")}
    row, column = np.divmod(index, site.num_columns)
    start = np.searchsorted(row, np.arange(site.num_rows + 1))
    narrow = np.uint16 if site.num_columns <= _NARROW else np.uint32
    return {
        f"{site.key}.row_start": start.astype(np.uint32),
        f"{site.key}.column": column.astype(narrow),
    }


def _bits(file: TensorFile, site: Site) -> Int64[np.ndarray, " weight"]:
    name = f"{site.key}.bits"
    packed = file.read(name, "uint8", 1)
    if packed.size != -(-site.num_weights // 8):
        raise _damaged(file.path, name)
    index = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
    if index.size and index[-1] >= site.num_weights:
        raise _damaged(file.path, name)
    return index.astype(np.int64, copy=False)


def _compressed_rows(file: TensorFile, site: Site) -> Int64[np.ndarray, " weight"]:
    name = f"{site.key}.row_start"
    start = file.read(name, "uint32", 1).astype(np.int64)
    narrow = "uint16" if site.num_columns <= _NARROW else "uint32"
    column = file.read(f"{site.key}.column", narrow, 1).astype(np.int64)
    counts = np.diff(start)
    whole = start.size == site.num_rows + 1 and start[0] == 0
    if not whole or start[-1] != column.size or (counts < 0).any():
        raise _damaged(file.path, name)
    index = np.repeat(np.arange(site.num_rows) * site.num_columns, counts) + column
    if (column >= site.num_columns).any() or (np.diff(index) <= 0).any():
        raise _damaged(file.path, f"{site.key}.column")
    return index


def _name_and_origin(file: TensorFile) -> tuple[str, GroupOrigin]:
    name, origin = file.header.get("name"), file.header.get("origin")
    if not isinstance(name, str) or not isinstance(origin, dict):
        raise _damaged(file.path, "the group's origin")
    try:
        return name, from_plain(GroupOrigin, {**_UNLESS_SAID, **origin})
    except DataError as error:
        raise _damaged(file.path, "the group's origin") from error


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: {what} is damaged; select the group again")

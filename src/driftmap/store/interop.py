"""How do groups travel to and from the published JSON shape?

`{"layer_0_self_attn.q_proj": [[row, column], [row, column, score], ...], ...}`:
the key stands for the path `model.layers.0.self_attn.q_proj`, and a matrix that
is part of a fused one adds its part (`layer_0_attn.c_attn#q`).
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.errors import StoreError
from driftmap.core.places import Site, canonical_order
from driftmap.core.units import format_count
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.files import writing
from driftmap.store.json_scan import Entry, scan_lists

MOST_WEIGHTS = 10_000_000


def json_key(site: Site) -> str:
    """Name a matrix as the published files do.

    >>> json_key(Site(path="model.layers.2.mlp.up_proj", layer=2, part="up",
    ...     num_rows=1, num_columns=1))
    'layer_2_mlp.up_proj'
    """
    _, found, rest = site.key.partition(f".{site.layer}.")
    assert found, f"{site.key}: the path does not hold the block's number"
    return f"layer_{site.layer}_{rest}"


def import_json_group(
    path: Path, sites: Sequence[Site], name: str, origin: GroupOrigin
) -> WeightGroup:
    """Read a group that another program chose, one matrix in memory at a time.

    Args:
        path: The JSON file.
        sites: Matrices of the model it was chosen on.
        name: What to call the group.
        origin: What is known of how it was chosen.

    Raises:
        StoreError: A key is unknown or repeated, or an entry is not two or three
            numbers, lies outside its matrix or repeats another; the message names
            key and position.
    """
    known = {json_key(site): site for site in sites}
    members: dict[Site, Int64[np.ndarray, " weight"]] = {}
    scores: dict[Site, Float32[np.ndarray, " weight"]] = {}
    for key, entries in scan_lists(path):
        if key not in known:
            raise StoreError(
                f"{path}: {key!r} names no matrix of this model; its keys are like "
                f"{min(known, default='layer_0_self_attn.q_proj')!r}"
            )
        site = known[key]
        if site in members:
            raise StoreError(f"{path}: {key!r} stands there twice; join its lists")
        numbers = _numbers(f"{path}: {key}", entries)
        index = _flat_index(f"{path}: {key}", numbers, site)
        order = np.argsort(index, kind="stable")
        members[site] = index[order]
        if numbers.shape[1] == 3:
            scores[site] = numbers[order, 2].astype(np.float32)
    return WeightGroup(name=name, members=members, scores=scores, origin=origin)


def export_json_group(
    path: Path, group: WeightGroup, *, most_weights: int = MOST_WEIGHTS
) -> None:
    """Write a group for other programs: by flat index, without spaces.

    Args:
        path: File to write, whole or not at all.
        group: Its scores, where it has any, become the third number.
        most_weights: Largest group to write; the shape takes 12 to 26 bytes a
            weight, where the safetensors file takes two.

    Raises:
        StoreError: The group is larger, or the disk refuses.
    """
    if group.num_weights > most_weights:
        raise StoreError(
            f"{path}: group {group.name!r} has {format_count(group.num_weights)} "
            f"weights, JSON is for at most {format_count(most_weights)}; "
            "use the safetensors file or raise the limit"
        )
    with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "{"
        for site in sorted(group.members, key=canonical_order):
            file.write(f"{before}{json.dumps(json_key(site))}:{_entries(group, site)}")
            before = ","
        file.write("{}" if before == "{" else "}")


def _entries(group: WeightGroup, site: Site) -> str:
    row, column = np.divmod(group.members[site], site.num_columns)
    lists: list[list[int | float]] = np.stack([row, column], axis=1).tolist()
    if site in group.scores:
        # The shortest decimals that read back as the same float32.
        short = group.scores[site].astype(str).astype(np.float64).tolist()
        lists = [[*entry, score] for entry, score in zip(lists, short, strict=True)]
    return json.dumps(lists, separators=(",", ":"))


def _numbers(place: str, entries: Sequence[Entry]) -> Float64[np.ndarray, "entry _"]:
    """Entries as rows of two or three numbers; exact for every row and column."""
    if not entries:
        return np.empty((0, 2))
    width = len(entries[0]) if isinstance(entries[0], list) else 0
    for number, entry in enumerate(entries):
        if not isinstance(entry, list) or len(entry) != width or width not in (2, 3):
            raise StoreError(
                f"{place}, entry {number}: {entry} is not [row, column] or "
                "[row, column, score], alike all through the list"
            )
    try:
        numbers = np.array(entries, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(f"{place}: an entry is no list of numbers ({error})") from None
    wild = ~np.isfinite(numbers).all(axis=1)
    if wild.any():
        number = int(wild.argmax())
        raise StoreError(f"{place}, entry {number}: {entries[number]} is not finite")
    return numbers


def _flat_index(
    place: str, numbers: Float64[np.ndarray, "entry _"], site: Site
) -> Int64[np.ndarray, " weight"]:
    coordinates = numbers[:, :2]
    outside = (coordinates < 0) | (coordinates >= site.shape) | (coordinates % 1 != 0)
    if outside.any():
        entry = int(np.flatnonzero(outside.any(axis=1))[0])
        raise StoreError(
            f"{place}, entry {entry}: {coordinates[entry].tolist()} is no weight of a "
            f"matrix of {site.num_rows} rows and {site.num_columns} columns"
        )
    index = coordinates[:, 0].astype(np.int64) * site.num_columns
    index += coordinates[:, 1].astype(np.int64)
    unique, first = np.unique(index, return_index=True)
    if unique.size < index.size:
        entry = int(np.setdiff1d(np.arange(index.size), first)[0])
        raise StoreError(
            f"{place}, entry {entry}: {coordinates[entry].astype(int).tolist()} stands "
            "there twice"
        )
    return index

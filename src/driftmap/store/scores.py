"""How are scores of every weight kept: float32 matrices under each matrix's name?

Whole scores stand under the name alone. Scores kept apart by halves of the samples
stand under `NAME.even` and `NAME.odd`; their sum is the score.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float32

from driftmap.core.errors import StoreError
from driftmap.core.places import Site, canonical_order
from driftmap.store.codec import (
    TensorFile,
    open_tensors,
    require_distinct,
    site_to_plain,
    sites_of,
)
from driftmap.store.files import writing
from driftmap.store.streaming import streaming_tensors

SCORES_KIND = "driftmap.scores"
HALVES_KIND = "driftmap.half-scores"

ScoreMatrix = Float32[np.ndarray, "row column"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreHalves:
    """What two disjoint halves of the samples add to the score of one matrix.

    Args:
        even: Part that samples with an even index contribute.
        odd: Part that the others contribute.
    """

    even: ScoreMatrix
    odd: ScoreMatrix


WriteHalves = Callable[[Site, ScoreHalves], None]


class ScoreFile:
    """An open file of scores: matrices are read on demand."""

    def __init__(self, file: TensorFile) -> None:
        """Use `open_scores`."""
        self._file = file
        self.sites = sites_of(file)
        settings = file.header.get("settings")
        if not isinstance(settings, Mapping):
            raise StoreError(f"{file.path}: its settings are damaged; score again")
        self.settings = cast(Mapping[str, object], settings)

    def at(self, site: Site) -> ScoreMatrix:
        """Scores of one matrix, read without the others.

        Raises:
            StoreError: The file has none for it or they are damaged.
        """
        return _matrix(self._file, site, site.key)


class HalvesFile:
    """An open file of scores by halves: matrices are read on demand."""

    def __init__(self, file: TensorFile) -> None:
        """Use `open_halves`."""
        self._file = file

    def at(self, site: Site) -> ScoreHalves:
        """Both halves of one matrix's scores, read without the others.

        Raises:
            StoreError: The file has none for it or they are damaged.
        """
        even, odd = (_matrix(self._file, site, name) for name in _names(site))
        return ScoreHalves(even=even, odd=odd)


def save_scores(
    path: Path, scores: Mapping[Site, ScoreMatrix], settings: Mapping[str, object]
) -> None:
    """Write scores with what they are scores of, the same bytes each time.

    Args:
        path: File to write, whole or not at all.
        scores: One matrix per site, rows are output units.
        settings: Plain values: score, model and sample hashes, positions.

    Raises:
        StoreError: The disk refuses.
    """
    sites = sorted(scores, key=canonical_order)
    require_distinct([site.key for site in sites])
    for site in sites:
        assert scores[site].shape == site.shape, f"{site.key}: another shape"
    shapes = {site.key: site.shape for site in sites}
    header = _header(sites, settings)
    with (
        writing(path) as temporary,
        streaming_tensors(temporary, shapes, SCORES_KIND, header) as write,
    ):
        for site in sites:
            write(site.key, scores[site])


@contextmanager
def open_scores(path: Path) -> Iterator[ScoreFile]:
    """Open scores to read single matrices.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, SCORES_KIND) as file:
        yield ScoreFile(file)


@contextmanager
def writing_halves(
    path: Path, sites: Sequence[Site], settings: Mapping[str, object]
) -> Iterator[WriteHalves]:
    """Write scores by halves, matrix by matrix, the same bytes in any order.

    Args:
        path: File to write, whole or not at all.
        sites: All matrices that will be written.
        settings: Plain values: score, model and sample hashes, positions.

    Yields:
        Writes one matrix; it may be forgotten then.

    Raises:
        StoreError: The disk refuses.
    """
    with writing(path) as temporary, growing_halves(temporary, sites, settings) as put:
        yield put


@contextmanager
def growing_halves(
    path: Path, sites: Sequence[Site], settings: Mapping[str, object]
) -> Iterator[WriteHalves]:
    """As `writing_halves`, in place and without waiting for the disk.

    For temporary files: one that was cut off is damaged.
    """
    ordered = sorted(sites, key=canonical_order)
    shapes = {name: site.shape for site in ordered for name in _names(site)}
    require_distinct([name for site in ordered for name in _names(site)])
    header = _header(ordered, settings)
    with streaming_tensors(path, shapes, HALVES_KIND, header) as write:

        def put(site: Site, halves: ScoreHalves) -> None:
            for name, half in zip(_names(site), (halves.even, halves.odd), strict=True):
                write(name, half)

        yield put


@contextmanager
def open_halves(path: Path) -> Iterator[HalvesFile]:
    """Open scores by halves to read single matrices.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, HALVES_KIND) as file:
        yield HalvesFile(file)


def _names(site: Site) -> tuple[str, str]:
    return f"{site.key}.even", f"{site.key}.odd"


def _header(sites: Sequence[Site], settings: Mapping[str, object]) -> dict[str, object]:
    return {"sites": [site_to_plain(site) for site in sites], "settings": settings}


def _matrix(file: TensorFile, site: Site, name: str) -> ScoreMatrix:
    matrix = file.read(name, "float32", 2)
    if matrix.shape != site.shape:
        raise StoreError(
            f"{file.path}: {name} is {matrix.shape[0]} x {matrix.shape[1]}, not "
            f"{site.num_rows} x {site.num_columns}; score this model again"
        )
    return matrix

"""How are scores of every weight kept: one float32 matrix under each matrix's name?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    save_tensors,
    site_to_plain,
    sites_of,
)

SCORES_KIND = "driftmap.scores"

ScoreMatrix = Float32[np.ndarray, "row column"]


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
        matrix = self._file.read(site.key, "float32", 2)
        if matrix.shape != site.shape:
            raise StoreError(
                f"{self._file.path}: {site.key} is {matrix.shape[0]} x "
                f"{matrix.shape[1]}, not {site.num_rows} x {site.num_columns}; "
                "score this model again"
            )
        return matrix


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
    header = {"sites": [site_to_plain(s) for s in sites], "settings": settings}
    save_tensors(path, {s.key: scores[s] for s in sites}, SCORES_KIND, header)


@contextmanager
def open_scores(path: Path) -> Iterator[ScoreFile]:
    """Open scores to read single matrices.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, SCORES_KIND) as file:
        yield ScoreFile(file)

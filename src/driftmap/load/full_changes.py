"""What did full fine-tuning add to each weight matrix, read from two folders?

One matrix is in memory at a time: it is read from both folders' safetensors files in
row blocks, raised to float64 and subtracted. No model is built.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.load.expert_files import FilePlace
from driftmap.load.tensor_files import StoredTensor, stored_tensors
from driftmap.signals.changes import DenseChange, MatrixChange

BLOCK_WEIGHTS = 2**20
"""Weights of a row block that is read at a time."""

WIDE, HALF = ("F64", "F32"), ("BF16", "F16")


class StoredMatrices:
    """The matrices of one folder of safetensors, read when they are asked for.

    Args:
        folder: Holds `model.safetensors`, or shards with their index.
        places: Where files keep routers and experts (`file_places`).

    Raises:
        ModelError: There are no weights, only pickles, or a file is broken.
    """

    def __init__(
        self, folder: Path, places: Mapping[str, FilePlace] | None = None
    ) -> None:
        self.folder = folder
        self.places = places or {}
        self.tensors: Mapping[str, StoredTensor] = {
            tensor.name: tensor for tensor in stored_tensors(folder)
        }

    def tensor_of(self, site: Site) -> StoredTensor:
        """The stored tensor that holds a site, whatever stands before its name.

        Raises:
            ModelError: There is none, or one of another shape or a quantised type.
        """
        place = self.places.get(site.key)
        name = f"{site.path}.weight" if place is None else place.name
        stored = self.tensors.get(name) or self.alike(name)
        if stored is None:
            raise ModelError(
                f"{self.folder}: it has no tensor {name}, which the model has; give "
                "a checkpoint of this model, saved with `save_pretrained`"
            )
        self.require_unrounded(stored)
        if not (
            _fits(stored, site) if place is None else place.fits(stored, site.shape)
        ):
            raise ModelError(
                f"{self.folder}: its {stored.name} is {list(stored.shape)}, while the "
                f"model's {site.key} is {list(site.shape)} [out in]; give a "
                "checkpoint of this model"
            )
        return stored

    def require_unrounded(self, stored: StoredTensor) -> None:
        """Refuse numbers that are rounded to a few levels.

        Raises:
            ModelError: The tensor is quantised.
        """
        if stored.dtype not in (*WIDE, *HALF):
            raise ModelError(
                f"{self.folder}: {stored.name} is stored as {stored.dtype}; quantised "
                "or merged again into quantised weights, drift is rounding: give the "
                "adapter, or weights in float32"
            )

    def blocks(self, site: Site) -> Iterator[tuple[slice, Float[Tensor, "row column"]]]:
        """Consecutive rows of a site, with their place in it, in the file's type."""
        stored = self.tensor_of(site)
        if site.key in self.places:
            yield slice(0, site.num_rows), self.places[site.key].read(stored)
            return
        step = max(1, BLOCK_WEIGHTS // site.num_columns)
        with safe_open(stored.file, framework="pt") as opened:
            part = opened.get_slice(stored.name)
            done = 0
            for start, length in _stretches(site):
                for first in range(start, start + length, step):
                    last = min(first + step, start + length)
                    block = (
                        part[:, first:last].T if site.transposed else part[first:last]
                    )
                    yield slice(done, done + last - first), block
                    done += last - first

    def matrix(self, site: Site) -> Float[Tensor, "row column"]:
        """A whole site, `[out in]`, in the file's type."""
        return torch.cat([block for _, block in self.blocks(site)])

    def alike(self, name: str) -> StoredTensor | None:
        """The one tensor whose name is this one's, or the other way round, at its end.

        Files are saved with and without what wraps the blocks: `transformer.`,
        `model.`, `base_model.model.`.
        """
        found = [
            stored
            for other, stored in self.tensors.items()
            if other.endswith("." + name) or name.endswith("." + other)
        ]
        return found[0] if len(found) == 1 else None


class FullChanges(Mapping[Site, DenseChange]):
    """dW of every moved matrix between two folders, made anew whenever it is asked for.

    Args:
        before: The model before training.
        after: A checkpoint of full fine-tuning.
        sites: The matrices that training moved.
    """

    def __init__(
        self, before: StoredMatrices, after: StoredMatrices, sites: Sequence[Site]
    ) -> None:
        self.before, self.after = before, after
        self._sites = dict.fromkeys(sites)

    def __getitem__(self, site: Site) -> DenseChange:
        """Read one matrix from both folders, a row block at a time."""
        if site not in self._sites:
            raise KeyError(site)
        moved = torch.empty(site.shape, dtype=torch.float64)
        for rows, before, after in _both(self.before, self.after, site):
            moved[rows].copy_(after).sub_(before)
        return DenseChange(values=moved)

    def __contains__(self, site: object) -> bool:
        """Whether training moved a matrix; reads nothing."""
        return site in self._sites

    def __iter__(self) -> Iterator[Site]:
        """The moved matrices, in the order they were given."""
        return iter(self._sites)

    def __len__(self) -> int:
        """How many matrices moved."""
        return len(self._sites)


class JoinedChanges(Mapping[Site, MatrixChange]):
    """Changes of an adapter that also replaced some matrices as a whole.

    Args:
        factors: Of the matrices that have factors.
        whole: Of the replaced ones, read when they are asked for.
        order: All matrices of the model.
    """

    def __init__(
        self,
        factors: Mapping[Site, MatrixChange],
        whole: Mapping[Site, MatrixChange],
        order: Sequence[Site],
    ) -> None:
        self._parts = factors, whole
        self._order = [s for s in order if s in factors or s in whole]

    def __getitem__(self, site: Site) -> MatrixChange:
        """The change of one matrix, read now if it was replaced."""
        factors, whole = self._parts
        return factors[site] if site in factors else whole[site]

    def __contains__(self, site: object) -> bool:
        """Whether training changed a matrix; reads nothing."""
        return any(site in part for part in self._parts)

    def __iter__(self) -> Iterator[Site]:
        """The changed matrices, in the model's order."""
        return iter(self._order)

    def __len__(self) -> int:
        """How many matrices changed."""
        return len(self._order)


def moved_sites(
    before: StoredMatrices, after: StoredMatrices, sites: Sequence[Site]
) -> tuple[Site, ...]:
    """Matrices in which any weight differs; each is read up to the first that does.

    Raises:
        ModelError: A folder lacks a matrix, or has one of another shape or type.
    """
    return tuple(site for site in sites if _differs(before, after, site))


def half_types(stored: StoredMatrices, sites: Sequence[Site]) -> tuple[str, ...]:
    """16-bit number types in which matrices are stored: `bfloat16`, `float16`."""
    names = {"BF16": "bfloat16", "F16": "float16"}
    found = {stored.tensor_of(site).dtype for site in sites}
    return tuple(names[dtype] for dtype in HALF if dtype in found)


def _fits(stored: StoredTensor, site: Site) -> bool:
    rows = site.split.rows() if site.split is not None else range(site.num_rows)
    shape = stored.shape[::-1] if site.transposed else stored.shape
    if len(shape) != 2 or shape[1] != site.num_columns or rows[-1] >= shape[0]:
        return False
    return site.split is not None or tuple(shape) == site.shape


def _differs(before: StoredMatrices, after: StoredMatrices, site: Site) -> bool:
    return any(
        not torch.equal(old.double(), new.double())
        for _, old, new in _both(before, after, site)
    )


def _both(
    before: StoredMatrices, after: StoredMatrices, site: Site
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    for (rows, old), (_, new) in zip(
        before.blocks(site), after.blocks(site), strict=True
    ):
        yield rows, old, new


def _stretches(site: Site) -> Iterator[tuple[int, int]]:
    """First row and length of the consecutive rows of a module that are the site's."""
    if site.split is None:
        yield 0, site.num_rows
        return
    split = site.split
    for block in range(split.count):
        yield split.start + block * split.stride, split.length

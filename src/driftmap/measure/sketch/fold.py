"""How does a pass over samples become one short row per sample and tensor?

`Sketches` takes signals as they come and keeps what is short: a sketch of each
gradient, divided by the gradient's exact length, and the square of that length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.measure.sketch.folding import Folding, Sketched
from driftmap.measure.sketch.two_sided import TwoSided
from driftmap.results.sketches import SketchedSamples, SketchSettings
from driftmap.signals.assembled import (
    check_finite,
    noise_floor,
    squared_sums,
    stretches,
    values_of,
)
from driftmap.signals.gradients import TensorSignal, WholeGradients
from driftmap.stats.sketch_sizes import num_numbers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """What one signal left behind.

    Args:
        ids: Of the batch's samples.
        index: Number of each in its whole set.
        rows: Sketches of the gradients divided by their lengths.
        energy: Squared lengths.
    """

    ids: tuple[str, ...]
    index: tuple[int, ...]
    rows: Float32[np.ndarray, "sample number"]
    energy: Float64[np.ndarray, " sample"]


class Sketches:
    """Sketch every sample's gradients; `take` is what a pass gives its signals to.

    Memory: the tables, two bits per weight and two orders per tensor, one stretch of a
    gradient, and the rows themselves. Tables are kept from batch to batch.

    Args:
        tensors: Where; in the order of the result.
        settings: How.

    Raises:
        MeasureError: There is no tensor, or its number of weights is not known.
    """

    def __init__(
        self, tensors: Sequence[TensorPlace], settings: SketchSettings
    ) -> None:
        if not tensors:
            raise MeasureError("there is no tensor to sketch; choose at least one")
        self._tensors = tuple(tensors)
        self._settings = settings
        sizes = num_numbers(self._tensors, settings)
        self._sizes = {t.name: n for t, n in zip(self._tensors, sizes, strict=True)}
        self._seen: dict[str, list[_Seen]] = {t.name: [] for t in self._tensors}
        self._ways: dict[str, Callable[[TensorSignal], Sketched]] = {}

    @torch.no_grad()
    def take(self, signal: TensorSignal) -> None:
        """Sketch what a batch showed of one tensor.

        Raises:
            MeasureError: A gradient is not finite; names tensor and samples.
        """
        name = signal.tensor.name
        assert name in self._sizes, "only tensors that were announced come"
        count = len(signal.sample_ids)
        if not signal.pieces:  # an expert that no token of the batch visits
            rows = np.zeros((count, self._sizes[name]), np.float32)
            energy = np.zeros(count)
        else:
            rows, energy = _unit_rows(signal, self._way(signal)(signal))
        self._seen[name].append(
            _Seen(
                ids=signal.sample_ids,
                index=signal.sample_index,
                rows=rows,
                energy=energy,
            )
        )

    def result(self) -> SketchedSamples:
        """All samples, in the order of their numbers.

        Raises:
            MeasureError: No sample came, a tensor missed some, or a sample has no
                gradient in any tensor.
        """
        index = _numbers(self._seen[self._tensors[0].name])
        for tensor in self._tensors:
            others = _numbers(self._seen[tensor.name])
            if not np.array_equal(np.sort(index), np.sort(others)):
                raise MeasureError(
                    f"{tensor.name}: {len(others)} samples came, of "
                    f"{self._tensors[0].name} {len(index)}; sketch all tensors of all "
                    "samples"
                )
        if not len(index):
            raise MeasureError("no sample came to be sketched; give at least one")
        energies = np.stack([self._energy(t.name) for t in self._tensors], axis=1)
        ids = [name for seen in self._seen[self._tensors[0].name] for name in seen.ids]
        ids = [ids[place] for place in np.argsort(index, kind="stable")]
        _require_direction(ids, energies)
        return SketchedSamples(
            sample_ids=tuple(ids),
            tensors=self._tensors,
            rows=tuple(self._rows(t.name) for t in self._tensors),
            energies=energies,
            settings=self._settings,
        )

    def _way(self, signal: TensorSignal) -> Callable[[TensorSignal], Sketched]:
        name = signal.tensor.name
        if name not in self._ways:
            self._ways[name] = _choose(signal, self._sizes[name], self._settings)
        return self._ways[name]

    def _rows(self, name: str) -> Float32[np.ndarray, "sample number"]:
        seen = self._seen[name]
        rows = np.concatenate([one.rows for one in seen])
        return rows[np.argsort(_numbers(seen), kind="stable")]

    def _energy(self, name: str) -> Float64[np.ndarray, " sample"]:
        seen = self._seen[name]
        energy = np.concatenate([one.energy for one in seen])
        return energy[np.argsort(_numbers(seen), kind="stable")]


def _choose(
    signal: TensorSignal, size: int, settings: SketchSettings
) -> Callable[[TensorSignal], Sketched]:
    device = values_of(signal.pieces[0]).device
    is_whole = any(isinstance(piece, WholeGradients) for piece in signal.pieces)
    if signal.tensor.num_weights == size:
        return _kept_whole
    if settings.kind == "two-sided" and len(signal.shape) == 2 and not is_whole:
        rows, columns = signal.shape
        return TwoSided(
            signal.tensor,
            (rows, columns),
            size,
            seed=settings.seed,
            device=device,
        )
    return Folding(signal.tensor, size, settings.seed, device)


def _kept_whole(signal: TensorSignal) -> Sketched:
    values = torch.cat([stretch.values for stretch in stretches(signal)], dim=1)
    return Sketched(values=values, energy=squared_sums(values))


def _unit_rows(
    signal: TensorSignal, sketched: Sketched
) -> tuple[Float32[np.ndarray, "sample number"], Float64[np.ndarray, " sample"]]:
    """Rows over exact lengths; both 0 where only rounding noise is left."""
    check_finite(signal, sketched.energy)
    is_noise = sketched.energy <= noise_floor(signal)
    energy = sketched.energy.masked_fill(is_noise, 0)
    length = energy.sqrt().masked_fill(is_noise, torch.inf)
    rows = (sketched.values.double() / length[:, None]).float()
    return rows.cpu().numpy(), energy.cpu().numpy()


def _numbers(seen: Sequence[_Seen]) -> Int64[np.ndarray, " sample"]:
    return np.array([number for one in seen for number in one.index], dtype=np.int64)


def _require_direction(
    ids: Sequence[str], energies: Float64[np.ndarray, "sample tensor"]
) -> None:
    empty = [name for name, row in zip(ids, energies, strict=True) if not row.any()]
    if empty:
        raise MeasureError(
            f"the gradient of {empty} is zero in every tensor; are all of its tokens "
            "masked?"
        )

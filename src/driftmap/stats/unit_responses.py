"""Which units answer to the instruction, and do they on statements not seen before?

Units are ranked on training statements and tested on others, so that no choice leaks
into a p-value; what is tested is then corrected for how many are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtr
from scipy.stats import false_discovery_control

from driftmap.core.errors import MeasureError
from driftmap.results.honesty import UnitKind, UnitResponse
from driftmap.stats.intervals import t_interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UnitSums:
    """Differences of one layer's units, summed over training statements.

    Args:
        kind: Neurons or heads.
        layer: The block.
        num: Statements.
        total: Sum of differences.
        squares: Sum of their squared lengths.
    """

    kind: UnitKind
    layer: int
    num: int
    total: Float64[np.ndarray, "unit number"]
    squares: Float64[np.ndarray, " unit"]

    @property
    def effect(self) -> Float64[np.ndarray, " unit"]:
        """Mean difference over its spread between statements; 0 where nothing moves.

        A head's difference is a vector: its length over the root of its summed
        variances. Of a neuron the sign is kept.
        """
        mean = self.total / self.num
        length = np.linalg.norm(mean, axis=1)
        left = self.squares - self.num * length**2
        # Rounding leaves less than 1e-9 of a sum of squares where nothing varies.
        left = np.maximum(left, 1e-9 * self.squares)
        spread = np.sqrt(left / max(self.num - 1, 1))
        sizes = np.divide(length, spread, out=np.zeros_like(length), where=spread > 0)
        return sizes * np.sign(mean[:, 0]) if mean.shape[1] == 1 else sizes

    @property
    def direction(self) -> Float64[np.ndarray, "unit number"]:
        """Of length 1, along the mean difference; a neuron's is 1."""
        if self.total.shape[1] == 1:
            return np.ones_like(self.total)
        length = np.linalg.norm(self.total, axis=1, keepdims=True)
        return np.divide(
            self.total, length, out=np.zeros_like(self.total), where=length > 0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenUnit:
    """A unit that ranks high on training statements.

    Args:
        kind: Neuron or head.
        layer: The block.
        unit: Its number.
        effect: What it was ranked by.
    """

    kind: UnitKind
    layer: int
    unit: int
    effect: float


def top_units(sums: Sequence[UnitSums], num: int) -> tuple[ChosenUnit, ...]:
    """The units of each kind that differ most, largest effect first.

    Args:
        sums: Every layer's.
        num: Units of each kind (count).
    """
    found: list[ChosenUnit] = []
    for kind in ("neuron", "head"):
        some = [
            ChosenUnit(kind=one.kind, layer=one.layer, unit=int(unit), effect=float(e))
            for one in sums
            if one.kind == kind
            for unit, e in zip(*_largest(one.effect, num), strict=True)
        ]
        some.sort(key=lambda unit: (-abs(unit.effect), unit.layer, unit.unit))
        found += some[:num]
    return tuple(found)


def unit_tests(
    chosen: Sequence[ChosenUnit], held_out: Float64[np.ndarray, "unit statement"]
) -> tuple[UnitResponse, ...]:
    """Test chosen units on statements that did not choose them.

    Args:
        chosen: From `top_units`.
        held_out: Difference of each chosen unit on each test statement, of a head
            along its training direction.

    Returns:
        One per unit, in order, with Student's t interval and test over statements, and
        p-values corrected over all of them (Benjamini and Hochberg 1995).

    Raises:
        MeasureError: There are fewer than two test statements.
    """
    if held_out.shape[1] < 2:
        raise MeasureError(
            f"{held_out.shape[1]} test statements tell no chance from a response; give "
            "more statements"
        )
    num = held_out.shape[1]
    mean, spread = held_out.mean(1), held_out.std(1, ddof=1)
    moves = spread > 1e-12 * np.abs(mean)
    effect = np.divide(mean, spread, out=np.zeros_like(mean), where=moves)
    p = np.where(moves, 2 * stdtr(num - 1, -np.abs(effect) * num**0.5), 1.0)
    # A difference that is the same on every statement is no accident.
    p = np.where(~moves & (mean != 0), 0.0, p)
    adjusted = false_discovery_control(p) if len(p) else p
    responses = []
    for place, unit in enumerate(chosen):
        interval = t_interval(held_out[place], 0.95)
        assert interval is not None
        responses.append(
            UnitResponse(
                kind=unit.kind,
                layer=unit.layer,
                unit=unit.unit,
                train_effect=unit.effect,
                held_out=interval,
                held_out_effect=float(effect[place]),
                p_value=float(p[place]),
                p_adjusted=float(adjusted[place]),
            )
        )
    return tuple(responses)


def _largest(
    effects: Float64[np.ndarray, " unit"], num: int
) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-np.abs(effects), kind="stable")[:num]
    return order, effects[order]

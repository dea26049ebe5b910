"""Was drift read from something that hides, adds or rescales change?

Pure functions of measured numbers, as in `cautions`: None where one does not apply.
"""

from dataclasses import dataclass

from driftmap.results.statistics import Caution

_SPACING = {"bfloat16": 2**-8, "float16": 2**-11}
"""Distance of neighbouring numbers just above 1; half of it is lost in rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSizes:
    """How large changes and weights are where groups lie.

    Args:
        zero_share: Share of the changes that are exactly zero.
        mean_change: Mean |dW| of the others; 0 where there is none.
        mean_weight: Mean |W0|.
    """

    zero_share: float
    mean_change: float
    mean_weight: float


def rounded_weights(dtypes: tuple[str, ...], sizes: ChangeSizes) -> Caution | None:
    """Drift is a difference of weights that were rounded to 16 bits when saved.

    Args:
        dtypes: 16-bit number types in which tuned matrices were saved.
        sizes: What was measured of the changes.
    """
    if not dtypes:
        return None
    spacing = max(_SPACING[dtype] for dtype in dtypes)
    lost = spacing / 2 * sizes.mean_weight
    return Caution(
        name="rounded-weights",
        sentence=(
            f"Drift is read from weights saved in {' and '.join(dtypes)}, where a "
            f"change below half a spacing vanishes: {lost:.2g} at the mean |W0| of "
            f"{sizes.mean_weight:.2g}. Of the changes {sizes.zero_share:.1%} are "
            f"exactly zero, and the others are {sizes.mean_change:.2g} in the mean. "
            "Large weights lose most, so ratios compare sizes of weights. Read drift "
            "from the adapter, or from checkpoints saved in float32."
        ),
        value=sizes.zero_share,
        is_blocking=True,
    )


def whole_matrices(num_whole: int, num_tuned: int) -> Caution | None:
    """Drift is a difference of saved matrices, and not read from factors.

    Args:
        num_whole: Tuned matrices that were saved whole.
        num_tuned: All tuned matrices.
    """
    if num_whole == 0:
        return None
    return Caution(
        name="whole-models" if num_whole == num_tuned else "whole-matrices",
        sentence=(
            f"{num_whole:,} of {num_tuned:,} tuned matrices were saved whole: their "
            "drift is the difference of two files, and no finer than the numbers in "
            "them. Matrices in which nothing differs count as not tuned."
        ),
        value=float(num_whole),
        is_blocking=False,
    )


def dora(num_dora: int, num_tuned: int, num_open: int, dtype: str) -> Caution | None:
    """Matrices were tuned with DoRA, which rescales rows of the loaded weights.

    Args:
        num_dora: Tuned matrices with DoRA.
        num_tuned: All tuned matrices.
        num_open: Those with DoRA whose lengths before training were not kept.
        dtype: Number type that the model was loaded in.
    """
    if num_dora == 0:
        return None
    text = (
        f"{num_dora:,} of {num_tuned:,} tuned matrices have DoRA: their change is "
        f"g (W + sBA) - W, taken from W as it is loaded ({dtype}), so a row that grew "
        "or shrank drifts in all of its weights."
    )
    if num_open:
        rounding = _SPACING[dtype] / 2 if dtype in _SPACING else 2**-24
        text += (
            f" For {num_open:,} of them the adapter from before training was not "
            f"given, so the rounding of a row's length, up to {rounding:.2g} of each "
            "weight, counts as drift: put it beside the others as checkpoint-0."
        )
    return Caution(
        name="dora",
        sentence=text,
        value=float(num_dora),
        is_blocking=num_open > 0 and dtype in _SPACING,
    )


def quantised_base(kind: str) -> Caution | None:
    """The weights under the adapter are rounded to a few levels.

    Args:
        kind: How they are kept, such as `nf4`; empty where they are not.
    """
    if not kind:
        return None
    return Caution(
        name="quantised-base",
        sentence=(
            f"The weights under the adapter are rounded to 4 bits ({kind}). Absolute "
            "change comes from the adapter's factors and is exact; |W0|, by which "
            "weights are matched and relative change divides, and directions use the "
            "rounded weight, which is what the model computes with. Weights are scored "
            "before they are rounded. Nothing is read from a merged model, which would "
            "be rounded again."
        ),
        value=1.0,
        is_blocking=False,
    )

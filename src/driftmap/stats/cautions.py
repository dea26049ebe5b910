"""When must a number be read with care, and what exactly is the matter?

Each caution is a pure function of measured numbers: None where it does not
apply, otherwise a sentence that holds the measured value.
"""

from collections.abc import Iterable, Mapping

from driftmap.core.units import format_count
from driftmap.results.statistics import Caution, LeftOut
from driftmap.stats.many_tests import needed_permutations
from driftmap.stats.verdict import MIN_SEEDS


def applying(cautions: Iterable[Caution | None]) -> tuple[Caution, ...]:
    """Keep the cautions that apply."""
    return tuple(caution for caution in cautions if caution is not None)


def relative_change(
    group: str, baseline: str, median_group: float, median_baseline: float
) -> Caution | None:
    """Relative drift is compared between groups of different weight size.

    Args:
        group: Name of a group.
        baseline: Name of what its relative drift is compared with.
        median_group: Median |W0| of the group.
        median_baseline: Median |W0| of the baseline.
    """
    smaller = min(median_group, median_baseline)
    larger = max(median_group, median_baseline)
    if larger <= 1.1 * smaller:
        return None
    still = group if median_group > median_baseline else baseline
    return Caution(
        name="relative-change",
        sentence=(
            f"Relative change of {group} and {baseline} is not comparable: median "
            f"|W0| is {median_group:.3g} and {median_baseline:.3g}, and dividing by "
            f"|W0| makes {still} look still."
        ),
        value=1 - smaller / larger,
        is_blocking=False,
    )


def low_precision(compared_dtype: str, zero_share: float) -> Caution | None:
    """Drift was read from weights stored in 16 bits.

    Args:
        compared_dtype: Type of the two states that were subtracted; `float64`
            where drift comes from an adapter's factors.
        zero_share: Share of compared weights whose drift is exactly zero.
    """
    if compared_dtype not in ("bfloat16", "float16"):
        return None
    return Caution(
        name="low-precision",
        sentence=(
            f"Drift was read from {compared_dtype} weights, where changes below half "
            f"a spacing vanish: {zero_share:.1%} of the drifts are exactly zero. "
            "Compute it from the adapter's factors or from float32 weights."
        ),
        value=zero_share,
        is_blocking=True,
    )


def structural_zeros(group: str, immobile_share: float) -> Caution | None:
    """Part of a group lies where training could not change anything.

    Args:
        group: Its name.
        immobile_share: Share of its weights in matrices that were not tuned.
    """
    if immobile_share <= 0:
        return None
    return Caution(
        name="structural-zeros",
        sentence=(
            f"{immobile_share:.1%} of {group} lies where nothing was tuned: zero by "
            "construction. Statistics use the other weights; medians over all of "
            "them mean nothing."
        ),
        value=immobile_share,
        is_blocking=False,
    )


def module_mix(
    group: str,
    baseline: str,
    num_in_group: Mapping[str, int],
    num_in_baseline: Mapping[str, int],
) -> Caution | None:
    """Two groups are spread differently over the modules.

    Args:
        group: Name of a group.
        baseline: Name of what its mean is compared with.
        num_in_group: Weights of the group per module.
        num_in_baseline: Weights of the baseline per module.
    """
    all_group = max(1, sum(num_in_group.values()))
    all_baseline = max(1, sum(num_in_baseline.values()))
    distance = 0.5 * sum(
        abs(
            num_in_group.get(m, 0) / all_group
            - num_in_baseline.get(m, 0) / all_baseline
        )
        for m in num_in_group.keys() | num_in_baseline.keys()
    )
    if distance <= 0.1:
        return None
    return Caution(
        name="module-mix",
        sentence=(
            f"{group} and {baseline} lie in different modules (total variation "
            f"{distance:.2f}): their pooled means compare modules, not groups. Read "
            "them part by part."
        ),
        value=distance,
        is_blocking=False,
    )


def low_ceiling(group: str, ceiling: float | None, num_samples: int) -> Caution | None:
    """A group's overlap is shown without knowing how reproducible the group is.

    Args:
        group: Its name.
        ceiling: Jaccard of the same rule on disjoint halves of the samples; None
            where it was not measured.
        num_samples: N per half.
    """
    if ceiling is not None and ceiling >= 0.5:
        return None
    found = (
        f"no ceiling was measured at {num_samples} samples"
        if ceiling is None
        else f"halves of {num_samples} samples agree on {ceiling:.2f} (Jaccard)"
    )
    return Caution(
        name="low-ceiling",
        sentence=f"{group} is not shown to be reproducible: {found}.",
        value=0.0 if ceiling is None else ceiling,
        is_blocking=False,
    )


def few_seeds(num_seeds: int) -> Caution | None:
    """Too few training seeds to tell drift from luck.

    Args:
        num_seeds: Training seeds.
    """
    if num_seeds >= MIN_SEEDS:
        return None
    return Caution(
        name="few-seeds",
        sentence=(
            f"Effect sizes only: {num_seeds} of at least {MIN_SEEDS} training seeds, "
            "so the verdict is inconclusive."
        ),
        value=float(num_seeds),
        is_blocking=True,
    )


def few_weights(group: str, num_weights: int, num_matrices: int) -> Caution | None:
    """So few weights per matrix that a mean of log ratios reads low by chance.

    By Jensen's inequality it does so by half the variance of a log ratio: with
    drift of rank 4 and strong clusters 57 weights per matrix read .96 and 11
    read .86 where nothing differs.

    Args:
        group: Its name.
        num_weights: Its weights that are compared, over all matrices.
        num_matrices: Matrices that hold them.
    """
    per_matrix = num_weights / max(1, num_matrices)
    if per_matrix >= 50:
        return None
    return Caution(
        name="few-weights",
        sentence=(
            f"{group} has {per_matrix:.0f} weights per matrix: the mean log ratio of "
            "so few reads below 1 where nothing differs. Read it beside the "
            "permutation null, which does not."
        ),
        value=per_matrix,
        is_blocking=False,
    )


def few_permutations(num_tests: int, num_permutations: int) -> Caution | None:
    """So few draws that no corrected test could reach 5 %.

    Args:
        num_tests: Tests that are corrected together.
        num_permutations: B.
    """
    needed = needed_permutations(num_tests)
    if num_permutations >= needed:
        return None
    return Caution(
        name="few-permutations",
        sentence=(
            f"{format_count(num_permutations)} permutations are too few for "
            f"{num_tests} corrected tests: a single one cannot reach 5 % below "
            f"{format_count(needed)}."
        ),
        value=float(num_permutations),
        is_blocking=False,
    )


def shared_samples(num_shared: int) -> Caution | None:
    """Samples that scored the weights also judge the behaviour.

    Args:
        num_shared: Samples in both sets.
    """
    if num_shared == 0:
        return None
    return Caution(
        name="shared-samples",
        sentence=(
            f"{format_count(num_shared)} samples serve both scoring and evaluation: "
            "the behaviour's change is measured on what chose the weights."
        ),
        value=float(num_shared),
        is_blocking=False,
    )


def quantised_base(num_matrices: int) -> Caution | None:
    """Weights were stored in 4 or 8 bits.

    Args:
        num_matrices: Matrices stored so.
    """
    if num_matrices == 0:
        return None
    return Caution(
        name="quantised-base",
        sentence=(
            f"{format_count(num_matrices)} matrices are stored in 4 or 8 bits: |W0| "
            "and relative change use their dequantised weights; absolute change "
            "comes from the adapter and is exact."
        ),
        value=float(num_matrices),
        is_blocking=False,
    )


def dropped_bins(group: str, left_out: LeftOut) -> Caution | None:
    """Some weights of a group have no control of their own size.

    Args:
        group: Its name.
        left_out: What its ratio does not speak of.
    """
    if left_out.num_bins == 0:
        return None
    num_weights = left_out.num_weights - left_out.num_immobile
    return Caution(
        name="dropped-bins",
        sentence=(
            f"{format_count(num_weights)} weights of {group}, in "
            f"{format_count(left_out.num_bins)} bins of |W0|, have no control weight "
            "of their size: they are left out of the ratio."
        ),
        value=float(left_out.num_bins),
        is_blocking=False,
    )


def tiny_weights(num_tiny: int) -> Caution | None:
    """Some weights are too small to divide by.

    Args:
        num_tiny: Weights with |W0| <= 1e-8.
    """
    if num_tiny == 0:
        return None
    return Caution(
        name="tiny-weights",
        sentence=(
            f"{format_count(num_tiny)} weights with |W0| <= 1e-8 are left out of "
            "relative change."
        ),
        value=float(num_tiny),
        is_blocking=False,
    )

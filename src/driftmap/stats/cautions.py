"""When must a number be read with care, and what exactly is the matter?

Each caution is a pure function of measured numbers: None where it does not
apply, otherwise a sentence that holds the measured value.
"""

import math
from collections.abc import Iterable, Mapping

from driftmap.core.units import format_count
from driftmap.results.freezing import FreezingWay
from driftmap.results.statistics import Caution, LeftOut
from driftmap.stats.many_tests import needed_permutations
from driftmap.stats.verdict import MIN_SEEDS

_HELD: dict[FreezingWay, str] = {
    "element": "was frozen",
    "rows": "was frozen, or lies in a row that was frozen with others",
    "columns": "was frozen, or lies in a column that was frozen with others",
    "rewind": "was rewound, which is to say put back after free training",
}
"""What befell weights, by the way in which they were kept."""


def applying(cautions: Iterable[Caution | None]) -> tuple[Caution, ...]:
    """Keep the cautions that apply."""
    return tuple(caution for caution in cautions if caution is not None)


def trial_run(is_trial: bool) -> Caution | None:
    """Samples and steps were capped, to see whether a study works at all.

    Args:
        is_trial: Whether the run was asked for as a trial.
    """
    if not is_trial:
        return None
    return Caution(
        name="trial",
        sentence=(
            "This is a trial run (`--quick`): samples, prompts and training steps are "
            "capped. It shows that the study works, not what is true."
        ),
        value=1.0,
        is_blocking=True,
    )


def relative_change(
    group: str, median: float, baselines: Mapping[str, float]
) -> Caution | None:
    """Relative drift is compared between groups of different weight size.

    Args:
        group: Name of a group.
        median: Median |W0| of its weights.
        baselines: The same of every group that it is compared with.
    """
    gaps = {name: _gap(median, other) for name, other in baselines.items()}
    odd = [name for name, gap in gaps.items() if gap > 1 - 1 / 1.1]
    if not odd:
        return None
    others = _listed(f"{baselines[name]:.3g} in {name}" for name in odd)
    return Caution(
        name="relative-change",
        sentence=(
            f"Relative change of {group} is not comparable with that of "
            f"{_listed(odd)}: median |W0| is {median:.3g} in {group}, {others}, and "
            "dividing by |W0| makes larger weights look still."
        ),
        value=max(gaps.values()),
        is_blocking=False,
    )


def half_precision(dtype: str) -> Caution | None:
    """The model is held in 16 bits, and so are the weights that drift refers to.

    Args:
        dtype: Number type that the model was loaded in.
    """
    spacing = {"bfloat16": 2**-8, "float16": 2**-11}.get(dtype)
    if spacing is None:
        return None
    return Caution(
        name="half-precision",
        sentence=(
            f"The model is held in {dtype}, which rounds a weight by up to "
            f"{spacing:.2g} of itself: |W0|, by which weights are matched and relative "
            "change divides, is no finer. Drift from an adapter's own factors is."
        ),
        value=spacing,
        is_blocking=False,
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


def kept_weights(group: str, share: float, way: FreezingWay | None) -> Caution | None:
    """Part of a group was kept from moving.

    Args:
        group: Its name.
        share: Share of its weights that were kept, frozen or blocked.
        way: How; None where all weights might move.
    """
    if way is None or share <= 0:
        return None
    return Caution(
        name="kept-weights",
        sentence=(
            f"{share:.1%} of {group} {_HELD[way]}: zero by construction. Statistics "
            "use the other weights, and no weight that was kept from moving is a "
            "control."
        ),
        value=share,
        is_blocking=False,
    )


def module_mix(
    group: str,
    num_in_group: Mapping[str, int],
    baselines: Mapping[str, Mapping[str, int]],
) -> Caution | None:
    """A group is spread differently over the modules than what it is compared with.

    Args:
        group: Its name.
        num_in_group: Its weights per module.
        baselines: Weights per module of every group that it is compared with.
    """
    distances = {
        name: _total_variation(num_in_group, counts)
        for name, counts in baselines.items()
    }
    odd = [name for name, distance in distances.items() if distance > 0.1]
    if not odd:
        return None
    found = _listed(f"{name} ({distances[name]:.2f})" for name in odd)
    return Caution(
        name="module-mix",
        sentence=(
            f"{group} lies in other modules than {found}; in brackets is the total "
            "variation. Their pooled means compare modules, not groups: read them "
            "part by part."
        ),
        value=max(distances.values()),
        is_blocking=False,
    )


def low_ceiling(group: str, ceiling: float | None, num_samples: int) -> Caution | None:
    """A group's overlap is shown without knowing how reproducible the group is.

    Args:
        group: Its name.
        ceiling: Jaccard of the same rule on disjoint halves of the samples; None
            where it was not measured.
        num_samples: N per half; 0 where the group was not chosen from samples here.
    """
    if ceiling is not None and ceiling >= 0.5:
        return None
    if ceiling is not None:
        found = f"halves of {num_samples} samples agree on {ceiling:.2f} (Jaccard)"
    elif num_samples:
        found = f"no ceiling was measured at {num_samples} samples"
    else:
        found = "it was chosen elsewhere, and no ceiling was measured"
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


def few_weights(
    group: str, log_bias: float, num_weights: int, num_matrices: int
) -> Caution | None:
    """Ratios in single matrices are so noisy that their logs needed correction.

    The mean of logs lies below the log of the mean (Jensen): at 50 clustered weights
    per matrix the plain mean log ratio reads .93 where nothing differs, at 10 .84.

    Args:
        group: Its name.
        log_bias: What was taken out of its mean log ratio.
        num_weights: Its weights that are compared, over all matrices.
        num_matrices: Matrices that hold them.
    """
    correction = 1 - math.exp(log_bias)
    if correction < 0.05:
        return None
    return Caution(
        name="few-weights",
        sentence=(
            f"The weights of {group}, {num_weights / max(1, num_matrices):.0f} per "
            f"matrix, are so few or so clustered that its ratio would read "
            f"{correction:.0%} low by chance; that much is taken out of it."
        ),
        value=correction,
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
    """Samples that were scored or learnt also judge the behaviour.

    Args:
        num_shared: Evaluated samples that have another use as well.
    """
    if num_shared == 0:
        return None
    return Caution(
        name="shared-samples",
        sentence=(
            f"{format_count(num_shared)} evaluated samples were scored or tuned on "
            "too: the behaviour's change is measured on what chose or moved the "
            "weights."
        ),
        value=float(num_shared),
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
            f"Left out of the ratio of {group}: {_counted(num_weights, 'weight')} in "
            f"{_counted(left_out.num_bins, 'bin')} of |W0| without a control weight."
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


def _gap(one: float, other: float) -> float:
    smaller, larger = sorted((one, other))
    return 1 - smaller / larger if larger > 0 else 0.0


def _total_variation(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    all_one, all_other = sum(one.values()), sum(other.values())
    if not all_one or not all_other:
        return 0.0
    return 0.5 * sum(
        abs(one.get(name, 0) / all_one - other.get(name, 0) / all_other)
        for name in one.keys() | other.keys()
    )


def _counted(number: int, noun: str) -> str:
    return f"{format_count(number)} {noun}{'s' * (number != 1)}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

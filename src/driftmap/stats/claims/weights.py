"""What may a comparison say about which weights moved?

Most of it is exact: weights differ or do not. What that means for behaviour is another
question, and only given groups are tested, against weights of their own size.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.core.places import PARTS, Part
from driftmap.results.claims import Claim, Standing
from driftmap.results.statistics import GroupRatio
from driftmap.results.weight_changes import ChangedMatrix, WeightChanges

LEVEL = 0.05
"""p-value, corrected for all groups and places, below which a group stands out."""

UNMOVED: tuple[tuple[Part, str], ...] = (
    ("embed", "embeddings"),
    ("norm", "norms"),
    ("bias", "biases"),
    ("head", "the head"),
)
"""Parts of a model outside the matrices of its blocks, and what they are called."""


def weights_claims(found: WeightChanges) -> tuple[Claim, ...]:
    """Say what moved, how far, in how many directions, and which groups stand out.

    Args:
        found: What was measured of the two models' weights.
    """
    if found.is_nothing and found.num_unmeasured:
        says = (
            "Nothing that could be measured moved; "
            f"{found.num_unmeasured:,} modules or tensors cannot be without the base."
        )
        return (Claim(topic="weights", says=says, standing="inconclusive"),)
    if found.is_nothing:
        equal = f"all {found.num_tensors:,} tensors" if found.num_tensors else "they"
        says = f"Nothing moved: {equal} are equal in every entry."
        return (Claim(topic="weights", says=says, standing="not-found"),)
    return (
        _confined(found),
        *_far(found),
        *_directions(found),
        *_experts(found),
        *_groups(found.groups),
    )


def layers_of_half(found: WeightChanges) -> tuple[int, ...]:
    """The fewest layers that hold half of |dW|^2 of all matrices, ascending."""
    squares: dict[int, float] = {}
    for cell in found.cells:
        squares[cell.layer] = squares.get(cell.layer, 0.0) + cell.length**2
    half, held, chosen = sum(squares.values()) / 2, 0.0, []
    for layer in sorted(squares, key=lambda layer: (-squares[layer], layer)):
        if held >= half * (1 - 1e-12):
            break
        held += squares[layer]
        chosen.append(layer)
    return tuple(sorted(chosen))


def confined_to(found: WeightChanges) -> str:
    """Where all that differs lies, in words: parts, layers, what else."""
    layers = sorted({one.layer for one in found.matrices})
    parts = {one.part for one in found.matrices if one.expert is None}
    names = sorted((str(part) for part in parts), key=lambda p: PARTS.index(_part(p)))
    if any(one.expert is not None for one in found.matrices):
        names.append("experts")
    num_layers = len({cell.layer for cell in found.cells})
    places = []
    if layers:
        where = f"{_layers(layers)} of {num_layers}"
        if not _is_base_known(found):
            where = _layers(layers)
        elif len(layers) == num_layers:
            where = "all layers"
        places.append(f"{_listed(names)} of {where}")
    others = {one.part for one in found.others}
    places += [name for part, name in UNMOVED if part in others]
    if "block" in others:
        places.append("tensors whose names do not tell what they are")
    return _listed(places)


def _confined(found: WeightChanges) -> Claim:
    counted = ""
    if found.num_tensors:
        num_changed = found.num_tensors - found.num_equal
        counted = (
            f"{num_changed:,} of {found.num_tensors:,} tensors differ, with "
            f"{100 * found.num_open / found.num_weights:.3g} % of the entries; "
        )
    others = {one.part for one in found.others}
    equal = [name for part, name in UNMOVED if part not in others]
    still = (
        f"; {_listed(equal)} are as they were" if found.num_tensors and equal else ""
    )
    says = f"{counted}the change is confined to {confined_to(found)}{still}."
    if found.num_unmeasured:
        says = (
            f"What could be measured of the change lies in {confined_to(found)}; "
            "modules or tensors that cannot be measured without the base: "
            f"{found.num_unmeasured:,}."
        )
    return _context(says[0].upper() + says[1:])


def _far(found: WeightChanges) -> Iterator[Claim]:
    if not found.matrices:
        return
    layers = layers_of_half(found)
    num_layers = len({cell.layer for cell in found.cells})
    length = sum(cell.length**2 for cell in found.cells) ** 0.5
    ratio, tuned = "", "" if _is_base_known(found) else "tuned "
    if _is_base_known(found):
        size = sum((cell.size or 0.0) ** 2 for cell in found.cells) ** 0.5
        ratio = f", {100 * length / size:.3g} % of |W|" if size else ""
    yield _context(
        f"|dW| over all matrices is {length:.3g}{ratio}; half of its square lies in "
        f"{len(layers)} of {num_layers} {tuned}layers ({_layers(layers)}). How far "
        "weights moved does not tell how much that matters.",
        layers,
    )


def _directions(found: WeightChanges) -> Iterator[Claim]:
    spectra = [one.spectrum for one in found.matrices if one.spectrum is not None]
    if not spectra:
        return
    own = np.array([one.effective_rank for one in spectra])
    chance = np.array([one.chance_effective_rank for one in spectra])
    most = np.array([one.num_directions for one in spectra])
    yield _context(
        f"The change of a matrix has an effective rank of {np.median(own):.3g} of at "
        f"most {np.median(most):.0f} (median of {len(spectra)}; quartiles "
        f"{np.quantile(own, 0.25):.3g} to {np.quantile(own, 0.75):.3g}), a random one "
        f"of the same shape, rank and length {np.median(chance):.3g}."
    )


def _experts(found: WeightChanges) -> Iterator[Claim]:
    if not found.banks:
        return
    moved = sum(int(np.count_nonzero(bank.lengths)) for bank in found.banks)
    num = sum(bank.lengths.size for bank in found.banks)
    rows = sum(int(np.count_nonzero(bank.router_lengths)) for bank in found.banks)
    of = sum(bank.router_lengths.size for bank in found.banks)
    routers = f", and {rows:,} of {of:,} rows of the routers" if of else ""
    yield _context(f"{moved:,} of {num:,} experts moved{routers}.")


def _groups(groups: Sequence[GroupRatio]) -> Iterator[Claim]:
    for ratio in groups:
        p = ratio.p_adjusted
        if ratio.layer is not None or ratio.part is not None or p is None:
            continue  # controls stand for others, and are not tested
        stands_out = p < LEVEL
        standing: Standing = "found" if stands_out else "inconclusive"
        more = "more" if ratio.rho > 1 else "less"
        verdict = (
            f"it moved {more} than they did"
            if stands_out
            else "chance alone gives as much"
        )
        yield Claim(
            topic="weights",
            says=f"Group `{ratio.group}` ({ratio.num_weights:,} weights) moved "
            f"{ratio.rho:.2f} times as far as weights of its own size in its own "
            f"matrices (corrected p {p:.2g}, {ratio.num_permutations:,} draws): "
            f"{verdict}.",
            standing=standing,
        )


def largest(matrices: Sequence[ChangedMatrix], most: int) -> list[ChangedMatrix]:
    """Matrices that moved most for their size; by |dW| where |W| is not known."""
    known = all(one.relative is not None for one in matrices)
    return sorted(
        matrices, key=lambda one: -((one.relative if known else one.length) or 0.0)
    )[:most]


def _is_base_known(found: WeightChanges) -> bool:
    """Without the base, nothing is known of layers that were left alone."""
    return all(cell.size is not None for cell in found.cells)


def _context(says: str, layers: tuple[int, ...] = ()) -> Claim:
    return Claim(topic="weights", says=says, standing="context", layers=layers)


def _part(name: str) -> Part:
    return next(part for part in PARTS if part == name)


def _layers(layers: Sequence[int]) -> str:
    word = "layer" if len(layers) == 1 else "layers"
    return f"{word} {_listed(_runs(layers))}"


def _runs(layers: Sequence[int]) -> list[str]:
    """Neighbouring layers together: `0 to 3`.

    >>> _runs([0, 1, 2, 5])
    ['0 to 2', '5']
    """
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][-1] == layer - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]


def _listed(names: Sequence[str]) -> str:
    """Names as running text: `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"

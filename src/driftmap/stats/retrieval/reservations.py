"""What must a reader of a set's figures know before quoting them?"""

from collections.abc import Iterator, Sequence

from driftmap.results.oddities import EnergyShares
from driftmap.results.retrieval import HeldOut, Preselection
from driftmap.results.retrieval_reading import Reading
from driftmap.results.statistics import Caution

_FEW_IDS, _FEW_HEARD, _MANY_SATURATED = 30, 3.0, 0.5


def reservations(
    preselection: Preselection,
    readings: Sequence[Reading],
    energy: EnergyShares,
    best: HeldOut | None,
    num_ids: int,
) -> tuple[Caution, ...]:
    """List what limits a set's figures.

    Args:
        preselection: Its candidates.
        readings: Of all units.
        energy: Which tensors hold the gradient.
        best: The best tensor; None where ids cannot be halved.
        num_ids: Different originals behind its queries.
    """
    tensors = [r for r in readings if r.unit.kind == "tensor"]
    return (
        *_of_ids(num_ids, best),
        *_of_lists(preselection),
        *_of_energy(energy),
        *_of_tensors(tensors),
    )


def _of_ids(num_ids: int, best: HeldOut | None) -> Iterator[Caution]:
    if num_ids < _FEW_IDS:
        yield _caution(
            "few-ids",
            f"There are {num_ids} different originals behind the queries: intervals "
            "are wide, and narrower than they should be.",
            num_ids,
        )
    if best is None:
        yield _caution(
            "no-halves",
            "There are too few originals to choose on some and report on others: no "
            "best tensor, selection or learnt weights are given.",
            num_ids,
        )


def _of_lists(lists: Preselection) -> Iterator[Caution]:
    if lists.title.endswith("always present"):
        yield _caution(
            "forced-truth",
            "Every list holds the truth because it was put there: accuracy says how "
            "lists are ordered, not how well a truth is found.",
            len(lists.forced),
        )
    elif lists.missing:
        yield _caution(
            "missing-truth",
            f"{len(lists.missing)} queries have no right original among their "
            "candidates; they count as wrong.",
            len(lists.missing),
        )


def _of_energy(energy: EnergyShares) -> Iterator[Caution]:
    heard = min(energy.num_heard_queries, energy.num_heard_originals)
    if len(energy.tensors) > _FEW_HEARD > heard:
        yield _caution(
            "few-heard",
            f"The full cosine listens to about {heard:.1f} of {len(energy.tensors)} "
            "tensors, because they hold most of the energy.",
            heard,
        )


def _of_tensors(tensors: Sequence[Reading]) -> Iterator[Caution]:
    saturated = sum(r.accuracy.value.estimate == 1 for r in tensors)
    if len(tensors) > 1 and saturated > _MANY_SATURATED * len(tensors):
        yield _caution(
            "saturated",
            f"{saturated} of {len(tensors)} tensors have every query right: accuracy "
            "cannot tell them apart; read margin and, in the all-pairs view, AUC.",
            saturated,
        )
    silent = [r for r in tensors if r.num_without_direction]
    if silent:
        yield _caution(
            "no-direction",
            f"In {len(silent)} tensors some queries have no gradient; their candidates "
            "all tie there.",
            len(silent),
        )


def _caution(name: str, sentence: str, value: float) -> Caution:
    return Caution(name=name, sentence=sentence, value=float(value), is_blocking=False)

"""Which tensor is best, and how good is it where it was not chosen?"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.retrieval import HeldOut, RetrievalSettings, Weighting
from driftmap.results.retrieval_reading import FULL, Score
from driftmap.stats.retrieval.contrasts import contrasts
from driftmap.stats.retrieval.figures import Figures, scores
from driftmap.stats.retrieval.lineup import Lineup
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.reading import Readings
from driftmap.stats.retrieval.resampling import (
    Resamples,
    draw_resamples,
    reported_ids,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Halves:
    """Queries that choices are made on, and those that they are reported on.

    Args:
        chosen: On these; all where nothing is held out.
        reported: On those; all likewise.
        resamples: Of the ids that are reported on.
    """

    chosen: Bool[np.ndarray, " query"]
    reported: Bool[np.ndarray, " query"]
    resamples: Resamples


def halve(
    pairs: SetPairs,
    truths: Int64[np.ndarray, " class"],
    settings: RetrievalSettings,
    seed: int,
) -> Halves | None:
    """Split a set's queries by id, the same way in every set.

    Args:
        pairs: One set.
        truths: Classes of originals that are a truth in any set, each once.
        settings: Share that is held out.
        seed: The run's seed.

    Returns:
        None where one side would hold no query.
    """
    everything = np.ones(pairs.num_queries, dtype=bool)
    chosen = reported = everything
    if settings.holdout:
        held_out = reported_ids(truths, settings.holdout, seed)
        reported = np.isin(pairs.same[pairs.original], list(held_out))
        chosen = ~reported
    if not chosen.any() or not reported.any():
        return None
    ids = np.unique(pairs.ids[reported], return_inverse=True)[1].astype(np.int64)
    drawn = draw_resamples(ids, settings.num_resamples, settings.level, seed)
    return Halves(chosen=chosen, reported=reported, resamples=drawn)


def best_tensor(
    lineup: Lineup, figures: Figures, halves: Halves, settings: RetrievalSettings
) -> HeldOut:
    """Choose the tensor of highest accuracy on one half, report it on the other.

    Args:
        lineup: Which row is which.
        figures: Of all rows.
        halves: Of the set.
        settings: How ties between tensors are broken.
    """
    tensors = np.array(lineup.tensors)
    reached = figures.hit[tensors][:, halves.chosen].mean(axis=1)
    tied = np.flatnonzero(reached >= reached.max() - _SAME)
    best = int(tied[0])
    if settings.step_ties == "margin":
        best = int(tied[np.argmax(_margins(figures.margin[tied][:, halves.chosen]))])
    hits = figures.hit[:, halves.reported]
    against = [(FULL, lineup.full), *lineup.baselines]
    unit = next(u for u, row in lineup.units if u.kind == "tensor" and row == best)
    return HeldOut(
        unit=unit,
        num_tied=tied.size,
        chosen_on=float(reached[best]),
        reported_on=reported_score(figures, halves, best),
        full=reported_score(figures, halves, lineup.full),
        against=tuple(
            contrasts(hits[[best]], hits[row], name, halves.resamples)[0]
            for name, row in against
        ),
    )


def reported_score(figures: Figures, halves: Halves, row: int) -> Score:
    """Accuracy of one row on the reported half."""
    expected = figures.chance_of(row).accuracy[halves.reported]
    (score,) = scores(
        halves.resamples, figures.hit[[row]][:, halves.reported], [expected]
    )
    return score


def read_weightings(
    lineup: Lineup, figures: Figures, halves: Halves | None, readings: Readings
) -> tuple[Weighting, ...]:
    """Read all tensors under each weighting.

    Args:
        lineup: Which row is which.
        figures: Of all rows.
        halves: Of the set; None where it cannot be halved.
        readings: Of the set.
    """
    full = lineup.units[0][0]
    found: list[Weighting] = []
    for name, row in lineup.weightings.items():
        unit = replace(full, kind="weighting", name=name)
        hides = name == "learnt" and halves is not None and not halves.chosen.all()
        weights = lineup.weights.get(name)
        found.append(
            Weighting(
                name=name,
                is_cosine=weights is not None,
                reading=None if hides else readings.read(unit, row),
                reported_on=halves and reported_score(figures, halves, row),
                weights=() if weights is None else _shares(weights),
            )
        )
    return tuple(found)


def _margins(margins: Float64[np.ndarray, "row query"]) -> Float64[np.ndarray, " row"]:
    """Mean of the margins that there are; -inf without any."""
    known = ~np.isnan(margins)
    counted = known.sum(axis=1)
    total = np.nansum(margins, axis=1)
    return np.where(counted > 0, total / np.maximum(counted, 1), -np.inf)


def _shares(weights: Float64[np.ndarray, " tensor"]) -> tuple[float, ...]:
    total = weights.sum()
    return tuple((weights / total if total else weights).tolist())


_SAME = 1e-12

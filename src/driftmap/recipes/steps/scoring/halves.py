"""How are all weights of a model scored on samples, within the memory there is?"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from driftmap.capture.stream import run_folds
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.core.scratch import scratch_folder
from driftmap.core.units import format_bytes
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.scoring.kinds import FromSamples, FromWeights, Measure
from driftmap.recipes.steps.scoring.passes import (
    Floats,
    Passes,
    Spill,
    plan_waiting,
    plan_whole,
)
from driftmap.recipes.steps.scoring.units import UnitsBeside
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold, SiteSignal
from driftmap.signals.scores import FixedScores, HalfScores, Join, MatrixScores
from driftmap.store.scores import ScoreHalves, growing_halves, open_halves

Data = Sequence[Sequence[EncodedSample]]
OfMatrix = tuple[Site, tuple[MatrixScores, ...]]

_Sums = dict[Site, Any]
_Take = Callable[[Site], HalfScores]


def whole_scores(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    scoring: ScoringOptions,
    measure: Measure,
    beside: UnitsBeside | None = None,
) -> Iterator[dict[Site, Tensor]]:
    """Score every weight, as many matrices at a time as fit into memory.

    Args:
        loaded: The model; its adapter counts, where it has one.
        encoded: The samples; not read by scores that depend on none.
        scoring: Batch size, memory, and which tokens count.
        measure: Gives the score.
        beside: What else reads the samples in the same passes.

    Yields:
        Scores of some of the matrices. Select before asking for the next: they are
        emptied then.
    """
    if isinstance(measure, FromWeights):
        for sites in plan_whole(loaded, Floats(), scoring):
            scores = {site: measure.at(site) for site in sites}
            yield scores
            scores.clear()
        return
    fold = measure.whole
    batches = _batches(loaded, encoded, scoring)
    parts = plan_whole(loaded, fold, scoring)
    if len(parts) > 1:
        say(_too_many(len(parts)))
    for sites in parts:
        sums = _sums(loaded, sites, batches, fold, beside)
        held = plan_whole(loaded, Floats(), scoring) if measure.is_small else [sites]
        for part in held:
            of_part = {site: sums.pop(site) for site in part if site in sums}
            if of_part:
                scores = fold.result(of_part)
                yield scores
                scores.clear()


def score_halves(
    loaded: LoadedModel,
    data: Data,
    scoring: ScoringOptions,
    measure: Measure,
    spill: Spill | None = None,
) -> Generator[OfMatrix, None, None]:
    """Score every weight on several data sets, apart by halves of the samples.

    Close it (`contextlib.closing`) where it may not be read to the end: scores that
    wait on a disk are removed then.

    Args:
        loaded: The model; its adapter counts, where it has one.
        data: Encoded data sets; each is scored on its own.
        scoring: Batch size, memory, and which tokens count.
        measure: Gives the score; one that reads no sample scores all sets alike, and
            has no halves.
        spill: Where finished scores may wait for those of the last data set, if that
            saves passes; without it they wait in memory.

    Yields:
        Each matrix once, with its scores on each data set.
    """
    if isinstance(measure, FromWeights):
        for site in loaded.layout.sites:
            yield site, (FixedScores(score=measure.at(site)),) * len(data)
        return
    batches = [_batches(loaded, encoded, scoring) for encoded in data]
    passes = plan_waiting(loaded, measure.halves, len(data), scoring, spill)
    _announce(passes)
    for sites in passes.parts:
        with ExitStack() as waiting:
            takes: list[_Take] = []
            for of_data in batches[:-1]:
                folder = waiting.enter_context(_waiting_room(passes, spill))
                sums = _sums(loaded, sites, of_data, measure.halves)
                takes.append(_put_aside(sums, measure, folder))
            sums = _sums(loaded, sites, batches[-1], measure.halves)
            takes.append(partial(_finished, measure, sums))
            for site in sites:
                yield site, tuple(take(site) for take in takes)


def effects_alone(
    loaded: LoadedModel,
    encoded: Sequence[EncodedSample],
    scoring: ScoringOptions,
    beside: UnitsBeside,
) -> None:
    """Read the samples for units where the scores of weights are there already."""
    batches = _batches(loaded, encoded, scoring)
    for fold in beside.folds:
        sites = loaded.layout.sites
        memory = sum(map(fold.num_bytes, sites))
        (terms,) = run_folds(loaded.model, sites, batches, [fold], memory_bytes=memory)
        beside.terms |= terms


def plain_halves(halves: HalfScores) -> ScoreHalves:
    """Turn scores into what a file takes."""
    return ScoreHalves(even=halves.even.cpu().numpy(), odd=halves.odd.cpu().numpy())


def read_halves(file: Path, site: Site, join: Join) -> HalfScores:
    """Read one matrix; the file is opened for it alone, so that its pages go again."""
    with open_halves(file) as halves:
        plain = halves.at(site)
    return HalfScores(
        even=torch.from_numpy(plain.even), odd=torch.from_numpy(plain.odd), join=join
    )


class Unfinished(Fold[Any, _Sums]):
    """Hands out the sums of a pass as they are, to be finished one by one."""

    def __init__(self, fold: Fold[Any, Any]) -> None:
        self.needs_backward = fold.needs_backward
        self.needs_outputs = fold.needs_outputs
        self.needs_input_gradients = fold.needs_input_gradients
        self.needs_observed = fold.needs_observed
        self._fold = fold

    def num_bytes(self, site: Site) -> int:
        """As the measure itself."""
        return self._fold.num_bytes(site)

    def start(self, site: Site) -> object:
        """As the measure itself."""
        return self._fold.start(site)

    def update(self, state: object, signal: SiteSignal) -> object:
        """As the measure itself."""
        return self._fold.update(state, signal)

    def merge(self, left: object, right: object) -> object:
        """As the measure itself."""
        return self._fold.merge(left, right)

    def result(self, states: Mapping[Site, object]) -> _Sums:
        """The sums, where the signals live."""
        return dict(states)


def _batches(
    loaded: LoadedModel, encoded: Sequence[EncodedSample], scoring: ScoringOptions
) -> tuple[Batch, ...]:
    return batches_of(
        loaded, encoded, scoring.score_batch_size, positions=scoring.positions
    )


def _sums(
    loaded: LoadedModel,
    sites: Sequence[Site],
    batches: Sequence[Batch],
    fold: Fold[Any, Any],
    beside: UnitsBeside | None = None,
) -> _Sums:
    folds = [Unfinished(fold), *(beside.folds if beside else [])]
    memory = sum(one.num_bytes(site) for one in folds for site in sites)
    sums, *found = run_folds(loaded.model, sites, batches, folds, memory_bytes=memory)
    if beside is not None:
        for terms in found:
            beside.terms |= terms
    return sums


def _finished(measure: FromSamples, sums: _Sums, site: Site) -> HalfScores:
    """Scores of one matrix on the CPU; its sums are given up."""
    return measure.halves.result({site: sums.pop(site)})[site]


@contextmanager
def _waiting_room(passes: Passes, spill: Spill | None) -> Iterator[Path | None]:
    """Give the folder where scores wait; None where they wait in memory."""
    if passes.waits_in is None:
        yield None
        return
    assert spill is not None
    with scratch_folder(spill.run, passes.num_bytes, passes.waits_in) as folder:
        yield folder


def _put_aside(sums: _Sums, measure: FromSamples, folder: Path | None) -> _Take:
    """Finish the scores of one data set and have them wait, or their small sums."""
    if measure.is_small:
        return partial(_finished, measure, sums)
    sites = tuple(sums)
    if folder is None:
        return {site: _finished(measure, sums, site) for site in sites}.pop
    file = folder / "scores.safetensors"
    with growing_halves(file, sites, {}) as write:
        for site in sites:
            write(site, plain_halves(_finished(measure, sums, site)))
    return partial(read_halves, file, join=measure.join)


def _announce(passes: Passes) -> None:
    if passes.waits_in is not None:
        say(
            f"scores of one data set wait in {passes.waits_in} "
            f"({format_bytes(passes.num_bytes)}) while another is scored"
        )
    if len(passes.parts) > 1:
        say(_too_many(len(passes.parts)))


def _too_many(num_passes: int) -> str:
    return f"scores of all matrices do not fit into memory: {num_passes} passes"

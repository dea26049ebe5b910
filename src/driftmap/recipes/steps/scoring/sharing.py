"""How do several processes score one model, and how do their sums become scores?

A shard holds what the folds have added up over its samples. Shards merge by addition,
in the order of the samples: the same numbers for any number of workers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from driftmap.capture.memory import default_budget
from driftmap.capture.stream import run_folds
from driftmap.core.errors import StoreError, UsageError
from driftmap.core.places import Site
from driftmap.core.room import free_disk
from driftmap.core.units import format_bytes
from driftmap.engine.parts import FOLDER, Part
from driftmap.engine.shards import shards_of
from driftmap.engine.work import Shard, ShardMaker
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.scoring.halves import Unfinished
from driftmap.recipes.steps.scoring.kinds import FromSamples, Measure, planned_measure
from driftmap.recipes.steps.scoring.passes import GIB, Floats, plan_whole
from driftmap.recipes.steps.scoring.units import UnitsBeside
from driftmap.recipes.steps.sharing_out import SharedRun
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold
from driftmap.signals.states import state_from_arrays, state_to_arrays
from driftmap.signals.units import Grain
from driftmap.store.fold_states import find_sums, open_sums, save_sums

WEIGHTS, _UNITS = "weights", "units"
"""Files of sums for the scores of weights, and of units beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing(SharedRun):
    """Where a model is scored, if not in this process alone."""

    def scores(
        self,
        loaded: LoadedModel,
        work: "ScoreWork",
        measure: Measure,
        beside: UnitsBeside | None,
    ) -> Iterator[dict[Site, Tensor]]:
        """Score every weight from the sums of all shards, as `whole_scores` does.

        Args:
            loaded: The model.
            work: What a worker does.
            measure: Gives the score.
            beside: What else reads the samples.

        Yields:
            Scores of some of the matrices; they are emptied before the next.
        """
        assert isinstance(measure, FromSamples), "a score without samples is not shared"
        folders = self.make(loaded, work)
        where = [find_sums(folder, WEIGHTS) for folder in folders]
        beside_where = [find_sums(folder, _UNITS) for folder in folders]
        for sites in plan_whole(loaded, Floats(), work.scoring):
            for fold in beside.folds if beside else ():
                terms = fold.result(merged(fold, sites, beside_where))
                assert beside is not None, "it has folds"
                beside.terms |= terms
            scores = measure.whole.result(merged(measure.whole, sites, where))
            yield scores
            scores.clear()

    def make(self, loaded: LoadedModel, work: "ScoreWork") -> tuple[Path, ...]:
        """Add up the sums of all samples, or of the part that is asked for.

        Raises:
            UsageError: The score reads no sample, or there are too few devices.
            EngineError: Too many workers were lost.
        """
        if not work.scoring.reads_samples:
            raise UsageError(
                f"--score {work.scoring.score} reads no sample, so that there is "
                "nothing to share; leave out --workers, --engine and --partition"
            )
        part = Part(
            kind="score",
            inputs=work.inputs,
            num_samples=len(work.encoded),
            partition=self.options.part,
        )
        shards = shards_of(len(work.encoded), self.options.part)
        require_disk(self.run, shards, loaded, work)
        return self.make_shards(work, partial(Adder, loaded, work), part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreWork:
    """What a worker does: it loads the model and adds up over samples.

    Args:
        source: The model.
        encoded: All samples.
        scoring: How weights are scored.
        grain: Which units are scored beside them.
        inputs: All that the sums depend on, plain.
        num_sharing: Workers that share this machine's memory (count).
        by_halves: Whether sums of even and odd samples are kept apart.
    """

    source: ModelSource
    encoded: tuple[EncodedSample, ...]
    scoring: ScoringOptions
    grain: Grain
    inputs: Mapping[str, object]
    num_sharing: int = 1
    by_halves: bool = False

    def open(self) -> ShardMaker:
        """Load the model."""
        return Adder(load_model(self.source), self)


class Adder:
    """Adds up over the samples of a shard.

    Args:
        loaded: The model.
        work: What is added up.
    """

    def __init__(self, loaded: LoadedModel, work: ScoreWork) -> None:
        self._loaded = loaded
        self._work = work

    def make(self, shard: Shard, folder: Path) -> None:
        """Write the sums of every matrix."""
        loaded, work = self._loaded, self._work
        scoring = _with_share_of_memory(loaded, work)
        measure = planned_measure(loaded, scoring)
        assert isinstance(measure, FromSamples), "a score without samples is not shared"
        fold = measure.halves if work.by_halves else measure.whole
        folds: dict[str, Fold[Any, Any]] = {WEIGHTS: Unfinished(fold)}
        if work.grain != "weight":
            num_samples, sites = len(work.encoded), loaded.layout.sites
            beside = UnitsBeside(sites, work.grain, scoring, num_samples)
            if beside.effects is not None:
                folds[_UNITS] = Unfinished(beside.effects)
        with threads_for(loaded.identity):
            batches = _batches(loaded, work, shard)
            for number, sites in enumerate(plan_whole(loaded, fold, scoring)):
                memory = sum(f.num_bytes(s) for f in folds.values() for s in sites)
                sums = run_folds(
                    loaded.model,
                    sites,
                    batches,
                    list(folds.values()),
                    memory_bytes=memory,
                )
                for name, states in zip(folds, sums, strict=True):
                    file = folder / f"{name}-{number:03d}.safetensors"
                    save_sums(file, {s.key: state_to_arrays(states[s]) for s in sites})


def planned(source: ModelSource, options: EngineOptions, run: Path) -> Sharing | None:
    """Say how a model is scored; None for this process alone.

    A run that was merged of parts has shards, and is scored from these.
    """
    if options.is_shared or (run / FOLDER).is_dir():
        return Sharing(source=source, options=options, run=run)
    return None


def require_disk(
    run: Path, shards: Sequence[Shard], loaded: LoadedModel, work: ScoreWork
) -> None:
    """Refuse a disk that cannot hold the sums of all shards.

    Args:
        run: The run folder.
        shards: All of them; those that are there already take no more.
        loaded: The model.
        work: What is added up.

    Raises:
        StoreError: There is too little room.
    """
    measure = planned_measure(loaded, work.scoring)
    assert isinstance(measure, FromSamples), "a score without samples is not shared"
    fold = measure.halves if work.by_halves else measure.whole
    left = sum(not (run / FOLDER / shard.name).exists() for shard in shards)
    of_one = sum(map(fold.num_bytes, loaded.layout.sites))
    free = free_disk(run)
    if left * of_one > free:
        raise StoreError(
            f"{run}: {left} shards of sums take {format_bytes(left * of_one)} there "
            f"and {format_bytes(free)} are free; choose an --out on a larger disk, or "
            "leave out --workers, --engine and --partition",
            topic="disk",
        )


def merged(
    fold: Fold[Any, Any], sites: Sequence[Site], where: Sequence[Mapping[str, Path]]
) -> dict[Site, Any]:
    """Add up the sums of all shards, in the order of the samples.

    Args:
        fold: Which sums they are.
        sites: Of which matrices.
        where: File of each matrix, shard by shard.
    """
    return {
        site: reduce(
            fold.merge, (_read(fold, site, files[site.key]) for files in where)
        )
        for site in sites
    }


def _with_share_of_memory(loaded: LoadedModel, work: ScoreWork) -> ScoringOptions:
    scoring = work.scoring
    if loaded.device.type != "cpu" or work.num_sharing == 1:
        return scoring
    memory = scoring.memory or default_budget(loaded.model) / GIB
    return replace(scoring, memory=memory / work.num_sharing)


def _batches(loaded: LoadedModel, work: ScoreWork, shard: Shard) -> list[Batch]:
    """Batches of a shard; samples keep their number in the whole."""
    encoded = work.encoded[shard.start : shard.stop]
    scoring = work.scoring
    made = batches_of(
        loaded, encoded, scoring.score_batch_size, positions=scoring.positions
    )
    return [
        replace(
            batch,
            sample_index=tuple(shard.start + index for index in batch.sample_index),
        )
        for batch in made
    ]


def _read(fold: Fold[Any, Any], site: Site, file: Path) -> object:
    with open_sums(file) as sums:
        return state_from_arrays(fold.start(site), sums.at(site.key))

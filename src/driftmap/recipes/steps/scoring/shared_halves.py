"""How do several processes score two data sets of one study, apart by halves?

The shards of one data set follow those of the other, and none holds samples of both.
A worker that has loaded the model makes shards of either. Samples keep their number
within their own data set, so that each goes to the half it would go to in one process.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from driftmap.core.places import Site
from driftmap.engine.folder import DONE
from driftmap.engine.parts import FOLDER, Part, begin, clear
from driftmap.engine.run import run_shards
from driftmap.engine.shards import shards_of
from driftmap.engine.work import Shard, ShardMaker
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.scoring.halves import OfMatrix
from driftmap.recipes.steps.scoring.kinds import FromSamples, Measure
from driftmap.recipes.steps.scoring.sharing import (
    WEIGHTS,
    Adder,
    ScoreWork,
    merged,
    require_disk,
)
from driftmap.recipes.steps.sharing_out import (
    SharedRun,
    done_by,
    engine_settings,
)
from driftmap.results.samples import EncodedSample
from driftmap.signals.fold import Fold
from driftmap.signals.scores import HalfScores
from driftmap.store.files import explaining
from driftmap.store.fold_states import find_sums

Sets = Mapping[str, tuple[EncodedSample, ...]]
"""Encoded data sets by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingHalves(SharedRun):
    """Where the data sets of a study are scored, if not in this process alone."""

    def scores(
        self,
        loaded: LoadedModel,
        work: "HalvesWork",
        measure: Measure,
        names: Sequence[str],
    ) -> Iterator[OfMatrix]:
        """Score every weight from the sums of all shards, as `score_halves` does.

        Args:
            loaded: The model.
            work: What a worker does.
            measure: Gives the score.
            names: Data sets whose scores are wanted; all of them are added up.

        Yields:
            Each matrix once, with its scores on each of these data sets.

        Raises:
            UsageError: There are too few devices.
            EngineError: Too many workers were lost.
            StoreError: The sums do not fit on the disk.
        """
        assert isinstance(measure, FromSamples), "a score without samples is not shared"
        folders = self._make(loaded, work)
        where = {
            name: [find_sums(folders[shard.name], WEIGHTS) for shard in shards]
            for name, shards in work.shards.items()
        }
        for site in loaded.layout.sites:
            yield site, tuple(_finished(measure.halves, site, where[n]) for n in names)

    def _make(self, loaded: LoadedModel, work: "HalvesWork") -> dict[str, Path]:
        settings = engine_settings(self.options, self.source)
        shards = tuple(s for of_set in work.shards.values() for s in of_set)
        require_disk(self.run, shards, loaded, next(iter(work.each().values())))
        here = partial(HalvesAdder, loaded, work)
        folder = self.run / FOLDER
        with explaining(self.run):
            begin(folder, work.part)
            try:
                made = run_shards(
                    done_by(work, here, settings), shards, folder, settings
                )
            except BaseException:
                if not any(folder.glob(f"shard-*/{DONE}")):  # as if never begun
                    clear(self.run)
                raise
        return {path.name: path for path in made}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HalvesWork:
    """What a worker does: it loads the model and adds up over samples of either set.

    Args:
        source: The model.
        sets: All samples.
        scoring: How weights are scored.
        inputs: All that the sums depend on, plain.
        num_sharing: Workers that share this machine's memory (count).
    """

    source: ModelSource
    sets: Sets
    scoring: ScoringOptions
    inputs: Mapping[str, object]
    num_sharing: int = 1

    def open(self) -> ShardMaker:
        """Load the model."""
        return HalvesAdder(load_model(self.source), self)

    @property
    def part(self) -> Part:
        """What decides on the shards."""
        sizes = {name: len(encoded) for name, encoded in self.sets.items()}
        return Part(
            kind="drift",
            inputs={**self.inputs, "sizes": sizes},
            num_samples=sum(sizes.values()),
        )

    @property
    def shards(self) -> dict[str, tuple[Shard, ...]]:
        """The shards of each data set, counted on from one to the next."""
        found: dict[str, tuple[Shard, ...]] = {}
        number = 0
        for name, first in self.firsts.items():
            own = [_moved(shard, first) for shard in shards_of(len(self.sets[name]))]
            found[name] = tuple(replace(s, number=number + s.number) for s in own)
            number += len(own)
        return found

    @property
    def firsts(self) -> dict[str, int]:
        """Where the samples of each data set begin among all."""
        found: dict[str, int] = {}
        first = 0
        for name, encoded in self.sets.items():
            found[name] = first
            first += len(encoded)
        return found

    def each(self) -> dict[str, ScoreWork]:
        """The same work on each data set alone."""
        return {
            name: ScoreWork(
                source=self.source,
                encoded=encoded,
                scoring=self.scoring,
                grain="weight",
                inputs=self.inputs,
                num_sharing=self.num_sharing,
                by_halves=True,
            )
            for name, encoded in self.sets.items()
        }


class HalvesAdder:
    """Adds up over the samples of a shard of either data set.

    Args:
        loaded: The model.
        work: What is added up.
    """

    def __init__(self, loaded: LoadedModel, work: HalvesWork) -> None:
        self._firsts = work.firsts
        self._adders = {name: Adder(loaded, own) for name, own in work.each().items()}

    def make(self, shard: Shard, folder: Path) -> None:
        """Write the sums of every matrix, by halves."""
        name = [n for n, first in self._firsts.items() if first <= shard.start][-1]
        self._adders[name].make(_moved(shard, -self._firsts[name]), folder)


def planned_halves(
    source: ModelSource, options: EngineOptions, run: Path
) -> SharingHalves | None:
    """Say how a study is scored; None for this process alone.

    A run that has shards already is scored from these.

    Raises:
        UsageError: There are fewer GPUs than workers, or one is named for all.
    """
    engine_settings(options, source)
    if options.is_shared or (run / FOLDER).is_dir():
        return SharingHalves(source=source, options=options, run=run)
    return None


def _moved(shard: Shard, by: int) -> Shard:
    return replace(shard, start=shard.start + by, stop=shard.stop + by)


def _finished(
    fold: Fold[Any, dict[Site, HalfScores]],
    site: Site,
    where: Sequence[Mapping[str, Path]],
) -> HalfScores:
    return fold.result(merged(fold, [site], where))[site]

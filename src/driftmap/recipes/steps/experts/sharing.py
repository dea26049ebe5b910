"""How do several processes read what samples say of experts, before any is tuned?

A shard holds some neighbouring requests, and all that every pass says of them. Later
rounds read a model that this process has tuned, and read it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from driftmap.engine.parts import FOLDER, Part
from driftmap.engine.work import Shard, ShardMaker
from driftmap.families.experts import find_experts
from driftmap.load.encoding import encoded_sha256
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.expert_options import IdentifyOptions
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.passes import (
    KINDS,
    ExpertReader,
    Passed,
    PassName,
    PassResult,
    joined,
)
from driftmap.recipes.steps.sharing_out import SharedRun, engine_settings
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.samples import EncodedSample
from driftmap.store.arrays_apart import load_apart, save_apart

KIND = "driftmap.expert_pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSharing(SharedRun):
    """Where samples are read for the first choice of experts, if not here alone."""

    def passed(self, bench: ExpertBench) -> Passed:
        """What all shards say together; they are made when it is first asked for."""
        folders = cache(lambda: self.make(bench))
        return Passed(read=lambda name: _read(folders(), name))

    def make(self, bench: ExpertBench) -> tuple[Path, ...]:
        """Read all requests, or the part that is asked for.

        Returns:
            Folders of the shards, in the order of the requests.

        Raises:
            UsageError: There are too few devices, or the part is empty.
            EngineError: Too many workers were lost.
        """
        reader = bench.reader
        work = ExpertWork(
            source=self.source,
            samples=bench.passes,
            identify=reader.identify,
            batch_size=reader.batch_size,
            first_ids=reader.first_ids,
        )
        part = Part(
            kind="experts",
            inputs={
                "model": bench.study.loaded.identity.sha256,
                "passes": list(work.samples),
                "samples": encoded_sha256(*work.samples.values()),
                "statistic": reader.identify.statistic,
                "positions": reader.identify.positions,
                "batch_size": reader.batch_size,
                "first_ids": list(reader.first_ids),
            },
            num_samples=max(map(len, work.samples.values())),
            partition=self.options.part,
        )
        return self.make_shards(work, partial(PassMaker, reader, work), part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertWork:
    """What a worker does: it loads the model and reads what samples say of experts.

    Args:
        source: The model.
        samples: All samples, by pass.
        identify: What is asked of experts.
        batch_size: Samples per pass (count).
        first_ids: Tokens that open a refusal.
    """

    source: ModelSource
    samples: Mapping[PassName, tuple[EncodedSample, ...]]
    identify: IdentifyOptions
    batch_size: int
    first_ids: tuple[int, ...]

    def open(self) -> ShardMaker:
        """Load the model."""
        loaded = load_model(self.source)
        reader = ExpertReader(
            loaded=loaded,
            banks=find_experts(loaded.model),
            identify=self.identify,
            batch_size=self.batch_size,
            first_ids=self.first_ids,
        )
        return PassMaker(reader, self)


class PassMaker:
    """Reads the samples of a shard, in every pass.

    Args:
        reader: Reads them.
        work: Says which they are.
    """

    def __init__(self, reader: ExpertReader, work: ExpertWork) -> None:
        self._reader = reader
        self._work = work

    def make(self, shard: Shard, folder: Path) -> None:
        """Write what every pass says of the shard's samples."""
        with threads_for(self._reader.loaded.identity):
            for name, samples in self._work.samples.items():
                if shard.start < len(samples):  # benign requests may be fewer
                    found = self._reader.read_shard(name, samples, shard)
                    save_apart(folder, _file(name), found, KIND)


def planned_experts(
    source: ModelSource, options: EngineOptions, run: Path
) -> ExpertSharing | None:
    """Say how samples are read; None for this process alone.

    A run that was merged of parts has shards, and takes these.

    Raises:
        UsageError: There are fewer GPUs than workers, or one is named for all.
    """
    engine_settings(options, source)
    if options.is_shared or (run / FOLDER).is_dir():
        return ExpertSharing(source=source, options=options, run=run)
    return None


def _read(folders: tuple[Path, ...], name: PassName) -> PassResult:
    file = _file(name)
    held = [folder for folder in folders if (folder / f"{file}.json").exists()]
    return joined([load_apart(folder, file, KINDS[name], KIND) for folder in held])


def _file(name: PassName) -> str:
    return name.replace(" ", "-")

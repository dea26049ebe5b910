"""How are the shards of an index made, here or by many workers?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import DataError, StoreError
from driftmap.core.progress import phase, say
from driftmap.core.room import free_disk
from driftmap.core.units import format_bytes, format_count
from driftmap.engine.run import HERE, run_shards
from driftmap.engine.shards import Partition, shards_of
from driftmap.engine.work import EngineSettings, Shard
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.index_options import RowOptions
from driftmap.recipes.steps.index.reading import Fed, encode
from driftmap.recipes.steps.index.sketching import (
    batched,
    rules_of,
    sketch,
    tensor_table,
)
from driftmap.recipes.steps.index.source import Source
from driftmap.recipes.steps.similarity.narrow import told_deviation
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.index import IndexHeader, IndexPart, IndexSettings, Span
from driftmap.results.sketches import SketchSettings
from driftmap.store.index.folder import unfinished
from driftmap.store.index.shards import SHARDS, shard_bytes, writing_shard

_TOKEN = 7
"""Bytes of a token's number in `samples.jsonl`, at most for vocabularies in use."""

_NARROW_SAMPLES = 8
"""Samples that are repeated in float32 where the pass is narrower."""

_ABOUT_SAMPLE = 200
"""Bytes of the rest of a sample's line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexWork:
    """What a worker must know to make any shard of a part.

    Args:
        model: The model.
        source: The samples.
        header: What the index says of itself.
        part: Number of the part.
        batch_tokens: Tokens of one pass.
    """

    model: ModelSource
    source: Source
    header: IndexHeader
    part: int
    batch_tokens: int

    def open(self) -> "IndexMaker":
        """Load the model and the samples."""
        loaded = load_model(self.model)
        fed = encode(loaded, self.source.read(), self.source.tokens)
        part = self.header.parts[self.part]
        if fed.sha256 != part.sha256:
            raise DataError(
                f"{part.data}: is not what it was when the work was begun; leave data "
                "as it is while an index is built"
            )
        return IndexMaker(loaded, fed, self)


@dataclass(frozen=True, slots=True)
class Opened:
    """Work whose model is in memory already, for shards that are made here."""

    maker: "IndexMaker"

    def open(self) -> "IndexMaker":
        """Nothing has to be loaded."""
        return self.maker


class IndexMaker:
    """Makes shards of a part."""

    def __init__(self, loaded: LoadedModel, fed: Fed, work: IndexWork) -> None:
        """Hold model and samples.

        Args:
            loaded: The model.
            fed: All samples of the source.
            work: What is made of them.
        """
        self._loaded = loaded
        self._fed = fed
        self._work = work
        self._samples = fed.indexed()

    def make(self, shard: Shard, folder: Path) -> None:
        """Write a shard's files into an empty folder."""
        header = self._work.header
        before = header.first_of(self._work.part)
        here = slice(shard.start - before, shard.stop - before)
        sketched = sketch(
            self._loaded,
            [tensor.place for tensor in header.tensors],
            self._fed.encoded,
            header.settings.sketch,
            self._work.batch_tokens,
            range(here.start, here.stop),
        )
        with writing_shard(folder, header, shard.num_samples) as writer:
            writer.put(0, self._samples[here], sketched)


def plan(
    opened: tuple[LoadedModel, Fed],
    asked: tuple[ModelSource, Source],
    rows: RowOptions,
    partition: Partition | None,
) -> IndexHeader:
    """Say what an index will be.

    Args:
        opened: The model, and all samples.
        asked: Where both come from.
        rows: What is kept of a gradient.
        partition: Which samples are taken here; None for all.

    Raises:
        UsageError: No tensor or no sample is left.
    """
    (loaded, fed), (model, source) = opened, asked
    sketch = SketchSettings(
        kind=rows.projection, size=rows.projection_size, seed=source.seed
    )
    shards = shards_of(len(fed.encoded), partition, size=rows.shard_size)
    return IndexHeader(
        tensors=tensor_table(loaded, rows.only, sketch),
        settings=IndexSettings(
            model=model.model,
            adapter=model.adapter,
            model_sha256=loaded.identity.sha256,
            template=source.tokens.template,
            template_sha256=fed.rule_sha256,
            loss_on=source.tokens.loss_on,
            dtype=model.dtype,
            sketch=sketch,
            keep=rows.keep,
            shard_size=rows.shard_size,
        ),
        parts=(part_of(source, fed, shards),),
    )


def part_of(source: Source, fed: Fed, shards: Sequence[Shard]) -> IndexPart:
    """Say which samples a command adds.

    Args:
        source: Where they come from.
        fed: All samples of the source.
        shards: Those that are made here, neighbours all.
    """
    return IndexPart(
        data=source.data,
        sha256=fed.sha256,
        num_samples=len(fed.encoded),
        spans=(Span(start=shards[0].start, stop=shards[-1].stop),),
    )


def fill(
    out: Path,
    opened: tuple[LoadedModel, Fed],
    work: IndexWork,
    engine: EngineSettings = HERE,
) -> str:
    """Make the shards of a part that are not there yet.

    Args:
        out: The index, which nobody else writes to.
        opened: The model, and all samples of the part.
        work: What is made.
        engine: Where.

    Returns:
        What there is now, for a person to read.

    Raises:
        StoreError: There is too little disk, or it refuses.
    """
    header, (loaded, fed) = work.header, opened
    shards = [
        Shard(number=one.number, start=one.start, stop=one.stop)
        for one in header.shards()
        if one.part == work.part
    ]
    _require_disk(out, work, fed)
    if header.settings.dtype != "float32" and unfinished(out, header):
        _say_deviation(loaded, fed, work)
    is_here = engine.engine == "local" and engine.workers is None
    with phase("build the index"):
        run_shards(
            Opened(IndexMaker(loaded, fed, work)) if is_here else work,
            shards,
            out / SHARDS,
            engine,
        )
    return summary(out, header)


def summary(out: Path, header: IndexHeader) -> str:
    """Say what an index holds and what it takes."""
    shards = header.shards()
    num = sum(shard.num_samples for shard in shards)
    numbers = sum(shard_bytes(header, shard.num_samples) for shard in shards)
    return (
        f"{out}: {format_count(num)} samples, {len(header.tensors)} tensors, "
        f"{format_bytes(numbers / num)} a sample"
    )


def _say_deviation(loaded: LoadedModel, fed: Fed, work: IndexWork) -> None:
    """Say what a pass below float32 errs by, told from a few samples."""
    places = [tensor.place for tensor in work.header.tensors]
    part = range(min(_NARROW_SAMPLES, len(fed.encoded)))
    batches = batched(loaded, fed.encoded, work.batch_tokens, part)
    with threads_for(loaded.identity):
        told_deviation(loaded.model, rules_of(loaded, places), batches)


def _require_disk(out: Path, work: IndexWork, fed: Fed) -> None:
    """Refuse what has no room, before any pass."""
    header = work.header
    left = [shard for shard in unfinished(out, header) if shard.part == work.part]
    before = header.first_of(work.part)
    need = sum(shard_bytes(header, shard.num_samples) for shard in left)
    for shard in left:
        texts = fed.encoded[shard.start - before : shard.stop - before]
        need += sum(_ABOUT_SAMPLE + _TOKEN * len(one.token_ids) for one in texts)
    num = sum(shard.num_samples for shard in left)
    if not num:
        return
    free = free_disk(out)
    say(
        f"{format_count(num)} samples take {format_bytes(need / num)} each, "
        f"{format_bytes(need)} of disk"
    )
    if need > free:
        raise StoreError(
            f"{out}: the index needs about {format_bytes(need)} of disk, and "
            f"{format_bytes(free)} are free; lower --projection-size, use --keep int8 "
            "or --only, or choose an --out on another disk",
            topic="disk",
        )

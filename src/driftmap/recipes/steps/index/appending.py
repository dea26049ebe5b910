"""How do more samples come into an index?"""

from pathlib import Path

from driftmap.core.errors import UsageError
from driftmap.engine.run import HERE
from driftmap.engine.shards import shards_of
from driftmap.engine.work import EngineSettings
from driftmap.load.model import LoadedModel
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.index.beginning import held
from driftmap.recipes.steps.index.building import IndexWork, fill, part_of
from driftmap.recipes.steps.index.reading import Fed
from driftmap.recipes.steps.index.source import Source
from driftmap.store.index.folder import require_whole
from driftmap.store.index.header import load_header, save_header
from driftmap.store.index.joining import require_new_ids, with_part


def append(
    index: Path,
    opened: tuple[LoadedModel, Fed],
    asked: tuple[ModelSource, Source],
    batch_tokens: int,
    engine: EngineSettings = HERE,
) -> str:
    """Add samples to an index, or go on where that was cut off.

    Args:
        index: The index.
        opened: Its model, and the samples.
        asked: Where both came from.
        batch_tokens: Tokens of one pass, padding included.
        engine: Where shards are made.

    Returns:
        What there is then, for a person to read.

    Raises:
        StoreError: The index is not whole, or holds some of the ids already.
    """
    _, fed = opened
    with held(index):
        header = load_header(index)
        size = header.settings.shard_size
        shards = shards_of(len(fed.encoded), size=size)
        part = part_of(asked[1], fed, shards)
        longer = with_part(index, header, part)
        if longer is not header:
            require_whole(index, header)
            ids = [sample.id for sample in fed.samples]
            require_new_ids(index, header, ids)
            save_header(index, longer)
        elif len(header.parts) == 1:
            raise UsageError(
                f"{index}: is an index of {part.data} itself; name samples that are "
                "to be added"
            )
        work = IndexWork(
            model=asked[0],
            source=asked[1],
            header=longer,
            part=len(longer.parts) - 1,
            batch_tokens=batch_tokens,
        )
        return fill(index, opened, work, engine)

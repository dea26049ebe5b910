"""How do several processes compare gradients, and how does a killed one lose little?

A shard holds the products of all queries with some neighbouring originals. Each worker
makes the gradients of the queries once and keeps them from shard to shard.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from driftmap.capture.memory import default_budget
from driftmap.engine.parts import Part
from driftmap.engine.shards import CHUNK
from driftmap.engine.work import Shard, ShardMaker
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.sharing_out import SharedRun
from driftmap.recipes.steps.similarity.gradients import (
    EncodedSides,
    GradientSettings,
    all_queries_fit,
    shard_products,
)
from driftmap.recipes.steps.similarity.joining import joined_products
from driftmap.recipes.steps.similarity.schedules import KeptQueries
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.pair_products import PairProducts, Truth
from driftmap.store.pair_products import load_pairs, save_pairs

FILE = "products.safetensors"
LARGE_SHARD = 16 * CHUNK
"""Originals of a shard where gradients of all queries cannot be held, so that these
pass again with each shard (count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing(SharedRun):
    """Where gradients are compared."""

    def make(
        self,
        loaded: LoadedModel,
        sides: EncodedSides,
        settings: GradientSettings,
        inputs: Mapping[str, object],
    ) -> tuple[Path, ...]:
        """Compare all originals, or the part that is asked for.

        Args:
            loaded: The model.
            sides: What is compared with what, in the whole run.
            settings: How it is computed.
            inputs: All that the products depend on, plain.

        Returns:
            Folders of the shards, in the order of the originals.

        Raises:
            UsageError: There are too few devices.
            EngineError: Too many workers were lost.
        """
        work = PairsWork(
            source=self.source,
            sides=sides,
            settings=settings,
            num_sharing=self.options.workers or 1,
        )
        part = Part(
            kind="similarity",
            inputs=inputs,
            num_samples=len(sides.originals),
            size=CHUNK if all_queries_fit(loaded, sides, settings) else LARGE_SHARD,
            partition=self.options.part,
        )
        return self.make_shards(work, partial(PairsMaker, loaded, work), part)

    def join(self, folders: tuple[Path, ...], sides: EncodedSides) -> PairProducts:
        """Put the products of all shards side by side."""
        parts = [load_pairs(folder / FILE).products for folder in folders]
        return joined_products(parts, sides.candidates)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairsWork:
    """What a worker does: it loads the model and compares originals with all queries.

    Args:
        source: The model.
        sides: What is compared with what.
        settings: How it is computed.
        num_sharing: Workers that share this machine's memory (count).
    """

    source: ModelSource
    sides: EncodedSides
    settings: GradientSettings
    num_sharing: int = 1

    def open(self) -> ShardMaker:
        """Load the model."""
        return PairsMaker(load_model(self.source), self)


class PairsMaker:
    """Compares the originals of a shard with all queries.

    Args:
        loaded: The model.
        work: What is compared.
    """

    def __init__(self, loaded: LoadedModel, work: PairsWork) -> None:
        self._loaded = loaded
        self._sides = work.sides
        self._settings = _with_share_of_memory(loaded, work)
        self._kept: KeptQueries = {}

    def make(self, shard: Shard, folder: Path) -> None:
        """Write the products of a shard."""
        with threads_for(self._loaded.identity):
            found = shard_products(
                self._loaded,
                self._sides,
                self._settings,
                range(shard.start, shard.stop),
                kept=self._kept,
            )
        save_pairs(folder / FILE, found, _no_truth(found))


def _with_share_of_memory(loaded: LoadedModel, work: PairsWork) -> GradientSettings:
    settings = work.settings
    if loaded.device.type != "cpu" or work.num_sharing == 1:
        return settings
    room = settings.memory_bytes or default_budget(loaded.model)
    return replace(settings, memory_bytes=room // work.num_sharing)


def _no_truth(products: PairProducts) -> Truth:
    """What a shard knows of the truth: nothing, since it may lie in another one."""
    num_queries = len(products.queries)
    return Truth(
        original=np.zeros(num_queries, np.int64),
        same=np.arange(len(products.originals)),
        sets=("",) * num_queries,
    )

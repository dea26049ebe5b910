"""How are two models compared where only one fits into memory?

The one that is needed is loaded, and the other one given back first. What names a
model, and what reads its prompts, is small and stays.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from driftmap.core.shortage import give_back
from driftmap.evaluate.generate import end_ids
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.logbook import logged
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.provenance import ModelIdentity
from driftmap.store.run_dir import RunDir


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Desk:
    """What stays of a model that is put away.

    Args:
        identity: Which weights it has.
        tokenizer: Its tokenizer.
        context_length: Most tokens it reads at once; None where it states no limit.
        end_ids: Ids that end its answers.
    """

    identity: ModelIdentity
    tokenizer: PreTrainedTokenizerBase
    context_length: int | None
    end_ids: tuple[int, ...]


class Shelf:
    """Models by name, at most one of them in memory."""

    def __init__(self, sources: Mapping[str, ModelSource]) -> None:
        """Say which models there are; none is loaded yet."""
        self.sources = dict(sources)
        self._desks: dict[str, Desk] = {}
        self._held: tuple[str, LoadedModel] | None = None

    def desk(self, name: str) -> Desk:
        """What is known of a model; it is loaded if it never was."""
        if name not in self._desks:
            self.take(name)
        return self._desks[name]

    def take(self, name: str) -> LoadedModel:
        """A model, ready to answer; the one that was taken before is given back."""
        if self._held is not None and self._held[0] == name:
            return self._held[1]
        self._held = None
        give_back()
        loaded = load_model(self.sources[name])
        self._held = (name, loaded)
        self._desks[name] = Desk(
            identity=loaded.identity,
            tokenizer=loaded.tokenizer,
            context_length=loaded.context_length,
            end_ids=end_ids(cast(PreTrainedModel, loaded.model), loaded.tokenizer),
        )
        return loaded


@contextmanager
def opened(
    shelf: Shelf, out: Path, settings: Mapping[str, object], free: tuple[str, ...]
) -> Iterator[RunDir]:
    """Open the folder of an evaluation, and note what it runs on.

    Args:
        shelf: Its models; the one that is evaluated is called `this`.
        out: The run folder.
        settings: The resolved recipe.
        free: Settings that may differ from those the run was begun with.
    """
    desks = {name: shelf.desk(name) for name in reversed(shelf.sources)}
    identity = desks["this"].identity
    with (
        threads_for(identity),
        RunDir.open(out, settings, "evaluate", free=free) as run,
        logged(out, "evaluate"),
    ):
        run.note_environment(
            num_threads=torch.get_num_threads(),
            device=identity.device,
            dtype=identity.dtype,
        )
        run.note_inputs({n: desk.identity.sha256 for n, desk in desks.items()})
        run.note_seeds({"seed": int(str(settings["seed"]))})
        yield run

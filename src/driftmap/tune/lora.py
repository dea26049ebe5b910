"""How does a model move when it is fine-tuned with LoRA?"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.families.masked import Entries, site_entries
from driftmap.families.quantised import four_bit_kind
from driftmap.results.training import ROUNDED_BASE
from driftmap.signals.changes import MaskedFactors, MatrixChange
from driftmap.signals.factors import LoraFactors
from driftmap.tune.adapter import adapted, live_factors, row_lengths, save_adapter
from driftmap.tune.freezing import (
    Frozen,
    Hold,
    adapter_entries,
    hold_columns,
    hold_rows,
    mask_adapters,
)
from driftmap.tune.live import Live, Task
from driftmap.tune.masked import save_masked_adapter
from driftmap.tune.settings import TuningSettings
from driftmap.tune.targets import tuned_sites


@contextmanager
def tuned_with_lora(model: PreTrainedModel, task: Task) -> Iterator[Live]:
    """Put a fresh adapter on a model, with what may not move held.

    Args:
        model: Without an adapter; given back bit for bit.
        task: What is tuned, and what is frozen.

    Yields:
        The adapted model, its changes, and how its adapter is saved.
    """
    sites = tuned_sites(task.sites, task.settings)
    seed = child_seed(task.seed, "adapter")
    with adapted(model, sites, task.settings, seed) as wrapped:
        lengths = row_lengths(wrapped, sites)
        changes = partial(live_factors, wrapped, sites, lengths)
        if task.frozen is None or task.frozen.way in ("rows", "columns"):
            yield Live(
                model=wrapped,
                changes=changes,
                save=partial(_save, wrapped, task.settings),
                holds=_holds(wrapped, task.frozen),
            )
        else:
            entries = adapter_entries(wrapped, task.frozen.members)
            if task.frozen.way == "element":
                mask_adapters(wrapped, entries)
            yield Live(
                model=wrapped,
                changes=partial(_masked, changes, entries),
                save=partial(_save_masked, wrapped, task.settings, entries),
            )


def _holds(wrapped: PeftModel, frozen: Frozen | None) -> tuple[Hold, ...]:
    if frozen is None:
        return ()
    hold = hold_rows if frozen.way == "rows" else hold_columns
    return hold(wrapped, frozen.members)


def _masked(
    changes: Callable[[], Mapping[Site, MatrixChange]], entries: Mapping[str, Entries]
) -> Mapping[Site, MatrixChange]:
    found = dict(changes())
    for site, change in found.items():
        if site.path in entries:
            assert isinstance(change, LoraFactors), site.key
            frozen = site_entries(entries[site.path], site)
            found[site] = MaskedFactors(factors=change, frozen=frozen)
    return found


def _save(wrapped: PeftModel, settings: TuningSettings, folder: Path) -> None:
    save_adapter(wrapped, folder)
    if settings.is_four_bit:
        about = json.dumps({"kind": four_bit_kind(wrapped)})
        (folder / ROUNDED_BASE).write_text(about, encoding="utf-8")


def _save_masked(
    wrapped: PeftModel,
    settings: TuningSettings,
    entries: Mapping[str, Entries],
    folder: Path,
) -> None:
    _save(wrapped, settings, folder)
    save_masked_adapter(folder, entries)

"""How are rows of attention read, prompt by prompt?"""

from pathlib import Path

import torch

from driftmap.capture.attention import observing
from driftmap.capture.hooks import evaluating
from driftmap.core.errors import ModelError
from driftmap.core.progress import progress
from driftmap.families.attention import find_attention
from driftmap.families.matrices import effective_weight
from driftmap.load.model import LoadedModel
from driftmap.measure.attention import (
    AttentionFold,
    Writing,
    attention_numbers,
    writing_of,
)
from driftmap.recipes.attention_options import RowOptions
from driftmap.recipes.steps.attention.preparing import (
    PreparedPrompt,
    PreparedPrompts,
    described,
    queries_of,
)
from driftmap.recipes.steps.bench import Study
from driftmap.results.attention import (
    AttentionMaps,
    AttentionNumbers,
    AttentionPlace,
    AttentionRows,
)
from driftmap.results.attention_study import ReadAttention
from driftmap.store.arrays_apart import save_apart
from driftmap.store.steps import StepOutcome

READ = "attention"
READ_KIND = "attention-rows"

MOST_WEIGHTS = 500_000
"""Largest maps of one prompt that are kept and drawn whole (count)."""


def read_step(
    study: Study, prepared: PreparedPrompts, options: RowOptions
) -> StepOutcome:
    """Read what every head attends to; rows are kept of the prompts that are shown."""

    def make(folder: Path) -> None:
        save_apart(folder, READ, _read(study.loaded, prepared, options), READ_KIND)

    inputs = {
        "model": study.loaded.identity.sha256,
        "prompts": prepared.sha256,
        "rows": [options.queries, options.whole, options.show, options.maps],
    }
    return study.run.step("read", inputs, make)


def _read(
    loaded: LoadedModel, prepared: PreparedPrompts, options: RowOptions
) -> ReadAttention:
    places = find_attention(loaded.model)
    writing = _writing(loaded, places)
    numbers: list[AttentionNumbers] = []
    shown: list[AttentionRows] = []
    maps: list[AttentionMaps] = []
    with progress("read attention", len(prepared.prompts)) as bar:
        for number, one in enumerate(prepared.prompts):
            queries = queries_of(one, options)
            fold = AttentionFold(
                one.encoded.fact.id,
                queries,
                len(one.token_ids),
                writing,
                is_whole=options.whole,
                keeps_maps=number < min(options.maps, options.show)
                and _num_weights(places, one) <= MOST_WEIGHTS,
            )
            positions = torch.tensor([[query.position for query in queries]])
            _seen(loaded, places, one, fold, None if options.whole else positions)
            rows = fold.result()
            about = described(one, loaded)
            numbers += [attention_numbers(row, about) for row in rows]
            shown += rows if number < options.show else ()
            maps += fold.maps()
            bar.advance()
    return ReadAttention(
        places=places,
        num_layers=len(loaded.layout.blocks),
        prompts=tuple(described(one, loaded) for one in prepared.prompts),
        numbers=tuple(numbers),
        rows=tuple(shown),
        maps=tuple(maps),
        left_out=dict(prepared.left_out),
    )


def _num_weights(places: tuple[AttentionPlace, ...], one: PreparedPrompt) -> int:
    return sum(place.num_heads for place in places) * len(one.token_ids) ** 2


def _seen(
    loaded: LoadedModel,
    places: tuple[AttentionPlace, ...],
    one: PreparedPrompt,
    fold: AttentionFold,
    rows: torch.Tensor | None,
) -> None:
    """Run a prompt, and show what its places look at."""
    with (
        torch.no_grad(),
        evaluating(loaded.model),
        observing(loaded.model, places, rows, fold.take),
    ):
        token_ids = torch.tensor([list(one.token_ids)], device=loaded.device)
        loaded.model(token_ids, use_cache=False)


def _writing(
    loaded: LoadedModel, places: tuple[AttentionPlace, ...]
) -> dict[int, Writing]:
    """By place, what its heads write through; none where that is not one matrix."""
    found: dict[int, Writing] = {}
    for number, place in enumerate(places):
        sites = [
            site
            for site in loaded.layout.sites
            if site.part == "o" and site.path.startswith(f"{place.path}.")
        ]
        if len(sites) != 1 or sites[0].num_columns % place.num_heads:
            return {}
        try:
            output = effective_weight(loaded.model, sites[0])
        except ModelError:  # 8-bit weights and unusual adapters cannot be read
            return {}
        found[number] = writing_of(output, place.num_heads)
    return found

"""At which tokens and layers does one model's answer enter the other's run?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import nn

from driftmap.capture.patching.crossing import trace_across
from driftmap.core.progress import progress
from driftmap.families.trace_sites import find_trace_sites
from driftmap.measure.tracing import trace_grid
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.where.asking import Asked
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Noise, TraceKind
from driftmap.results.traces import TraceGrid
from driftmap.results.where_it_acts import CrossDirection, CrossTrace
from driftmap.signals.traces import Restoring
from driftmap.stats.tracing import role_effects

NO_NOISE = Noise(kind="zero", num_draws=1)
"""What stands in a grid that no noise made."""


def cross_traces(
    pair: Pair, asked: Asked, options: WhereOptions
) -> tuple[CrossTrace, ...]:
    """Put states of each model into the other's run, prompt by prompt.

    Args:
        pair: The two models.
        asked: Prompts with both answers.
        options: How many layers go together.

    Returns:
        Tuned states in the base, read at the new answer; base states in the tuned
        model, read at the old one. Empty where prompts are of fewer than two subjects.
    """
    if len(set(asked.traced_owners)) < 2:
        return ()
    base, tuned = pair.base.model, pair.tuned.model
    new = [for_new(one) for one in asked.traced]
    old = [for_old(one) for one in asked.traced]
    return (
        replace(
            _cross(pair, "tuned into base", (base, tuned), new, asked, options),
            answer="new",
        ),
        _cross(pair, "base into tuned", (tuned, base), old, asked, options),
    )


def for_old(fact: EncodedFact) -> EncodedFact:
    """The prompt with the old answer to be read."""
    return replace(fact, foil_ids=())


def for_new(fact: EncodedFact) -> EncodedFact:
    """The prompt with the new answer to be read.

    >>> import numpy as np
    >>> from driftmap.results.facts import Fact
    >>> fact = EncodedFact(fact=Fact(id="f", subject="X", prompt="X is", answer="a",
    ...     foil="b c"), token_ids=np.array([5, 6], np.int32), num_prompt=2,
    ...     subject=(0, 1), answer_ids=(7,), foil_ids=(8, 9), tokens=("X", " is"),
    ...     offsets=((0, 1), (1, 4)))
    >>> for_new(fact).token_ids.tolist(), for_new(fact).fact.answer
    ([5, 6, 8], 'b c')
    """
    ids = [*fact.token_ids[: fact.num_prompt].tolist(), *fact.foil_ids[:-1]]
    return replace(
        fact,
        fact=replace(fact.fact, answer=fact.fact.foil, foil=None),
        token_ids=np.array(ids, np.int32),
        answer_ids=fact.foil_ids,
        foil_ids=(),
    )


def kinds_of(model: nn.Module) -> tuple[TraceKind, ...]:
    """Kinds of states that single modules of a model give."""
    sites = find_trace_sites(model)
    kinds: list[TraceKind] = ["hidden"]
    if any(sites.mlp):
        kinds.append("mlp")
    if any(sites.attention):
        kinds.append("attn")
    return tuple(kinds)


def restorings(model: nn.Module, window: int) -> list[Restoring]:
    """Hidden states one by one, MLP and attention outputs in windows."""
    return [
        Restoring(kind=kind, window=None if kind == "hidden" else window)
        for kind in kinds_of(model)
    ]


def _cross(
    pair: Pair,
    direction: CrossDirection,
    models: tuple[nn.Module, nn.Module],
    prompts: Sequence[EncodedFact],
    asked: Asked,
    options: WhereOptions,
) -> CrossTrace:
    wanted = restorings(
        pair.base.model, options.window_of(len(pair.base.layout.blocks))
    )
    grids: list[tuple[TraceGrid, ...]] = []
    with progress(f"trace {direction}", len(prompts)) as bar:
        for prompt in prompts:
            found = trace_across(*models, prompt, wanted)
            grids.append(
                tuple(
                    trace_grid(
                        cells,
                        prompt,
                        NO_NOISE,
                        outcome="prob",
                        answer=prompt.fact.answer or "",
                        is_known=None,
                    )
                    for cells in found
                )
            )
            bar.advance(1)
    return CrossTrace(
        direction=direction,
        answer="old",
        effects=tuple(
            role_effects(of_kind, asked.traced_owners, pair.study.seed)
            for of_kind in zip(*grids, strict=True)
        ),
        example=grids[0],
    )

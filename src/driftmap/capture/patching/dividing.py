"""How many draws of noise may be run at once?

Fewer need less memory and give the same cells: every draw is a run of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from driftmap.capture.memory import default_budget
from driftmap.capture.patching.traced import Traced
from driftmap.families.modules import is_linear_map, map_shape, own_modules
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import TraceKind
from driftmap.signals.traces import Corruption

_SHARE = 0.3
_STATES = 6
"""Hidden states that a block holds at once, for each row that goes through it."""


def divided(
    traced: Traced,
    prompt: EncodedFact,
    corruption: Corruption,
    kinds: Sequence[TraceKind],
    memory_bytes: int | None,
) -> Iterator[Corruption]:
    """Take as many draws at a time as fit, one at least.

    Args:
        traced: The model.
        prompt: What is run.
        corruption: All draws.
        kinds: What is put back.
        memory_bytes: For states, in bytes; part of what is free by default.
    """
    if memory_bytes is None:
        memory_bytes = default_budget(traced.model, _SHARE)
    bytes_per_draw = _bytes_per_draw(traced, prompt, corruption, kinds)
    size = max(1, memory_bytes // bytes_per_draw)
    for start in range(0, len(corruption.values), size):
        yield replace(corruption, values=corruption.values[start : start + size])


def _bytes_per_draw(
    traced: Traced,
    prompt: EncodedFact,
    corruption: Corruption,
    kinds: Sequence[TraceKind],
) -> int:
    """Numbers of one draw in the base pass, and in the widest batch of cells."""
    num_tokens, width = len(prompt.token_ids), corruption.values.shape[2]
    shapes = [
        map_shape(module)[0]
        for _, module in own_modules(traced.blocks[0])
        if is_linear_map(module)
    ]
    outputs = 3 + len({kind for kind in kinds if kind != "hidden"})
    kept = num_tokens * width * outputs
    walking = num_tokens * (_STATES * width + 2 * max(shapes, default=width))
    vocabulary = map_shape(traced.module(traced.sites.head))[0]
    read = 3 * (num_tokens - prompt.num_prompt + 1) * vocabulary
    size = next(traced.model.parameters()).element_size()
    return traced.num_layers * size * (kept + walking + read)

"""What does each cell say, by one whole forward pass per cell?

The published way, and what the faster ones are checked against.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from driftmap.capture.patching.base_pass import BasePass, corrupting
from driftmap.capture.patching.outcomes import ReadAnswer
from driftmap.capture.patching.putting import Changes, Put, puts_of_cell
from driftmap.capture.patching.states import editing_states
from driftmap.capture.patching.traced import answer_logits
from driftmap.signals.traces import Restoring


def naive_cells(
    base: BasePass,
    restoring: Restoring,
    token: int,
    columns: Sequence[range],
    read: ReadAnswer,
    changes: Changes,
) -> Float[Tensor, "column draw *_"]:
    """Run every cell of one token from the embedding on.

    Args:
        base: Clean and corrupted states.
        restoring: What is put back.
        token: Where.
        columns: In which layers, cell by cell.
        read: What is read of each draw's answer.
        changes: Told what was put back.
    """
    cells = [
        read(
            _cell(
                base, list(puts_of_cell(base, restoring, token, layers)), token, changes
            )
        )
        for layers in columns
    ]
    return torch.stack(cells)


def _cell(
    base: BasePass, puts: Sequence[Put], token: int, changes: Changes
) -> Float[Tensor, "draw answer vocabulary"]:
    traced = base.traced
    with ExitStack() as stack:
        stack.enter_context(
            corrupting(traced, base.num_tokens, base.corruption, after=0)
        )
        modules = [traced.module(put.path) for put in puts]
        edit = partial(_put, puts, token, changes)
        stack.enter_context(editing_states(modules, base.num_tokens, edit))
        token_ids = base.token_ids.expand(base.num_draws, -1)
        return answer_logits(traced.model, token_ids, base.num_answers)


def _put(
    puts: Sequence[Put], token: int, changes: Changes, number: int, states: Tensor
) -> Tensor:
    return changes.put(states, token, puts[number])

"""Prompts and corruptions for tests of causal traces."""

import numpy as np
import torch

from driftmap.results.facts import EncodedFact, Fact
from driftmap.signals.traces import Corruption


def tiny_prompt(
    *,
    tokens: int = 7,
    answer: int = 1,
    subject: tuple[int, int] = (1, 3),
    seed: int = 0,
    vocab: int = 40,
) -> EncodedFact:
    """Random tokens about a subject, and an answer of so many tokens."""
    drawn = np.random.RandomState(seed).randint(3, vocab, tokens + answer)
    return EncodedFact(
        fact=Fact(id="made", subject="X", prompt="X is"),
        token_ids=drawn[:-1].astype(np.int32),
        num_prompt=tokens,
        subject=subject,
        answer_ids=tuple(int(one) for one in drawn[tokens:]),
        foil_ids=(int(drawn[-1]) % (vocab - 4) + 4,),
        tokens=("",) * tokens,
        offsets=((0, 0),) * tokens,
    )


def tiny_corruption(
    prompt: EncodedFact,
    *,
    draws: int = 3,
    width: int = 16,
    level: float = 0.6,
    replaces: bool = False,
) -> Corruption:
    """Noise on the subject of a prompt."""
    start, end = prompt.subject
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(
        draws, end - start, width, generator=generator, dtype=torch.float64
    )
    return Corruption(start=start, values=level * values, replaces=replaces)

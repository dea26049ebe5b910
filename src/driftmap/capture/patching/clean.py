"""What does the untouched model say?"""

from dataclasses import replace

import torch
from torch import nn

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.traced import Traced, answer_logits
from driftmap.results.facts import EncodedFact
from driftmap.signals.traces import CleanRun


def clean_run(model: nn.Module, prompt: EncodedFact) -> CleanRun:
    """Read a prompt once, with nothing changed.

    Args:
        model: A causal language model; left as it was found.
        prompt: With or without an answer.

    Returns:
        Log-probabilities where each token of the answer is foretold (where the first
        would be, without an answer), on the CPU.
    """
    num_answers = len(prompt.token_ids) - prompt.num_prompt + 1
    with torch.no_grad(), evaluating(model):
        token_ids = Traced.of(model).token_ids(prompt)
        logits = answer_logits(model, token_ids, num_answers)[0]
    wide = torch.promote_types(logits.dtype, torch.float32)
    log_probs = logits.to(wide).log_softmax(-1).cpu()
    return CleanRun(log_probs=log_probs, choice=int(log_probs[0].argmax()))


def with_choice(prompt: EncodedFact, clean: CleanRun) -> EncodedFact:
    """Take the model's own first choice as the answer where a fact has none.

    >>> import numpy as np
    >>> from driftmap.results.facts import Fact
    >>> prompt = EncodedFact(fact=Fact(id="a", subject="X", prompt="X is"), foil_ids=(),
    ...     token_ids=np.array([5, 6], np.int32), num_prompt=2, subject=(0, 1),
    ...     answer_ids=(), tokens=("X", " is"), offsets=((0, 1), (1, 4)))
    >>> run = CleanRun(log_probs=torch.zeros(1, 9), choice=7)
    >>> with_choice(prompt, run).answer_ids
    (7,)
    """
    return prompt if prompt.answer_ids else replace(prompt, answer_ids=(clean.choice,))

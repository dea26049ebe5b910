"""What is read of a run's answer?"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Outcome

ReadAnswer = Callable[[Float[Tensor, "row answer vocabulary"]], Tensor]
"""Takes the logits at the answer's places; returns one number or tensor per row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerReader:
    """Turns logits at the places of the answer into an outcome.

    Args:
        outcome: Which.
        answer_ids: Tokens of the answer; with several, probabilities multiply,
            log-probabilities, logits, ranks and divergences add.
        foil_id: First token of the foil, for `logit_difference`.
        clean: Log-probabilities of the clean run, for `kl`.
    """

    outcome: Outcome
    answer_ids: tuple[int, ...]
    foil_id: int | None = None
    clean: Float[Tensor, "answer vocabulary"] | None = None

    def __call__(
        self, logits: Float[Tensor, "row answer vocabulary"]
    ) -> Float64[Tensor, " row"]:
        """Read one number per row."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.outcome == "kl":
            assert self.clean is not None
            clean = self.clean.to(logits)
            each = clean.exp() * (clean - logits.log_softmax(-1))
            return (
                0.0
                - torch.where(clean.isneginf(), 0.0, each).sum((1, 2)).double().cpu()
            )
        ids = torch.tensor(self.answer_ids, device=logits.device)
        picked = logits.gather(2, ids.expand(len(logits), -1)[..., None])[..., 0]
        if self.outcome == "rank":
            likelier = (logits > picked[..., None]).sum((1, 2))
            return 0.0 - likelier.double().cpu()
        if self.outcome == "logit":
            return picked.double().sum(1).cpu()
        if self.outcome == "logit_difference":
            return (picked[:, 0] - logits[:, 0, self.foil_id]).double().cpu()
        log_probs = (picked - logits.logsumexp(-1)).double().sum(1).cpu()
        return log_probs if self.outcome == "log_prob" else log_probs.exp()


def answer_reader(
    prompt: EncodedFact,
    outcome: Outcome,
    clean: Float[Tensor, "answer vocabulary"] | None = None,
) -> AnswerReader:
    """Say how a prompt's answer is read.

    Args:
        prompt: With its answer.
        outcome: What is read.
        clean: Log-probabilities of the clean run, for `kl`.

    Raises:
        MeasureError: The prompt has no answer yet, or no foil that can be told from it.
    """
    where = f"fact {prompt.fact.id}"
    if not prompt.answer_ids:
        raise MeasureError(
            f"{where}: it has no answer; give one, or take the model's own choice with "
            "`with_choice`"
        )
    foil_id = None
    if outcome == "logit_difference":
        if not prompt.foil_ids:
            raise MeasureError(
                f"{where}: it has no foil to take the logit difference to; give one"
            )
        foil_id = prompt.foil_ids[0]
        if foil_id == prompt.answer_ids[0]:
            raise MeasureError(
                f"{where}: answer and foil begin with the same token, so their first "
                "logits cannot differ; use another foil or another outcome"
            )
    return AnswerReader(
        outcome=outcome, answer_ids=prompt.answer_ids, foil_id=foil_id, clean=clean
    )

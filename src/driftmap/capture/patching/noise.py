"""With what is a subject corrupted?

Draws are those of `numpy.random.RandomState(seed)`, scaled in float64: the published
convention (ROME, arXiv:2202.05262), so that the same seed gives the same noise.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.families.modules import base_model
from driftmap.families.trace_sites import find_trace_sites
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Noise
from driftmap.signals.traces import Corruption

_SCALED = ("gaussian", "uniform")
_OF_A_TEXT = ("embedding_gaussian", "student_t", "mean")


def draw_noise(
    noise: Noise,
    prompt: EncodedFact,
    width: int,
    *,
    text: Float[Tensor, "token width"] | None = None,
    partners: Float[Tensor, "draw token width"] | None = None,
    span: tuple[int, int] | None = None,
) -> Corruption:
    """Draw what is done to a prompt.

    Args:
        noise: What is drawn.
        prompt: Its subject is corrupted.
        width: H, of the embedding.
        text: Embeddings of a text (`embedding_rows`), whose mean and covariance
            `embedding_gaussian`, `student_t` and `mean` take.
        partners: Embeddings of other subjects of as many tokens, for `swap`: a draw
            each.
        span: Tokens that are corrupted instead of the subject, for a control.

    Raises:
        MeasureError: The kind of noise needs something that is not given.
    """
    start, end = span or prompt.subject
    _require(noise, prompt, (end - start, width), text, partners)
    shape = (noise.num_draws, end - start, width)
    random = np.random.RandomState(noise.seed)
    replaces = noise.replaces
    if noise.kind in _SCALED:
        drawn = random.randn(*shape) if noise.kind == "gaussian" else None
        unit = random.uniform(-1, 1, shape) if drawn is None else drawn
        values = torch.from_numpy(unit) * float(noise.level or 0.0)
    elif noise.kind in _OF_A_TEXT:
        assert text is not None
        values = _like_text(noise, text.double().cpu(), shape, random)
        replaces = replaces or noise.kind == "mean"
    elif noise.kind == "swap":
        assert partners is not None
        values, replaces = partners.double().cpu(), True
    else:
        values, replaces = torch.zeros(1, *shape[1:], dtype=torch.float64), True
    return Corruption(start=start, values=values, replaces=replaces)


def embedding_rows(
    model: nn.Module, token_ids: Sequence[int]
) -> Float64[Tensor, "token width"]:
    """What the embedding module gives for tokens, on the CPU.

    Args:
        model: A causal language model.
        token_ids: Without padding.
    """
    module = base_model(model).get_submodule(find_trace_sites(model).embedding)
    device = next(module.parameters()).device
    with torch.no_grad():
        return module(torch.tensor([list(token_ids)], device=device))[0].double().cpu()


def embedding_level(
    model: nn.Module, subject_token_ids: Sequence[Sequence[int]], times: float = 3.0
) -> float:
    """Some standard deviations of the embeddings of all subjects: sigma.

    Args:
        model: A causal language model.
        subject_token_ids: Of every subject of a file of facts.
        times: How many standard deviations.

    Returns:
        `times` times the unbiased deviation over all entries of all rows.

    Raises:
        MeasureError: There is no subject.
    """
    token_ids = [one for subject in subject_token_ids for one in subject]
    if not token_ids:
        raise MeasureError("there is no subject to take the noise level from; give one")
    return times * float(embedding_rows(model, token_ids).std())


def control_span(prompt: EncodedFact) -> tuple[int, int] | None:
    """Tokens outside the subject, as many, without the first and the last of a prompt.

    Returns:
        The span after the subject, else the one before it, next to it; None where
        neither has room.

    >>> import numpy as np
    >>> from driftmap.results.facts import Fact
    >>> def prompt(subject):
    ...     return EncodedFact(fact=Fact(id="a", subject="X", prompt="X"), foil_ids=(),
    ...         token_ids=np.zeros(8, np.int32), num_prompt=8, subject=subject,
    ...         answer_ids=(), tokens=("",) * 8, offsets=((0, 0),) * 8)
    >>> control_span(prompt((1, 3))), control_span(prompt((5, 8)))
    ((3, 5), (2, 5))
    >>> control_span(prompt((0, 6))) is None
    True
    """
    start, end = prompt.subject
    size = end - start
    if end + size <= prompt.num_prompt - 1:
        return end, end + size
    if start - size >= 1:
        return start - size, start
    return None


def _require(
    noise: Noise,
    prompt: EncodedFact,
    size: tuple[int, int],
    text: Tensor | None,
    partners: Tensor | None,
) -> None:
    where = f"fact {prompt.fact.id}"
    if noise.num_draws < 1:
        raise MeasureError(
            f"{where}: {noise.num_draws} draws of noise; draw at least 1"
        )
    if noise.kind in _SCALED and noise.level is None:
        raise MeasureError(
            f"{where}: {noise.kind} noise has no level; take it from `embedding_level`"
        )
    if noise.kind in _OF_A_TEXT and (text is None or len(text) < 2):
        raise MeasureError(
            f"{where}: {noise.kind} noise needs the embeddings of a text of two "
            "or more tokens; give one"
        )
    if noise.kind == "student_t" and not (noise.df or 0) > 2:
        raise MeasureError(
            f"{where}: {noise.df} degrees of freedom of student_t noise have no "
            "variance; give more than 2"
        )
    if noise.kind == "swap" and (
        partners is None or not len(partners) or tuple(partners.shape[1:]) != size
    ):
        raise MeasureError(
            f"{where}: there is no other subject of {size[0]} tokens to swap with; "
            "use another kind of noise"
        )


def _like_text(
    noise: Noise,
    text: Float64[Tensor, "row width"],
    shape: tuple[int, int, int],
    random: np.random.RandomState,
) -> Float64[Tensor, "draw token width"]:
    """Draws with the mean and covariance of a text's embeddings, or the mean."""
    mean = text.mean(0)
    if noise.kind == "mean":
        return mean.expand(1, *shape[1:]).clone()
    # What centred rows span has their covariance exactly, of whatever rank it is.
    centred = (text - mean) / sqrt(len(text) - 1)
    unit = random.randn(shape[0], shape[1], len(text))
    drawn = torch.from_numpy(unit) @ centred
    if noise.kind == "student_t":
        assert noise.df is not None
        chi = random.chisquare(noise.df, (shape[0], shape[1], 1))
        drawn = drawn * torch.from_numpy(np.sqrt((noise.df - 2) / chi))
    return mean + drawn

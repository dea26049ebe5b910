"""Which words does the page on attention use for the same thing?"""

from collections.abc import Sequence

from driftmap.results.attention import (
    AttentionPrompt,
    AttentionQuery,
    Criterion,
    QueryFindings,
)
from driftmap.results.attention_study import AttentionFindings
from driftmap.results.statistics import Interval

CRITERIA_WORDS: dict[Criterion, str] = {
    "subject mass": "weight on the subject",
    "sharpness": "sharpness",
    "agreement": "agreement with causes",
    "loss": "loss without the edges",
    "knock-out": "loss beyond control",
}

MEANINGS: dict[Criterion, str] = {
    "subject mass": "Weight on the subject's tokens minus weight on as many tokens "
    "outside it, heads averaged, without the first token, renormalised. A description.",
    "sharpness": "1 minus the row's entropy as a share of its largest: 0 for an even "
    "spread, 1 for a single token. A description, and the first token counts.",
    "agreement": "Spearman's correlation, over the prompt's tokens but the first, of "
    "the layer's row with what each token causes: the most that putting its clean "
    "state back brings back once the subject is disturbed.",
    "loss": "Log-probability (nats) that the answer loses without edges from the "
    "positions that produce it to the subject. An effect, with the other thirds alone "
    "to compare with.",
    "knock-out": "The same minus what it loses without edges to as many other tokens, "
    "where the prompt has room for these. An effect: something was changed and the "
    "answer moved.",
}

IS_EFFECT: frozenset[Criterion] = frozenset(("loss", "knock-out"))
"""Criteria that are evidence of a cause."""

UNITS: dict[Criterion, str] = {
    "subject mass": "share of weight",
    "sharpness": "0 to 1",
    "agreement": "correlation",
    "loss": "nats",
    "knock-out": "nats",
}

WITHOUT_FIRST = "without the first token, renormalised"

DESCRIPTION = (
    "Attention is a description, not evidence: it says from where a head takes values, "
    "not whether the answer depends on them. Evidence is what the answer loses once "
    "edges are cut."
)


def several(count: int, noun: str) -> str:
    """A number of things.

    >>> several(1, "prompt"), several(1200, "prompt")
    ('1 prompt', '1,200 prompts')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def signed(value: Interval) -> str:
    """An estimate with its interval.

    >>> signed(Interval(estimate=0.25, low=-0.1, high=0.5, level=0.95, num=3))
    '0.25 (-0.10 to 0.50)'
    """
    found = (value.estimate, value.low, value.high)
    middle, low, high = (f"{round(one, 2) + 0.0:.2f}" for one in found)
    return f"{middle} ({low} to {high})"


def main_query(found: AttentionFindings) -> QueryFindings:
    """The row that produces the first token of the answer."""
    return found.queries[0]


def query_words(query: AttentionQuery) -> str:
    """Which row it is, and of what it speaks."""
    if query.kind == "own":
        return f"{query.name}: what it looks at once it is there"
    token = query.answer_token + 1
    return f"{query.name}: produces answer token {token}"


def told(prompt: AttentionPrompt) -> str:
    """A prompt as text."""
    return prompt.text.strip()


def layers_in_words(layers: Sequence[int]) -> str:
    """First and last of some layers.

    >>> layers_in_words([0, 1, 2]), layers_in_words([4])
    ('layers 0 to 2', 'layer 4')
    """
    if len(layers) == 1:
        return f"layer {layers[0]}"
    return f"layers {layers[0]} to {layers[-1]}"

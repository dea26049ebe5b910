"""What did the fine-tune change? The answer, made from what each part claims."""

from collections.abc import Iterator, Mapping, Sequence

from driftmap.results.claims import Claim, Topic
from driftmap.results.compare_study import CompareVerdict, VerdictPart

OF_BEHAVIOUR: tuple[Topic, ...] = ("behaviour", "edits")
"""Topics that say whether the tuned model does anything otherwise."""

QUESTIONS: Mapping[str, Mapping[Topic, int]] = {
    "What it is": {"structure": 1},
    "What it does": {"edits": 1, "behaviour": 2},
    "What moved": {"weights": 2},
    "Where it acts": {"where": 3, "traces": 0},
    "What it looks at and reads": {"attention": 1, "readings": 1},
    "When": {"training": 1},
}
"""Headings of the answer, and how many claims of each topic stand there at most."""

LOCALISED: tuple[Topic, ...] = ("where", "traces")
"""Topics that name layers by what happens when these are exchanged."""

LOCALISATION = (
    "Where an exchange of layers or a trace points does not tell where editing works "
    "best: the success of edits hardly follows it (Hase et al. 2023, arXiv:2301.04213)."
)
ATTENTION = (
    "Attention is context, not evidence: where it disagrees with the logits, the "
    "logits say what the model does."
)
FEW = (
    "The probes are driftmap's own few. What the tuning was for may not be among them: "
    "give `--facts`, `--texts`, `--harmful` and `--harmless` of your own."
)


def compare_verdict(
    claims: Sequence[Claim],
    *,
    has_same_weights: bool | None = None,
    has_same_output: bool | None = None,
    is_built_in: bool = False,
) -> CompareVerdict:
    """Put the claims of all parts into one answer.

    Args:
        claims: Of all parts; within a topic the most important one first.
        has_same_weights: No weight differs; None where weights were not compared, or
            not all of them.
        has_same_output: Every logit and answer that was read is equal, bit for bit;
            None where nothing was asked.
        is_built_in: Probes were driftmap's own few.

    Returns:
        A headline and sentences; the rest of the claims stands below it on the page.
    """
    order = [topic for topics in QUESTIONS.values() for topic in topics]
    ordered = sorted(claims, key=lambda claim: order.index(claim.topic))
    open_ones = [c for c in ordered if c.standing in ("not-found", "inconclusive")]
    return CompareVerdict(
        headline=_headline(ordered, has_same_weights, has_same_output),
        parts=tuple(_parts(ordered)),
        unsettled=tuple(claim.says for claim in _first_of_each(open_ones)),
        cautions=tuple(_cautions(ordered, is_built_in=is_built_in)),
    )


def layers_named(claims: Sequence[Claim], topics: Sequence[Topic]) -> tuple[int, ...]:
    """Layers that claims of some topics name as those that count, ascending."""
    named = {
        layer
        for claim in claims
        if claim.topic in topics and claim.standing in ("found", "context")
        for layer in claim.layers
    }
    return tuple(sorted(named))


def _parts(claims: Sequence[Claim]) -> Iterator[VerdictPart]:
    """Found claims first, then those that describe, up to the number of each topic."""
    for question, topics in QUESTIONS.items():
        says = [
            claim.says
            for topic, most in topics.items()
            for claim in _told(claims, topic)[:most]
        ]
        if "where" in topics:
            says += _agreement(claims)
        if says:
            yield VerdictPart(question=question, says=tuple(says))


def _told(claims: Sequence[Claim], topic: Topic) -> list[Claim]:
    """Claims of a topic that say something: what was found before what describes.

    Of what acts, sentences that name layers come first.
    """
    of_topic = [claim for claim in claims if claim.topic == topic]
    if topic == "where":
        of_topic.sort(key=lambda claim: not claim.layers)
    return [
        claim
        for standing in ("found", "context")
        for claim in of_topic
        if claim.standing == standing
    ]


def _headline(
    claims: Sequence[Claim], has_same_weights: bool | None, has_same_output: bool | None
) -> str:
    if has_same_weights and has_same_output is not False:
        also = (
            ", and every logit and answer that was read is equal, bit for bit"
            if has_same_output
            else ""
        )
        return f"The two models are identical: no weight differs{also}."
    if has_same_output:
        return (
            "On all probes the two models are identical in output, bit for bit, though "
            "weights differ."
            if has_same_weights is False
            else "On all probes the two models are identical in output, bit for bit."
        )
    told = [claim for claim in claims if claim.topic in OF_BEHAVIOUR]
    if any(claim.standing == "found" for claim in told):
        return "The tuned model does otherwise than its base on these probes."
    if told:
        return "No change of behaviour can be told from chance on these probes."
    if has_same_weights is False:
        return "Weights differ; what the tuned model does was not asked."
    return "How the two models are built is compared; nothing was asked of them."


def _first_of_each(claims: Sequence[Claim]) -> list[Claim]:
    """The first claim of every topic, in the order given."""
    return list({claim.topic: claim for claim in reversed(claims)}.values())[::-1]


def _agreement(claims: Sequence[Claim]) -> Iterator[str]:
    """Whether the layers that moved are those that act, where both are named."""
    moved = layers_named(claims, ("weights",))
    acting = layers_named(claims, LOCALISED)
    if not moved or not acting:
        return
    both = sorted(set(moved) & set(acting))
    if both:
        yield (
            f"What moved and what acts meet: {_layers(both)} "
            f"{'are' if len(both) > 1 else 'is'} named by both."
        )
    else:
        yield (
            f"What moved most ({_layers(moved)}) is not what acts ({_layers(acting)}): "
            "how far weights move does not say what they do."
        )


def _cautions(claims: Sequence[Claim], *, is_built_in: bool) -> Iterator[str]:
    acting = layers_named(claims, LOCALISED)
    if acting:
        yield LOCALISATION
    attention = [claim for claim in claims if claim.topic == "attention"]
    if attention:
        looked = {layer for claim in attention for layer in claim.layers}
        apart = acting and looked and not looked & set(acting)
        yield ATTENTION + (
            f" Here it moved most in {_layers(sorted(looked))}, and what acts is "
            f"{_layers(acting)}."
            if apart
            else ""
        )
    if is_built_in:
        yield FEW


def _layers(layers: Sequence[int]) -> str:
    """Layers in words.

    >>> _layers([3]), _layers([0, 1, 4])
    ('layer 3', 'layers 0, 1 and 4')
    """
    if len(layers) == 1:
        return f"layer {layers[0]}"
    *most, last = map(str, layers)
    return f"layers {', '.join(most)} and {last}"

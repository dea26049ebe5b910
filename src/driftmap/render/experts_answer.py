"""Which experts must change, is changing them enough, at what price? The page's top."""

from collections.abc import Iterator, Sequence

from driftmap.render.experts_words import (
    OUTCOMES,
    difference,
    level,
    listed,
    main_group,
    method_name,
    several,
)
from driftmap.render.page import Callout, Facts, Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import number, percent
from driftmap.results.expert_study import ExpertFindings, ExpertVerdictKind
from driftmap.results.expert_views import Arm, ArmContrast, ArmOutcome
from driftmap.results.statistics import Caution

MAIN: frozenset[ArmOutcome] = frozenset(
    {"refused", "over_refused", "benign_nats", "perplexity"}
)
"""Outcomes of the first table; others are folded."""

MOST_LAYERS = 8
"""Layers that are named one by one."""

TITLES: dict[ExpertVerdictKind, str] = {
    "enough": "Tuning only these experts is enough",
    "costly": "Tuning only these experts makes it refuse, at a price",
    "unpriced": "Tuning only these experts makes it refuse; the price is not known",
    "any experts": "It refuses, but other experts would do as well",
    "not enough": "Tuning only these experts is not shown to be enough",
    "ranked": "A ranking, not yet an answer",
    "inconclusive": "These numbers give no answer",
}

MEANINGS: dict[ExpertVerdictKind, str] = {
    "enough": "The model refuses attacks that it was not tuned on, and which experts "
    "were tuned matters: as many others of the same layers and traffic, tuned alike, "
    "do less. It does not say that no other experts could do it.",
    "costly": "Which experts were tuned matters, but the change is not confined to "
    "what should be refused. Look at the price below, at fewer experts and at fewer "
    "rounds.",
    "unpriced": "Which experts were tuned matters. A model that refuses everything "
    "would look the same here: read the price before you believe it.",
    "any experts": "Matched random experts, tuned alike, do about as well. Refusal "
    "came from tuning, not from the choice.",
    "not enough": "Refusal on held-out attacks did not rise beyond what prompts allow "
    "for.",
    "ranked": "A ranking says where the loss or the tokens point. Only an effect says "
    "that experts carry the behaviour, and only tuning says that they are enough.",
    "inconclusive": "Nothing here says that these experts matter, or that they do not.",
}

EVIDENCE = (
    "Three kinds of evidence stand on this page under their own names. A `gradient` "
    "score: which weights the loss would move; it follows depth and traffic. A "
    "`routing` score: which experts serve unsafe text more often; it follows topic and "
    "wording. An `effect`: what refusal does when experts are removed, re-routed or "
    "tuned."
)

CAUTION_TITLES = {
    "in-sample": "Nothing is held out",
    "few-items": "Few held-out prompts",
    "one-sentence": "One sentence as every wanted answer",
    "own-texts": "Routing compares different answers",
    "cut-prompts": "Cut prompts",
    "unstable": "An unstable choice",
    "depth": "The choice follows depth",
    "traffic": "The choice follows traffic",
    "methods-disagree": "Methods that disagree",
    "few-draws": "Few random groups",
    "unmatched": "Random groups that are not alike",
}


def answer_section(findings: ExpertFindings) -> Section:
    """The verdict, what it means, models side by side, and what to doubt."""
    verdict = findings.verdict
    nodes: list[Node] = [
        Callout(kind="verdict", title=TITLES[verdict.kind], texts=[verdict.sentence]),
        Paragraph(text=MEANINGS[verdict.kind]),
    ]
    if verdict.settles:
        nodes.append(Paragraph(text=f"What would settle it: {verdict.settles}"))
    nodes.append(_facts(findings))
    nodes += _side_by_side(findings)
    nodes += _cautions(findings.cautions)
    nodes.append(Paragraph(text=EVIDENCE))
    return Section(anchor="answer", title="The answer", nodes=nodes)


def _facts(findings: ExpertFindings) -> Facts:
    facts, items = findings.facts, findings.items
    group = main_group(findings)
    layers = sorted({expert.layer for expert in group.experts})
    weights = facts.num_weights(group.experts) / facts.num_parameters
    held_out = (
        "none: outcomes are read on the training items"
        if items.is_in_sample
        else several(items.num_held_out, "item")
    )
    return Facts(
        pairs=[
            ("experts to choose from", f"{facts.num_experts:,}"),
            (
                "chosen in round 1",
                f"{len(group.experts):,} by {method_name(group.method)}, "
                f"{percent(weights)} of all weights",
            ),
            ("in layers", _layers(layers)),
            ("scored and tuned on", several(items.num_train, "item")),
            ("outcomes read on", held_out),
        ]
    )


def _layers(layers: list[int]) -> str:
    if len(layers) > MOST_LAYERS:
        return f"{len(layers)} of them, from {layers[0]} to {layers[-1]}"
    return listed([str(layer) for layer in layers]) if layers else "none"


def _side_by_side(findings: ExpertFindings) -> Iterator[Node]:
    arms = findings.arms
    if not arms:
        return
    read: list[ArmOutcome] = [o for o in OUTCOMES if any(o in a.readings for a in arms)]
    first: list[ArmOutcome] = [outcome for outcome in read if outcome in MAIN] or read
    asked = "that they were tuned on" if findings.items.is_in_sample else "held out"
    yield _arms(
        findings,
        first,
        f"Models side by side, asked the same prompts, {asked}. Brackets hold 95 % "
        "intervals over prompts.",
    )
    if findings.contrasts:
        yield _contrasts(findings.contrasts)
    rest: list[ArmOutcome] = [outcome for outcome in read if outcome not in first]
    if rest:
        yield Folded(
            summary="More outcomes of the same models",
            nodes=[_arms(findings, rest, "The same models and prompts.")],
        )


def _arms(
    findings: ExpertFindings, outcomes: Sequence[ArmOutcome], caption: str
) -> Grid:
    return Grid(
        caption=caption,
        columns=("model", "experts tuned", *(OUTCOMES[o] for o in outcomes)),
        rows=[
            (_name(arm), _tuned(arm, findings), *(_cell(arm, o) for o in outcomes))
            for arm in findings.arms
        ],
        align_right=frozenset(range(1, 2 + len(outcomes))),
    )


def _contrasts(contrasts: Sequence[ArmContrast]) -> Grid:
    return Grid(
        caption="Differences on the same prompts: the first model minus the second. "
        "What chance gives is the row against matched random experts.",
        columns=("first", "second", "outcome", "difference", "p"),
        rows=[
            (
                c.left,
                c.right,
                OUTCOMES[c.outcome],
                difference(c.difference, c.outcome),
                number(c.p_value),
            )
            for c in contrasts
        ],
        align_right=frozenset({3, 4}),
    )


def _cautions(cautions: Sequence[Caution]) -> Iterator[Callout]:
    """One box per reason, however many methods give it."""
    for name in dict.fromkeys(caution.name for caution in cautions):
        mine = [caution for caution in cautions if caution.name == name]
        yield Callout(
            kind="blocking" if mine[0].is_blocking else "caution",
            title=CAUTION_TITLES.get(name, name),
            texts=[caution.sentence for caution in mine],
        )


def _name(arm: Arm) -> str:
    draws = f" ({arm.num_models} draws)" if arm.num_models > 1 else ""
    return arm.name + draws


def _tuned(arm: Arm, findings: ExpertFindings) -> str:
    if arm.kind == "base":
        return "–"
    share = percent(arm.num_weights / findings.facts.num_parameters)
    routers = ", routers" if arm.tunes_routers else ""
    if arm.kind == "full":
        return "every weight"
    return f"{arm.num_experts:,}{routers} ({share})"


def _cell(arm: Arm, outcome: ArmOutcome) -> str:
    reading = arm.readings.get(outcome)
    return "–" if reading is None else level(reading.value, outcome)

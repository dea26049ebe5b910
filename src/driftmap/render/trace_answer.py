"""Where is a fact read, and how sure is that? The top of the page on traces."""

from collections.abc import Iterator

from driftmap.render.page import (
    Callout,
    Facts,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.trace_facts import single_maps
from driftmap.render.trace_roles import role_map
from driftmap.render.trace_words import (
    CAUTION_TITLES,
    EDITING,
    noise_words,
    several,
)
from driftmap.render.wording import percent
from driftmap.results.statistics import Caution
from driftmap.results.trace_study import TraceFindings, TraceVerdictKind
from driftmap.stats.trace_verdict import OUTCOMES, amount, spread

TITLES: dict[TraceVerdictKind, str] = {
    "subject site": "The subject's last token carries the answer, and then the last "
    "token of the prompt does",
    "other subject token": "Another token of the subject carries more than its last",
    "no single site": "No single state of the subject carries the answer",
    "no effect": "Disturbing the subject is not shown to do anything",
    "one fact": "One prompt, cell by cell",
    "inconclusive": "These numbers give no answer",
}

MEANINGS: dict[TraceVerdictKind, str] = {
    "subject site": "What the answer needs of the subject can be read from one state "
    "at the subject's last token, up to the layer where it has been copied on. It does "
    "not say that the fact is stored in that layer: a state holds what all layers "
    "below it wrote.",
    "other subject token": "The answer hangs on one piece of the subject's name that "
    "is not its last. Look at the single facts: does that piece alone tell the "
    "subjects apart?",
    "no single site": "What the answer needs of the subject is spread over several "
    "tokens or layers: no single one of them carries it.",
    "no effect": "Before asking which state brings the answer back, something must "
    "have been lost. Here that is not shown.",
    "one fact": "The maps below show this prompt alone. Which layers matter differs "
    "from prompt to prompt; only an average says what they share.",
    "inconclusive": "Nothing here says where a fact is read, or where it is not.",
}


def answer_section(found: TraceFindings) -> Section:
    """The verdict, the map by role, how many facts, and what to doubt."""
    verdict = found.verdict
    nodes: list[Node] = [
        Callout(kind="verdict", title=TITLES[verdict.kind], texts=[verdict.sentence]),
        Paragraph(text=MEANINGS[verdict.kind]),
    ]
    if verdict.settles:
        nodes.append(Paragraph(text=f"What would settle it: {verdict.settles}"))
    if found.effects:
        plain = [one for one in found.effects if not one.kind.startswith("severed")]
        nodes += [role_map(found, one) for one in plain[:1]]
    elif found.shown:
        nodes += single_maps(found, found.shown[0])[:1]
    nodes.append(_facts(found))
    nodes += _cautions(found.cautions)
    nodes.append(
        Callout(kind="caution", title="Not a map for editing", texts=[EDITING])
    )
    return Section(anchor="answer", title="The answer", nodes=nodes)


def _facts(found: TraceFindings) -> Facts:
    counts = found.counts
    pairs = [("facts read", f"{counts.num_read:,}")]
    if found.answer_source == "top1":
        pairs.append(("answers", "the model's own first choices, right or wrong"))
    else:
        judged = counts.num_known + counts.num_unknown
        share = percent(counts.num_known / judged) if judged else "none"
        pairs.append(("known to the model", f"{counts.num_known:,} ({share})"))
        pairs.append(("not known, left out", f"{counts.num_unknown:,}"))
    left_out = sum(counts.left_out.values())
    if left_out:
        pairs.append(("not traced", f"{left_out:,}"))
    if found.effects:
        about = several(counts.num_subjects, "subject")
        pairs.append(("averaged", f"{counts.num_averaged:,} about {about}"))
    pairs.append(("what is read", OUTCOMES[found.outcome]))
    pairs.append(("done to the subject's embeddings", noise_words(found.noise)))
    pairs += _control(found)
    return Facts(pairs=pairs)


def _control(found: TraceFindings) -> Iterator[tuple[str, str]]:
    """What the same noise does elsewhere: what chance gives."""
    if not found.effects:
        for fact in found.facts[:1]:
            lost = fact.high - fact.low
            yield "lost to noise on the subject", amount(lost, found.outcome)
            if fact.control is not None:
                told = amount(fact.control, found.outcome)
                yield "lost to the same noise on other words", told
        return
    main = found.effects[0]
    yield "lost to noise on the subject", spread(main.total_effect, found.outcome)
    told = "not tried"
    if main.control_effect is not None:
        told = spread(main.control_effect, found.outcome)
    yield "lost to the same noise on other words", told


def _cautions(cautions: tuple[Caution, ...]) -> Iterator[Callout]:
    for name in dict.fromkeys(caution.name for caution in cautions):
        mine = [caution for caution in cautions if caution.name == name]
        yield Callout(
            kind="blocking" if mine[0].is_blocking else "caution",
            title=CAUTION_TITLES.get(name, name),
            texts=[caution.sentence for caution in mine],
        )

"""Which layers serve best, by which criterion? The top of the page on attention."""

from collections.abc import Iterator

from driftmap.render.attention_words import (
    CRITERIA_WORDS,
    DESCRIPTION,
    IS_EFFECT,
    MEANINGS,
    UNITS,
    layers_in_words,
    main_query,
    several,
    signed,
)
from driftmap.render.page import Callout, Grid, Node, Section, Terms
from driftmap.results.attention import (
    CRITERIA,
    LEAST_SUBJECTS,
    THIRDS,
    BestThird,
    Criterion,
    QueryFindings,
    Third,
)
from driftmap.results.attention_study import AttentionFindings
from driftmap.results.statistics import Interval


def answer_section(found: AttentionFindings) -> Section:
    """The answer, with early, middle and late layers in one table."""
    query = main_query(found)
    nodes: list[Node] = [
        Callout(kind="verdict", title="Do layers differ?", texts=[verdict(found)]),
        Callout(kind="caution", title="What attention is", texts=[DESCRIPTION]),
    ]
    if query.thirds:
        nodes += [_thirds(found, query), _best(query), _terms(query)]
    nodes += _cautions(found, query)
    return Section(anchor="answer", title="Answer", nodes=nodes)


def verdict(found: AttentionFindings) -> str:
    """What may be said: of effects if edges were cut, else that nothing may."""
    query = main_query(found)
    best = _of(query, "knock-out")
    beyond = ", beyond what cutting as many other edges costs"
    if best is None or best.num_subjects < LEAST_SUBJECTS:
        plain = _of(query, "loss")
        if plain is not None and plain.num_subjects >= LEAST_SUBJECTS:
            best, beyond = plain, " (few prompts have room for other edges to cut)"
    if best is None:
        return (
            "Nothing was cut, so nothing is said of which layers the answer needs; the "
            "numbers below describe where heads look."
        )
    layers = layers_in_words(_layers(found, best.third))
    num = f"{several(best.lead.num, 'prompt')}, {best.num_subjects} subjects"
    if best.is_settled:
        return (
            f"The answer needs the edges to the subject most in the {best.third} third "
            f"({layers}): cutting them there costs {signed(best.lead)} nats more than "
            f"in the next third{beyond} ({num}).{_otherwise(query, best)}"
        )
    why = "which may be chance"
    if best.num_subjects < LEAST_SUBJECTS:
        why = f"on fewer than {LEAST_SUBJECTS} subjects, too few to tell"
    return (
        "No third of the layers is told apart from the others by what cutting its "
        f"edges to the subject costs: the {best.third} third ({layers}) leads by "
        f"{signed(best.lead)} nats, {why} ({num})."
    )


def _otherwise(query: QueryFindings, best: BestThird) -> str:
    """A word on the plain loss, where it names another third."""
    plain = _of(query, "loss")
    if best.criterion == "loss" or plain is None or plain.third == best.third:
        return ""
    sure = "told apart" if plain.is_settled else "not told apart"
    return (
        f" Without the control taken off, the {plain.third} third leads by "
        f"{signed(plain.lead)} nats, {sure} from chance."
    )


def _thirds(found: AttentionFindings, query: QueryFindings) -> Grid:
    scores = {(one.criterion, one.third): one.value for one in query.thirds}
    rows = [
        [
            f"{CRITERIA_WORDS[name]} ({UNITS[name]})",
            "effect" if name in IS_EFFECT else "description",
            *(_cell(scores.get((name, third))) for third in THIRDS),
        ]
        for name in _named(query)
    ]
    heads = [
        f"{third} ({layers_in_words(own)})" if (own := _layers(found, third)) else third
        for third in THIRDS
    ]
    return Grid(
        caption="Early, middle and late layers, means over "
        f"{several(query.num_prompts, 'prompt')} with 95 % intervals over subjects",
        columns=["criterion", "which is", *heads],
        rows=rows,
        align_right=frozenset((2, 3, 4)),
    )


def _best(query: QueryFindings) -> Grid:
    rows = [
        [
            CRITERIA_WORDS[one.criterion],
            f"{one.layer} ({one.layer_low} to {one.layer_high})",
            one.third,
            signed(one.lead),
            f"{100 * one.share_of_resamples:.0f} %",
            "yes" if one.is_settled else "no",
        ]
        for one in query.best
    ]
    return Grid(
        caption="Which layers serve best, by each stated criterion",
        columns=[
            "criterion", "best layer (95 %)", "best third", "lead over the next",
            "best in resamples", "told apart from chance",
        ],
        rows=rows,
        align_right=frozenset((3, 4)),
    )  # fmt: skip


def _terms(query: QueryFindings) -> Terms:
    return Terms(pairs=[(CRITERIA_WORDS[n], MEANINGS[n]) for n in _named(query)])


def _cautions(found: AttentionFindings, query: QueryFindings) -> Iterator[Node]:
    texts: list[str] = []
    if query.num_without_control:
        texts.append(
            f"{several(query.num_without_control, 'prompt')} of {query.num_prompts} "
            "had no subject or no room for a control span of equal length, and count "
            "in no criterion that needs one."
        )
    if 0 < found.num_cut < found.num_read:
        texts.append(
            f"Edges were cut for {found.num_cut} of {several(found.num_read, 'prompt')}"
            " (`--num-effects`)."
        )
    settled = {one.third for one in query.best if one.is_settled}
    if len(settled) > 1:
        texts.append(
            "Criteria disagree about which third is best: what heads look at and what "
            "the answer needs are different things."
        )
    texts += [
        f"In the {one.third} third the answer needs the control span more than the "
        f"subject: {signed(one.value)} nats. The control often holds the words that "
        "say what is asked, so it is no span without meaning."
        for one in query.thirds
        if one.criterion == "knock-out" and one.value.high < 0
    ]
    if found.left_out:
        told = "; ".join(f"{count}: {why}" for why, count in found.left_out.items())
        texts.append(f"Prompts were left out ({told}).")
    if texts:
        yield Callout(kind="caution", title="Read with care", texts=texts)


def _of(query: QueryFindings, criterion: Criterion) -> BestThird | None:
    return next((one for one in query.best if one.criterion == criterion), None)


def _named(query: QueryFindings) -> list[Criterion]:
    there = {one.criterion for one in query.thirds}
    return [name for name in CRITERIA if name in there]


def _layers(found: AttentionFindings, third: Third) -> list[int]:
    """Blocks of a third, whether they attend or not."""
    return [
        layer
        for layer in range(found.num_layers)
        if THIRDS[layer * 3 // found.num_layers] == third
    ]


def _cell(value: Interval | None) -> str:
    return "not available" if value is None else signed(value)

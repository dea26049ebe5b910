"""Do gradients lead from a query back to its original? The top of the page."""

from collections.abc import Iterator
from typing import Literal

from driftmap.render.charts import Ranges
from driftmap.render.page import Callout, Facts, Figure, Grid, Node, Paragraph, Section
from driftmap.render.similarity_words import (
    BASELINES,
    HALF_NAMES,
    MEASURES,
    NONE,
    against,
    all_of,
    chance_words,
    full_name,
    full_of,
    is_gradients,
    leading,
    p_value,
    p_words,
    place_word,
    points_words,
    score_words,
    several,
    slug,
    titled,
    unit_words,
)
from driftmap.render.wording import number, percent
from driftmap.results.retrieval import SetStudy
from driftmap.results.retrieval_reading import FULL, Reading, Score
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

Kind = Literal["found", "chance", "below"]
BesideWords = Literal["more", "less", "alike", "unknown"]

TITLES: dict[tuple[Kind, BesideWords], str] = {
    ("found", "more"): "{it} finds the original, more often than shared words do",
    ("found", "less"): "{it} finds the original, but shared words do so more often",
    ("found", "alike"): "{it} finds the original, about as often as shared words do",
    ("found", "unknown"): "{it} finds the original",
    ("chance", "unknown"): "{it} is not told apart from chance",
    ("below", "unknown"): "{it} does worse than chance",
}
WORDS = "bm25"

RANDOM = "random order"
"""Chance is drawn as a line; that it is met by an order stands in the table."""

ROLES = {WORDS: "matched"}

UNSURE = 0.05
"""From this p on, a difference from shared words is not called one."""

CAUTION_TITLES = {
    "few-ids": "Few originals",
    "no-halves": "Nothing could be held out",
    "forced-truth": "The truth was put among the candidates",
    "missing-truth": "Originals that are no candidates",
    "few-heard": "Few tensors are heard",
    "saturated": "Accuracy is at its end",
    "no-direction": "Gradients without direction",
}
"""By the names that stats gives them."""


def answer_section(study: SimilarityStudy) -> Section:
    """What was asked, and how often the right original comes first."""
    measure = leading(study)
    sets = measure.study.sets
    nodes: list[Node] = [_question(study), *(_verdict(measure, of) for of in sets)]
    nodes.append(_sizes(measure))
    for of in sets:
        # A measure that stands among the baselines was compared pair by pair there.
        named = {r.unit.name for r in all_of(of, "baseline")}
        others = [
            (m, other)
            for m in study.measures[1:]
            for other in m.study.sets
            if other.name == of.name and m.name not in named
        ]
        nodes.append(_figure(measure, of, others))
        nodes.append(_grid(measure, of, others))
        nodes += _cautions(of)
    return Section(anchor="answer", title="The answer", nodes=nodes)


def kind_of(accuracy: Score) -> Kind:
    """Whether an accuracy lies above, around or below what chance gives."""
    if accuracy.value.low > accuracy.chance:
        return "found"
    return "below" if accuracy.value.high < accuracy.chance else "chance"


def beside_words(full: Reading) -> BesideWords:
    """Whether it is above, around or below what shared words give."""
    contrast = against(full, WORDS)
    if contrast is None:
        return "unknown"
    if contrast.p_value >= UNSURE:
        return "alike"
    if contrast.change.low > 0:
        return "more"
    return "less" if contrast.change.high < 0 else "alike"


def _question(study: SimilarityStudy) -> Paragraph:
    measure = leading(study)
    if is_gradients(measure):
        compared = (
            "how it would change each of the model's tensors if it were trained on: "
            "its gradient. The originals are ranked by the cosine of theirs with it"
        )
    else:
        compared = (
            "what the model makes of it on the way: its hidden states. The originals "
            "are ranked by the cosine of theirs with it"
        )
    return Paragraph(
        text=f"Each query says the same as one original in other words. Of it we look "
        f"at {compared}. If the two mean the same to the model, the right original "
        "comes first."
    )


def _verdict(measure: MeasureStudy, of: SetStudy) -> Callout:
    full = full_of(of)
    kind = kind_of(full.accuracy)
    beside = beside_words(full) if kind == "found" else "unknown"
    title = TITLES[kind, beside].format(it=_subject(measure))
    if not is_gradients(measure):
        title = title.replace(" finds ", " find ").replace(" is not ", " are not ")
        title = title.replace(" does worse ", " do worse ")
    if len(measure.study.sets) > 1:
        title = f"{of.name[:1].upper()}{of.name[1:]}: {title[:1].lower()}{title[1:]}"
    return Callout(
        kind="verdict", title=title, texts=list(_sentences(measure, of, full))
    )


def _subject(measure: MeasureStudy) -> str:
    name = full_name(measure)
    return f"The {name}" if is_gradients(measure) else f"{name[:1].upper()}{name[1:]}"


def _sentences(measure: MeasureStudy, of: SetStudy, full: Reading) -> Iterator[str]:
    it = full_name(measure)
    yield (
        f"By the {it}, the right original comes first for "
        f"{score_words(full.accuracy)} of "
        f"{several(of.num_queries, f'{of.name} query')}, {candidates_words(of)}; in a "
        f"random order for {chance_words(full.accuracy)}."
    )
    contrast = against(full, WORDS)
    words = next((b for b in all_of(of, "baseline") if b.unit.name == WORDS), None)
    if words is not None and contrast is not None:
        yield (
            "BM25, which sees shared words alone, reaches "
            f"{score_words(words.accuracy)}; the {it} less BM25: "
            f"{points_words(contrast.change)}, {p_words(contrast)}."
        )
    yield from _beside_states(measure, of, full)
    best = of.best_tensor
    if best is not None:
        yield (
            f"The best single {place_word(measure)}, chosen on {best_chosen(of)}: "
            f"{unit_words(best.unit)} reaches {score_words(best.reported_on)}, where "
            f"the {it} has {score_words(best.full)}."
        )


def _beside_states(measure: MeasureStudy, of: SetStudy, full: Reading) -> Iterator[str]:
    """Another measure on the same pairs, where it stands among the baselines."""
    for baseline in all_of(of, "baseline"):
        name = baseline.unit.name
        contrast = against(full, name)
        if name in MEASURES and contrast is not None:
            other = MEASURES[name]
            yield (
                f"{other[:1].upper()}{other[1:]}, which cost one pass forward, reach "
                f"{score_words(baseline.accuracy)}; the {full_name(measure)} less "
                f"them: {points_words(contrast.change)}, {p_words(contrast)}."
            )
            return


def candidates_words(of: SetStudy) -> str:
    """What each query was compared with."""
    lists = of.preselection
    if lists.is_all_pairs:
        return f"each among all {lists.num_most:,} originals"
    least = "" if lists.num_least == lists.num_most else f"{lists.num_least:,} to "
    note = lists.title.partition(", ")[2]
    return f"each among {least}{lists.num_most:,} candidates" + (
        f" ({note})" if note else ""
    )


def best_chosen(of: SetStudy) -> str:
    """On which ids choices were made, and on which they are reported."""
    if not of.best_tensor or of.num_chosen_on == of.num_ids == of.num_reported_on:
        return f"the same {of.num_ids:,} ids as it is judged on, so too high"
    return f"{of.num_chosen_on:,} ids and judged on the other {of.num_reported_on:,}"


def _sizes(measure: MeasureStudy) -> Facts:
    study = measure.study
    weights = [place.num_weights for place in study.tensors]
    known = [w for w in weights if w is not None]
    pairs = [("originals", f"{study.num_originals:,}")]
    pairs += [
        (
            f"{of.name} queries",
            f"{of.num_queries:,} of {several(of.num_ids, 'original')}",
        )
        for of in study.sets
    ]
    pairs += [("candidates", candidates_words(of)) for of in study.sets[:1]]
    word = place_word(measure)
    pairs.append((f"{word}s compared", f"{len(study.tensors):,}"))
    if known and len(known) == len(weights):
        pairs.append(("weights in them", f"{sum(known):,}"))
    if study.num_duplicates:
        pairs.append(("originals equal to another", f"{study.num_duplicates:,}"))
    return Facts(pairs=pairs)


Beside = tuple[MeasureStudy, SetStudy]


def _figure(measure: MeasureStudy, of: SetStudy, others: list[Beside]) -> Figure:
    rows = list(_headlines(measure, of, others))
    chance = full_of(of).accuracy.chance
    return Figure(
        name=slug("answer", of.name),
        title=titled("How often the right original comes first", of,
                     len(measure.study.sets)),
        reading=f"Share of queries, with 95 % intervals over original ids. The dotted "
        f"line is chance, {percent(chance)}. {_halves_note(of)}",
        chart=Ranges(
            x_title="right original first (share)",
            names=[name for name, _, _ in rows],
            estimates=[score.value.estimate for _, score, _ in rows],
            lows=[score.value.low for _, score, _ in rows],
            highs=[score.value.high for _, score, _ in rows],
            reference=chance,
            roles=[role for _, _, role in rows],
        ),
    )  # fmt: skip


def _halves_note(of: SetStudy) -> str:
    if of.best_tensor is None or of.num_reported_on == of.num_ids:
        return ""
    return (
        f"`other half`: {of.num_reported_on:,} ids that the tensor was not chosen on, "
        "so that being the best of many does not flatter it."
    )


def _headlines(
    measure: MeasureStudy, of: SetStudy, others: list[Beside]
) -> Iterator[tuple[str, Score, str]]:
    yield full_name(measure), full_of(of).accuracy, "difference"
    best = of.best_tensor
    if best is not None:
        half = "" if of.num_reported_on == of.num_ids else ", other half"
        yield f"best {place_word(measure)}{half}", best.reported_on, "top"
    for other, other_set in others:
        yield full_name(other), full_of(other_set).accuracy, "utility"
    for baseline in all_of(of, "baseline"):
        name = baseline.unit.name
        if name == RANDOM:
            continue
        role = ROLES.get(name, "utility" if name in MEASURES else "random")
        yield BASELINES.get(name, name), baseline.accuracy, role


COLUMNS = (
    "ranked by", "n", "right one first", "chance", "mean 1/rank", "among first 5",
    "median rank", "AUC", "less full", "p",
)  # fmt: skip


def _grid(measure: MeasureStudy, of: SetStudy, others: list[Beside]) -> Grid:
    rows = [_row(full_name(measure), full_of(of))]
    rows += [_row(HALF_NAMES[r.unit.name], r) for r in all_of(of, "half")]
    rows += [_row(full_name(m), full_of(other)) for m, other in others]
    rows += [
        _row(BASELINES.get(r.unit.name, r.unit.name), r) for r in all_of(of, "baseline")
    ]
    what = "" if len(measure.study.sets) == 1 else f"{of.name} queries. "
    text = (
        f"{what[:1].upper()}{what[1:]}Brackets hold 95 % intervals; `chance` is of the "
        "third column. Mean 1/rank and AUC: 1 is perfect; AUC is how often a matching "
        "pair lies above a non-matching one, by chance 0.5. `less full`: the third "
        "column minus that of the first row, in points of a hundred."
    )
    if len(of.readings) and full_of(of).unflagged is not None:
        text += (
            " Without flagged queries, the first row has "
            f"{score_words(full_of(of).unflagged)}."
        )
    return Grid(
        caption=text, columns=COLUMNS, rows=rows, align_right=frozenset(range(1, 10))
    )


def _row(name: str, reading: Reading) -> tuple[str, ...]:
    five = next((r.score for r in reading.recall if r.k == 5), None)
    contrast = against(reading, FULL)
    return (
        name,
        f"{reading.num_queries:,}",
        score_words(reading.accuracy),
        chance_words(reading.accuracy),
        number(reading.reciprocal_rank.value.estimate),
        score_words(five),
        NONE if reading.median_rank is None else f"{reading.median_rank:g}",
        NONE if reading.auc is None else number(reading.auc.value.estimate),
        NONE if contrast is None else points_words(contrast.change),
        NONE if contrast is None else p_value(contrast),
    )


def _cautions(of: SetStudy) -> Iterator[Callout]:
    for caution in of.cautions:
        words = caution.name.replace("-", " ")
        yield Callout(
            kind="blocking" if caution.is_blocking else "caution",
            title=CAUTION_TITLES.get(caution.name, words[:1].upper() + words[1:]),
            texts=[caution.sentence],
        )

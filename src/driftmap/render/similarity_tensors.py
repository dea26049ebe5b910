"""What does each tensor say, and how loud is it?"""

from collections.abc import Iterator, Sequence

from driftmap.core.places import TensorPlace
from driftmap.render.charts import Cloud, Points
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Row,
    Section,
)
from driftmap.render.similarity_curves import likeness_words
from driftmap.render.similarity_words import (
    NONE,
    PART_NAMES,
    WEIGHTINGS,
    against,
    all_of,
    full_of,
    is_gradients,
    leading,
    p_value,
    points_words,
    score_words,
    several,
    short_tensor,
    slug,
    titled,
)
from driftmap.render.wording import number, percent
from driftmap.results.retrieval import SetStudy, Weighting
from driftmap.results.retrieval_reading import FULL, Reading
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

BEST = 8
"""Tensors in the short list."""

MOST_LEARNT = 4
"""Tensors named of those with the largest learnt weights."""

QUIET_SHARE = 0.2
"""Below this share of all tensors, few of them are heard."""


def tensor_section(study: SimilarityStudy) -> Iterator[Section]:
    """The best tensors, all of them, and whether size matters."""
    measure = leading(study)
    sets = [of for of in measure.study.sets if len(all_of(of, "tensor")) > 1]
    if not sets:
        return
    nodes: list[Node] = []
    for of in sets:
        rows = sorted(all_of(of, "tensor"), key=lambda r: -r.accuracy.value.estimate)
        nodes.append(_tensor_grid(measure, of, rows[:BEST], is_all=False))
        every: list[Node] = [
            _tensor_grid(measure, of, all_of(of, "tensor"), is_all=True)
        ]
        summary = titled(f"All {len(rows)} tensors", of, len(sets))
        if of is sets[0]:
            nodes += [*_sizes(measure, of), Folded(summary=summary, nodes=every)]
        else:
            nodes.append(Folded(summary=summary, nodes=[*_sizes(measure, of), *every]))
    yield Section(anchor="tensors", title="Which tensors find it", nodes=nodes)


def energy_section(study: SimilarityStudy) -> Iterator[Section]:
    """Who is heard in the full cosine, and what other weights would say."""
    measure = leading(study)
    if not is_gradients(measure) or len(measure.study.tensors) < 2:
        return
    sets = measure.study.sets
    nodes: list[Node] = [_heard(measure, of) for of in sets]
    drawn = [of for of in sets if of.energy.tensors]
    nodes += [
        Row(figures=[_energy_figure(of, len(sets)) for of in drawn[n : n + 2]])
        for n in range(0, len(drawn), 2)
    ]
    for of in sets:
        if of.weightings:
            nodes.append(_weighting_grid(measure, of))
            nodes += _learnt(measure, of)
    nodes += [
        Folded(
            summary=titled("Energy by part", of, len(sets)), nodes=[_energy_grid(of)]
        )
        for of in drawn
    ]
    yield Section(
        anchor="energy", title="How many tensors the full cosine listens to",
        nodes=nodes,
    )  # fmt: skip


def _tensor_grid(
    measure: MeasureStudy, of: SetStudy, rows: Sequence[Reading], *, is_all: bool
) -> Grid:
    which = (
        "Every tensor, in model order" if is_all else f"The {len(rows)} best tensors"
    )
    number_of = {place.name: n for n, place in enumerate(measure.study.tensors)}
    of_set = "" if len(measure.study.sets) == 1 else f", {of.name} queries"
    caution = (
        ""
        if is_all
        else " They are the best of many, so their own numbers flatter them: the "
        "number to quote is that of the other half at the top."
    )
    return Grid(
        caption=f"{which}{of_set}. n = {of.num_queries:,}, chance "
        f"{percent(full_of(of).accuracy.chance)}; brackets hold 95 % intervals; p is "
        f"corrected for all tensors.{caution}",
        columns=(
            "no.", "tensor", "right one first", "less full", "p", "weights",
            "with its original", "with others", "gap (sd)", "agrees with full",
            "rank agreement",
        ),
        rows=[(f"{number_of[r.unit.name]}", *_tensor_row(r)) for r in rows],
        align_right=frozenset({0, *range(2, 11)}),
    )  # fmt: skip


def _tensor_row(reading: Reading) -> tuple[str, ...]:
    unit, agreement = reading.unit, reading.agreement
    contrast = against(reading, FULL)
    return (
        f"`{unit.name}`",
        score_words(reading.accuracy),
        NONE if contrast is None else points_words(contrast.change),
        NONE if contrast is None else p_value(contrast),
        NONE if unit.num_weights is None else f"{unit.num_weights:,}",
        *likeness_words(reading),
        NONE if agreement is None else number(agreement.cosine),
        NONE if agreement is None else number(agreement.spearman),
    )


def _sizes(measure: MeasureStudy, of: SetStudy) -> Iterator[Node]:
    rows = [r for r in all_of(of, "tensor") if r.unit.num_weights]
    if len({r.unit.num_weights for r in rows}) < 2:
        return
    tie = of.size_correlation
    said = (
        ""
        if tie is None
        else f" Rank correlation of size and accuracy: {tie:+.2f} over {len(rows)} "
        "tensors."
    )
    num_sets = len(measure.study.sets)
    figures = [
        Figure(
            name=slug("size", of.name),
            title=titled("Right original first, by size of the tensor", of, num_sets),
            reading=f"One point per tensor; dotted is chance.{said}",
            chart=Points(
                x_title="weights of the tensor (count, log scale)",
                y_title="right one first (share)",
                clouds=_clouds(rows),
                level=full_of(of).accuracy.chance,
                y_ends=(0.0, 1.0),
                is_log_x=True,
            ),
        )
    ]
    if of is measure.study.sets[0]:
        figures.append(_weights(measure.study.tensors))
    yield Row(figures=figures)


def _clouds(rows: Sequence[Reading]) -> list[Cloud]:
    parts = list(dict.fromkeys(r.unit.part for r in rows if r.unit.part))
    clouds = []
    for part in parts:
        some = [r for r in rows if r.unit.part == part]
        clouds.append(
            Cloud(
                name=PART_NAMES[part],
                x=[float(r.unit.num_weights or 0) for r in some],
                y=[r.accuracy.value.estimate for r in some],
                labels=[short_tensor(r.unit.name) for r in some],
                role=part,
            )
        )
    return clouds


def _weights(places: Sequence[TensorPlace]) -> Figure:
    known = [(n, place) for n, place in enumerate(places) if place.num_weights]
    parts = list(dict.fromkeys(place.part for _, place in known))
    return Figure(
        name="weights",
        title="Weights of every tensor",
        reading="In model order, from the embedding at the left to the head at the "
        "right.",
        chart=Points(
            x_title="number of the tensor",
            y_title="weights (count, log scale)",
            clouds=[
                Cloud(
                    name=PART_NAMES[part],
                    x=[n for n, place in known if place.part == part],
                    y=[float(p.num_weights or 0) for _, p in known if p.part == part],
                    labels=[short_tensor(p) for _, p in known if p.part == part],
                    role=part,
                )
                for part in parts
            ],
            is_log=True,
        ),
    )


def _heard(measure: MeasureStudy, of: SetStudy) -> Callout:
    energy, count = of.energy, len(measure.study.tensors)
    few = energy.num_heard_queries < QUIET_SHARE * count
    heard = number(energy.num_heard_queries)
    top = max(energy.tensors, key=lambda share: share.queries, default=None)
    loudest = (
        ""
        if top is None
        else f" The loudest, `{top.name}`, holds {percent(top.queries)} of it "
        f"({percent(top.originals)} on the side of the originals)."
    )
    return Callout(
        kind="caution" if few else "note",
        title=titled(
            f"The full cosine listens to {heard} of {several(count, 'tensor')}", of,
            len(measure.study.sets),
        ),
        texts=[
            "It is an average in which a tensor counts by its energy, the square of "
            f"its gradient's length. Energy is as uneven as if {heard} tensors had all "
            f"of it in equal shares ({number(energy.num_heard_originals)} on the side "
            f"of the originals).{loudest} "
            + (
                "What the other tensors say hardly counts; other weightings are below."
                if few
                else "Other weightings are below."
            )
        ],
    )  # fmt: skip


def _energy_figure(of: SetStudy, num_sets: int) -> Figure:
    shares = [(n, s) for n, s in enumerate(of.energy.tensors) if s.queries > 0]
    parts = list(dict.fromkeys(s.part for _, s in shares))
    return Figure(
        name=slug("energy", of.name),
        title=titled("Share of the gradient's energy", of, num_sets),
        reading="One point per tensor in model order, mean over queries; all together "
        "are 1. Dotted: what each would have if all had the same.",
        chart=Points(
            x_title="number of the tensor",
            y_title="share of the energy (log scale)",
            clouds=[
                Cloud(
                    name=PART_NAMES[part],
                    x=[n for n, s in shares if s.part == part],
                    y=[s.queries for _, s in shares if s.part == part],
                    labels=[short_tensor(s.name) for _, s in shares if s.part == part],
                    role=part,
                )
                for part in parts
            ],
            level=1 / max(1, len(of.energy.tensors)),
            is_log=True,
        ),
    )


def _energy_grid(of: SetStudy) -> Grid:
    return Grid(
        caption="By part. A part whose share of the energy is far above its share of "
        "the weights is heard beyond its size.",
        columns=("part", "energy, queries", "energy, originals", "weights",
                 "share of weights"),
        rows=[
            (
                PART_NAMES[s.part],
                percent(s.queries),
                percent(s.originals),
                NONE if s.num_weights is None else f"{s.num_weights:,}",
                NONE if s.share_of_weights is None else percent(s.share_of_weights),
            )
            for s in of.energy.parts
        ],
        align_right=frozenset({1, 2, 3, 4}),
    )  # fmt: skip


def _weighting_grid(measure: MeasureStudy, of: SetStudy) -> Grid:
    of_set = "" if len(measure.study.sets) == 1 else f" of {of.name} queries"
    return Grid(
        caption=f"The same products under other weights, on all {of.num_queries:,} "
        f"queries and on the half that nothing was fitted on ({of.num_reported_on:,} "
        f"ids{of_set}); chance {percent(full_of(of).accuracy.chance)}. The mean of "
        "cosines is no cosine of a gradient; it stands here to be compared.",
        columns=("weights", "all queries", "other half", "with its original",
                 "with others", "gap (sd)"),
        rows=[_weighting_row(w) for w in of.weightings],
        align_right=frozenset(range(1, 6)),
    )  # fmt: skip


def _learnt(measure: MeasureStudy, of: SetStudy) -> Iterator[Paragraph]:
    """Where learnt weights lie."""
    weights = next((w.weights for w in of.weightings if w.name == "learnt"), ())
    places = measure.study.tensors
    if len(weights) != len(places):
        return
    ranked = sorted(range(len(weights)), key=lambda n: -weights[n])
    kept = [n for n in ranked[:MOST_LEARNT] if weights[n] > 0]
    named = ", ".join(f"`{places[n].name}` {percent(weights[n])}" for n in kept)
    above = sum(weight > 0 for weight in weights)
    yield Paragraph(
        text=f"Learnt weights are above 0 for {above} of "
        f"{several(len(weights), 'tensor')}; most lie on {named}."
    )


def _weighting_row(weighting: Weighting) -> tuple[str, ...]:
    reading = weighting.reading
    return (
        WEIGHTINGS[weighting.name],
        NONE if reading is None else score_words(reading.accuracy),
        score_words(weighting.reported_on),
        *((NONE,) * 3 if reading is None else likeness_words(reading)),
    )

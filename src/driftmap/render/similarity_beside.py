"""What do other measures, and other models, say of the same samples?"""

from collections.abc import Iterator, Sequence

from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Row, Section
from driftmap.render.similarity_curves import DEPTH, likeness_words
from driftmap.render.similarity_words import (
    LEVEL_NAME,
    NONE,
    PART_NAMES,
    all_of,
    full_name,
    full_of,
    is_gradients,
    leading,
    score_words,
    slug,
    titled,
)
from driftmap.render.wording import number, percent
from driftmap.results.retrieval import SetStudy
from driftmap.results.retrieval_models import DepthCurve, ModelComparison
from driftmap.results.retrieval_reading import Reading
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

KINDS = {"layer": "whole layers", "attention": "attention", "mlp": "MLP"}
CENTRED = (
    "Hidden states share a large common direction, so their cosines are all high. "
    "`centred`: the mean of the originals is taken away first, layer by layer."
)
BOTH = (
    "Hidden states are what the model makes of a text on its way through the layers; "
    "they cost one pass forward. Gradients say what training on it would change. Both "
    f"are ranked by cosine, on the same queries and candidates. {CENTRED} The two "
    "measures are never added up."
)
MEASURE_ROLES = ("difference", "matched", "utility", "top")


def measures_section(study: SimilarityStudy) -> Iterator[Section]:
    """Hidden states beside gradients, layer by layer."""
    if len(study.measures) < 2:
        return
    first = leading(study)
    both = is_gradients(first)
    nodes: list[Node] = [Paragraph(text=BOTH if both else CENTRED)]
    for of in first.study.sets:
        rows = [
            (measure, other)
            for measure in study.measures
            for other in measure.study.sets
            if other.name == of.name
        ]
        nodes.append(
            Row(
                figures=[
                    _measures_figure(rows, of, len(first.study.sets)),
                    _likeness_figure(rows, of, len(first.study.sets)),
                ]
            )
        )
        nodes.append(_measures_grid(rows, of))
    title = (
        "Hidden states beside gradients" if both else "Hidden states, centred or not"
    )
    yield Section(anchor="measures", title=title, nodes=nodes)


def models_section(found: ModelComparison | None) -> Iterator[Section]:
    """Several models by relative depth."""
    if found is None or len(found.models) < 2:
        return
    sets = list(dict.fromkeys(row.set_name for row in found.rows))
    nodes: list[Node] = [
        Paragraph(
            text="Models of different depth are laid over each other: 0 is the first "
            "block, 1 the last. Samples are the same; each model reads them with its "
            "own tokenizer."
        ),
        _models_grid(found),
    ]
    for name in sets:
        curves = [c for c in found.curves if c.set_name == name]
        figures = {
            kind: _models_figure(
                kind, [c for c in curves if c.name == kind], name, len(sets)
            )
            for kind in dict.fromkeys(c.name for c in curves)
        }
        nodes += [figures[kind] for kind in figures if kind == "layer"]
        halves = [figures[kind] for kind in figures if kind in ("attention", "mlp")]
        nodes += [Row(figures=halves)] if halves else []
        parts = [f for kind, f in figures.items() if kind in PART_NAMES]
        if parts:
            of_set = "" if len(sets) == 1 else f", {name} queries"
            nodes.append(Folded(summary=f"Part by part{of_set}", nodes=parts))
    yield Section(anchor="models", title="Several models, by depth", nodes=nodes)


Rows = Sequence[tuple[MeasureStudy, SetStudy]]


def _measures_figure(rows: Rows, of: SetStudy, num_sets: int) -> Figure:
    lines = [
        _accuracy(full_name(measure), all_of(other, "layer"), MEASURE_ROLES[n % 4])
        for n, (measure, other) in enumerate(rows)
        if all_of(other, "layer")
    ]
    layers = [x for line in lines for x in line.x] or [0.0]
    chance = full_of(of).accuracy.chance
    lines.append(
        Line(
            name=LEVEL_NAME,
            x=[min(layers), max(layers)],
            y=[chance, chance],
            role="random",
        )
    )
    return Figure(
        name=slug("measures", of.name),
        title=titled("Right original first, by layer", of, num_sets),
        reading="Share of queries. Bands: 95 % intervals over original ids.",
        chart=Lines(
            x_title=DEPTH, y_title="right one first (share)", lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )  # fmt: skip


def _likeness_figure(rows: Rows, of: SetStudy, num_sets: int) -> Figure:
    lines = []
    for n, (measure, other) in enumerate(rows):
        some = [
            (r.unit.layer or 0, r.closeness.gap_in_sd)
            for r in all_of(other, "layer")
            if r.closeness is not None and r.closeness.gap_in_sd is not None
        ]
        if some:
            lines.append(
                Line(
                    name=full_name(measure),
                    x=[layer for layer, _ in some],
                    y=[gap for _, gap in some],
                    role=MEASURE_ROLES[n % 4],
                )
            )
    return Figure(
        name=slug("measures_gap", of.name),
        title=titled("How far above the background", of, num_sets),
        reading="Mean cosine with the own original minus that with others, in "
        "standard deviations of the others: the cosines of two measures do not "
        "compare, their gaps do.",
        chart=Lines(x_title=DEPTH, y_title="gap (sd of the background)", lines=lines),
    )


def _measures_grid(rows: Rows, of: SetStudy) -> Grid:
    return Grid(
        caption=f"{of.num_queries:,} {of.name} queries; chance "
        f"{percent(full_of(of).accuracy.chance)}; brackets hold 95 % intervals. The "
        "best layer is the best of many, so its number flatters it.",
        columns=("measure", "all joined", "best layer", "its share",
                 "with its original", "with others", "gap (sd)"),
        rows=[
            (
                full_name(measure),
                score_words(full_of(other).accuracy),
                *_best_layer(other),
                *likeness_words(full_of(other)),
            )
            for measure, other in rows
        ],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def _best_layer(of: SetStudy) -> tuple[str, str]:
    layers = all_of(of, "layer")
    if not layers:
        return NONE, NONE
    best = max(layers, key=lambda r: r.accuracy.value.estimate)
    return f"{best.unit.layer}", score_words(best.accuracy)


def _accuracy(name: str, rows: Sequence[Reading], role: str) -> Line:
    values = [r.accuracy.value for r in rows]
    return banded(name, [r.unit.layer or 0 for r in rows], values, role)


def _models_grid(found: ModelComparison) -> Grid:
    baselines = list(
        dict.fromkeys(one.name for row in found.rows for one in row.baselines)
    )
    return Grid(
        caption="Share of queries with the right original first. Best tensor: chosen "
        "on one half of the ids, judged on the other; its depth from 0 (first block) "
        "to 1 (last). `heard`: so many tensors the full cosine listens to. Brackets "
        "hold 95 % intervals.",
        columns=("model", "queries", "n", "candidates", "chance", "full",
                 "best tensor", "depth", *baselines, "heard", "which tensor"),
        rows=[
            (
                f"`{row.model}`",
                row.set_name,
                f"{row.num_queries:,}",
                row.candidates,
                percent(row.full.chance),
                score_words(row.full),
                score_words(row.best),
                NONE if row.best_depth is None else f"{row.best_depth:.2f}",
                *(
                    next((score_words(b.score) for b in row.baselines
                          if b.name == name), NONE)
                    for name in baselines
                ),
                number(row.num_heard),
                NONE if row.best_tensor is None else f"`{row.best_tensor}`",
            )
            for row in found.rows
        ],
        align_right=frozenset(range(4, 9 + len(baselines))) | {2},
    )  # fmt: skip


def _models_figure(
    kind: str, curves: Sequence[DepthCurve], set_name: str, num_sets: int
) -> Figure:
    named = KINDS.get(kind, PART_NAMES.get(kind, kind))
    of_set = "" if num_sets == 1 else f", {set_name} queries"
    return Figure(
        name=slug("models", kind, set_name),
        title=f"Right original first by relative depth: {named}{of_set}",
        reading="Share of queries. Bands: 95 % intervals over original ids.",
        chart=Lines(
            x_title="relative depth (0 first block, 1 last)",
            y_title="right one first (share)",
            lines=[
                Line(
                    name=curve.model,
                    x=[point.depth for point in curve.points],
                    y=[point.accuracy.value.estimate for point in curve.points],
                    low=[point.accuracy.value.low for point in curve.points],
                    high=[point.accuracy.value.high for point in curve.points],
                )
                for curve in curves
            ],
            y_ends=(0.0, 1.0),
        ),
    )

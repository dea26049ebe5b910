"""Where along the model's depth are two versions of a sample alike?"""

from collections.abc import Iterator, Sequence

from driftmap.render.charts import Line, Lines, Shades
from driftmap.render.page import Figure, Folded, Grid, Node, Paragraph, Row, Section
from driftmap.render.similarity_words import (
    LEVEL_NAME,
    NONE,
    PART_NAMES,
    all_of,
    cosine_words,
    full_name,
    full_of,
    leading,
    place_word,
    score_words,
    slug,
    titled,
)
from driftmap.render.wording import number
from driftmap.results.retrieval import SetStudy
from driftmap.results.retrieval_reading import Reading
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy
from driftmap.results.statistics import Interval

DEPTH = "layer, from the input up"


def depth_sections(study: SimilarityStudy) -> Iterator[Section]:
    """How often the original is found, and how alike versions are, layer by layer."""
    measure = leading(study)
    with_layers = [of for of in measure.study.sets if all_of(of, "layer")]
    if with_layers:
        yield _accuracy_section(measure, with_layers)
        yield _likeness_section(measure, with_layers)


def _accuracy_section(measure: MeasureStudy, sets: Sequence[SetStudy]) -> Section:
    nodes: list[Node] = [
        Paragraph(
            text="Each layer is asked alone: the originals are ranked by the cosine of "
            "that layer's part of the gradient. A layer whose gradient depends "
            "on what a text says, more than on how it says it, finds the original."
        )
    ]
    for of in sets:
        figures = [_halves(measure, of)]
        if all_of(of, "layer_part"):
            figures.append(_parts(measure, of))
        nodes += [Row(figures=figures)] if len(figures) > 1 else figures
        more: list[Node] = []
        if all_of(of, "part"):
            more.append(_part_grid(measure, of))
        if all_of(of, "layer_part"):
            more.append(_map(measure, of))
        if more:
            summary = titled("All layers of a part, and each one, as tables", of,
                             len(sets))  # fmt: skip
            nodes.append(Folded(summary=summary, nodes=more))
    return Section(anchor="depth", title="Which layers find the original", nodes=nodes)


def _halves(measure: MeasureStudy, of: SetStudy) -> Figure:
    lines = [_line(all_of(of, "layer"), "whole layer", "layer", band=True)]
    for half in ("attention", "mlp"):
        rows = [r for r in all_of(of, "layer_half") if r.unit.half == half]
        if rows:
            name = "attention" if half == "attention" else "MLP"
            lines.append(_line(rows, name, half))
    ends = _ends(all_of(of, "layer"))
    full = full_of(of).accuracy
    lines.append(_level(full_name(measure), full.value.estimate, ends, "difference"))
    lines.append(_level(LEVEL_NAME, full.chance, ends, "random"))
    return Figure(
        name=slug("depth", of.name),
        title=titled("Attention, MLP and whole layers", of, len(measure.study.sets)),
        reading="Share of queries whose right original comes first, by the joined "
        "tensors of one layer. Band: 95 % interval over original ids. Thin: the mean "
        "of what the same tensors reach one by one.",
        chart=Lines(
            x_title=DEPTH, y_title="right one first (share)", lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )  # fmt: skip


def _parts(measure: MeasureStudy, of: SetStudy) -> Figure:
    rows = all_of(of, "layer_part")
    parts = list(dict.fromkeys(r.unit.part for r in rows if r.unit.part))
    lines = [
        _line([r for r in rows if r.unit.part == part], PART_NAMES[part], part)
        for part in parts
    ]
    return Figure(
        name=slug("parts", of.name),
        title=titled("Each part", of, len(measure.study.sets)),
        reading="The same, part by part. Where a part has several tensors in a layer, "
        "such as two norms, they are joined; the thin line is their mean one by one. A "
        "part that stays low along depth knows little of which sample it was.",
        chart=Lines(
            x_title=DEPTH, y_title="right one first (share)", lines=lines,
            y_ends=(0.0, 1.0),
        ),
    )  # fmt: skip


def _part_grid(measure: MeasureStudy, of: SetStudy) -> Grid:
    rows = [
        (
            PART_NAMES[r.unit.part] if r.unit.part else r.unit.name,
            f"{r.unit.num_tensors:,}",
            NONE if r.unit.num_weights is None else f"{r.unit.num_weights:,}",
            score_words(r.accuracy),
            NONE
            if r.tensor_means is None
            else f"{100 * r.tensor_means.accuracy:.0f} %",
            "" if r.closeness is None else cosine_words(r.closeness.match),
            "" if r.closeness is None else cosine_words(r.closeness.background),
        )
        for r in all_of(of, "part")
    ]
    of_set = "" if len(measure.study.sets) == 1 else f", {of.name} queries"
    return Grid(
        caption=f"Parts over all layers{of_set}. `joined` is the cosine of all its "
        "tensors as one long gradient; `alone` the mean of what its tensors reach one "
        f"by one. n = {of.num_queries:,}, chance "
        f"{100 * full_of(of).accuracy.chance:.2g} %; brackets hold 95 % intervals.",
        columns=("part", "tensors", "weights", "right one first, joined", "alone",
                 "cosine with its original", "with others"),
        rows=rows,
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def _map(measure: MeasureStudy, of: SetStudy) -> Figure:
    rows = all_of(of, "layer_part")
    parts = list(dict.fromkeys(r.unit.part for r in rows if r.unit.part))
    layers = sorted({r.unit.layer for r in rows if r.unit.layer is not None})
    value = {(r.unit.layer, r.unit.part): r.accuracy.value.estimate for r in rows}
    return Figure(
        name=slug("map", of.name),
        title=titled("Right original first, by layer and part", of,
                     len(measure.study.sets)),
        reading="Share of queries; the input's end of the model is at the bottom.",
        chart=Shades(
            x_labels=parts,
            y_labels=[str(layer) for layer in layers],
            x_title="part",
            y_title="layer",
            shares=[
                [value.get((layer, part), float("nan")) for part in parts]
                for layer in layers
            ],
            value_title="share",
        ),
    )  # fmt: skip


def _likeness_section(measure: MeasureStudy, sets: Sequence[SetStudy]) -> Section:
    nodes: list[Node] = [
        Paragraph(
            text="A cosine of 1 means that two samples push a tensor the same way, 0 "
            "that they have nothing to do with each other, -1 that each undoes the "
            "other. A cosine alone says little: read the line of a query and its own "
            "original against that of a query and other originals, the background."
        )
    ]
    for of in sets:
        nodes.append(Row(figures=[_match(measure, of), _gaps(measure, of)]))
        if len(all_of(of, "tensor")) > 1:
            summary = titled(f"{place_word(measure).capitalize()} by "
                             f"{place_word(measure)}", of, len(sets))  # fmt: skip
            nodes.append(Folded(summary=summary, nodes=[_one_by_one(measure, of)]))
    return Section(
        anchor="likeness", title="How alike a sample and its version are", nodes=nodes
    )


def _match(measure: MeasureStudy, of: SetStudy) -> Figure:
    rows = [r for r in all_of(of, "layer") if r.closeness is not None]
    lines = [
        _curve("with its own original", rows, [_match_of(r) for r in rows], "match"),
        _curve(
            "with other originals", rows, [_background_of(r) for r in rows],
            "background",
        ),
    ]  # fmt: skip
    of_full = full_of(of).closeness
    said = ""
    if of_full is not None:
        said = (
            f" All together: {cosine_words(of_full.match)} with its own, "
            f"{cosine_words(of_full.background)} with others."
        )
    return Figure(
        name=slug("likeness", of.name),
        title=titled("Cosine of a query with its original, and with others", of,
                     len(measure.study.sets)),
        reading=f"Mean over {of.num_queries:,} queries, whole layers. Bands: 95 % "
        f"intervals over original ids.{said}",
        chart=Lines(x_title=DEPTH, y_title="cosine (-1 to 1)", lines=lines),
    )  # fmt: skip


def _one_by_one(measure: MeasureStudy, of: SetStudy) -> Figure:
    number_of = {place.name: n for n, place in enumerate(measure.study.tensors)}
    rows = [r for r in all_of(of, "tensor") if r.unit.name in number_of]
    lines = [
        _curve_over(name, [(number_of[r.unit.name], value(r)) for r in rows], role)
        for name, value, role in (
            ("with its own original", _match_of, "match"),
            ("with other originals", _background_of, "background"),
        )
    ]
    return Figure(
        name=slug("likeness_by_tensor", of.name),
        title=titled("Cosine with its original and with others, one by one", of,
                     len(measure.study.sets)),
        reading=f"In model order, from the input at the left; mean over "
        f"{of.num_queries:,} queries. Bands: 95 % intervals over original ids.",
        chart=Lines(
            x_title=f"number of the {place_word(measure)}", y_title="cosine (-1 to 1)",
            lines=lines,
        ),
    )  # fmt: skip


def _gaps(measure: MeasureStudy, of: SetStudy) -> Figure:
    rows = all_of(of, "layer_part") or all_of(of, "layer")
    parts = list(dict.fromkeys(r.unit.part or r.unit.kind for r in rows))
    lines = []
    for part in parts:
        some = [
            r
            for r in rows
            if (r.unit.part or r.unit.kind) == part
            and r.closeness is not None
            and r.closeness.gap_in_sd is not None
        ]
        lines.append(
            Line(
                name=PART_NAMES.get(part, "whole layer"),
                x=[r.unit.layer or 0 for r in some],
                y=[r.closeness.gap_in_sd or 0.0 for r in some if r.closeness],
                role=part,
            )
        )
    return Figure(
        name=slug("gap", of.name),
        title=titled("How far above the background", of, len(measure.study.sets)),
        reading="The mean cosine with the own original minus that with others, in "
        "standard deviations of the others. It compares layers whose cosines are all "
        "high, or all low.",
        chart=Lines(
            x_title=DEPTH, y_title="gap (sd of the background)", lines=lines,
            y_from_zero=all(min(line.y, default=0) >= 0 for line in lines),
        ),
    )  # fmt: skip


def likeness_words(reading: Reading) -> tuple[str, str, str]:
    """Match, background and gap of one unit, as a table says them."""
    found = reading.closeness
    if found is None:
        return NONE, NONE, NONE
    return (
        cosine_words(found.match),
        cosine_words(found.background),
        NONE if found.gap_in_sd is None else number(found.gap_in_sd),
    )


def _match_of(reading: Reading) -> Interval | None:
    return None if reading.closeness is None else reading.closeness.match


def _background_of(reading: Reading) -> Interval | None:
    return None if reading.closeness is None else reading.closeness.background


def _curve(
    name: str, rows: Sequence[Reading], values: Sequence[Interval | None], role: str
) -> Line:
    places = [r.unit.layer or 0 for r in rows]
    return _curve_over(name, list(zip(places, values, strict=True)), role)


def _curve_over(
    name: str, points: Sequence[tuple[int, Interval | None]], role: str
) -> Line:
    some = [(place, value) for place, value in points if value is not None]
    return Line(
        name=name,
        x=[place for place, _ in some],
        y=[v.estimate for _, v in some],
        low=[v.low for _, v in some],
        high=[v.high for _, v in some],
        role=role,
    )


def _line(rows: Sequence[Reading], name: str, role: str, *, band: bool = False) -> Line:
    ordered = sorted(rows, key=lambda r: r.unit.layer or 0)
    values = [r.accuracy.value for r in ordered]
    means = [r.tensor_means.accuracy for r in ordered if r.tensor_means is not None]
    return Line(
        name=name,
        x=[r.unit.layer or 0 for r in ordered],
        y=[v.estimate for v in values],
        low=[v.low for v in values] if band else (),
        high=[v.high for v in values] if band else (),
        threads=[means] if len(means) == len(ordered) else (),
        role=role,
    )


def _level(name: str, value: float, ends: tuple[int, int], role: str) -> Line:
    return Line(name=name, x=list(ends), y=[value, value], role=role)


def _ends(rows: Sequence[Reading]) -> tuple[int, int]:
    layers = [r.unit.layer or 0 for r in rows]
    return min(layers), max(layers)

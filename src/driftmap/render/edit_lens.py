"""From which layer on does each model say the true answer, and the new one?"""

from collections.abc import Iterator

from driftmap.core.quoted import quoted
from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.edit_number_words import LENS, new_word, several
from driftmap.render.page import (
    Callout,
    Choices,
    Figure,
    Node,
    Paragraph,
    Picker,
    Section,
)
from driftmap.render.trace_words import EDITING
from driftmap.results.edits import AnswerLens, EditReport, LensMean


def edit_lens_section(report: EditReport) -> Section | None:
    """Both answers layer by layer, before and after; None without the lens."""
    before, after = report.before.lens, report.after.lens
    if before is None or after is None or not report.lens_means:
        return None
    num = before.fact.size
    nodes: list[Node] = [
        Paragraph(text=LENS),
        Figure(
            name="edit-lens",
            title="Probability of both answers after each block",
            reading=f"Means over {several(num, 'fact')}"
            + (", bands are 95 % intervals over facts." if num > 1 else ".")
            + " The last block is the model itself.",
            chart=_chart([_mean_line(report, one) for one in report.lens_means]),
        ),
        *_pickers(report, before, after),
        Callout(kind="caution", title="What layers do not say", texts=[EDITING]),
    ]
    return Section(
        anchor="edits-layers", title="Both answers, layer by layer", nodes=nodes
    )


def _chart(lines: list[Line]) -> Lines:
    return Lines(
        x_title="block",
        y_title="probability of the first token",
        lines=lines,
        y_ends=(0.0, 1.0),
    )


def _mean_line(report: EditReport, mean: LensMean) -> Line:
    return banded(
        _name(report, is_new=mean.is_new, is_after=mean.is_after),
        list(range(len(mean.layers))),
        mean.layers,
        _role(is_new=mean.is_new, is_after=mean.is_after),
    )


def _pickers(
    report: EditReport, before: AnswerLens, after: AnswerLens
) -> Iterator[Picker]:
    if before.fact.size < 2:
        return
    yield Picker(
        name="edit-lens-facts",
        title="The same for each fact",
        reading="One fact alone has no interval.",
        choices=[
            Choices(
                name="prompt",
                options=[
                    quoted(report.facts[number].prompt)
                    for number in before.fact.tolist()
                ],
            )
        ],
        charts=[
            _chart(list(_fact_lines(report, before, after, place)))
            for place in range(before.fact.size)
        ],
    )


def _fact_lines(
    report: EditReport, before: AnswerLens, after: AnswerLens, place: int
) -> Iterator[Line]:
    for is_after, side in enumerate((before, after)):
        for is_new, p in enumerate((side.p_true, side.p_new)):
            yield Line(
                name=_name(report, is_new=bool(is_new), is_after=bool(is_after)),
                x=list(range(p.shape[1])),
                y=p[place].tolist(),
                role=_role(is_new=bool(is_new), is_after=bool(is_after)),
            )


def _name(report: EditReport, *, is_new: bool, is_after: bool) -> str:
    which = new_word(report) if is_new else "true"
    return f"{which} answer, {'after' if is_after else 'before'}"


def _role(*, is_new: bool, is_after: bool) -> str:
    """A colour for each answer, a paler kind of it before tuning."""
    if is_new:
        return "match" if is_after else "top"
    return "background" if is_after else "k"

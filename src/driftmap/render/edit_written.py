"""What do both models write about the facts' subjects?"""

from collections.abc import Iterator, Sequence

from driftmap.core.quoted import quoted
from driftmap.render.edit_number_words import several
from driftmap.render.page import Beside, Folded, Node, Paragraph, Section, Side
from driftmap.render.wording import number
from driftmap.results.edits import EditReport, WrittenTexts

SHOWN = 3
"""Texts that are shown before the rest is folded away."""


def edit_written_section(report: EditReport) -> Section | None:
    """Texts of both models side by side; None where they wrote nothing."""
    before, after = report.before.written, report.after.written
    if before is None or after is None:
        return None
    texts = list(_texts(report, before, after))
    most = several(report.max_new_tokens, "token")
    nodes: list[Node] = [
        Paragraph(
            text=f"Both models go on from the facts' own beginnings, first choices "
            f"only, up to {most} or the end that they write. Fluency, variety, length "
            "and consistency of these texts stand in the table of what else changed."
        ),
        *texts[:SHOWN],
        *_rest(texts),
    ]
    return Section(anchor="edits-written", title="What they write", nodes=nodes)


def _rest(texts: Sequence[Beside]) -> Iterator[Folded]:
    if texts[SHOWN:]:
        many = several(len(texts) - SHOWN, "more text")
        yield Folded(summary=many, nodes=list(texts[SHOWN:]))


def _texts(
    report: EditReport, before: WrittenTexts, after: WrittenTexts
) -> Iterator[Beside]:
    for place, prompt in enumerate(report.writing):
        yield Beside(
            caption=f"{quoted(prompt.text)} ...",
            sides=[
                Side(
                    title=title,
                    note=f"fluency {number(side.fluency[place])} bits, variety "
                    f"{number(side.variety[place])}, "
                    f"{several(int(side.num_words[place]), 'word')}",
                    text=side.texts[place] or "(nothing)",
                )
                for title, side in (("before", before), ("after", after))
            ],
        )

"""Which answers show best what a model did, and what the judge made of them?"""

from collections.abc import Iterator

from driftmap.render.page import Folded, Grid, Node, Paragraph, Section
from driftmap.render.wording import number
from driftmap.results.evaluation import EvaluationStudy
from driftmap.results.table import Cell, Table

EXAMPLES = 3
"""Answers of each ruling and condition that the page shows."""

LONGEST = 300
"""Characters of a prompt or an answer that the page shows."""


def answers_section(study: EvaluationStudy) -> Section:
    """A few answers of each condition, by ruling, as they were written."""
    nodes: list[Node] = [
        Paragraph(
            text=f"The first {EXAMPLES} prompts of each ruling, cut after {LONGEST} "
            "characters. Read some: no judge is right about all of them."
        ),
        *_examples(study),
    ]
    return Section(anchor="answers", title="Example answers", nodes=nodes)


def _examples(study: EvaluationStudy) -> Iterator[Node]:
    answers = study.answers
    for model in answers.unique("model"):
        for asked in answers.where(model=model).unique("asked"):
            of_set = answers.where(model=model, asked=asked)
            yield Folded(
                summary=f"{asked} requests, "
                + ("this model" if model == "this" else "compared model"),
                nodes=[_grid(rows, title) for title, rows in _conditions(of_set)],
            )


def _conditions(answers: Table) -> Iterator[tuple[str, Table]]:
    for attack in answers.unique("attack"):
        of_attack = answers.where(attack=attack)
        for template in of_attack.unique("template"):
            framed = of_attack.where(template=template)
            for has_system in framed.unique("has_system"):
                system = ", system prompt" if has_system else ""
                rows = framed.where(has_system=has_system)
                yield f"{attack}, {template}{system}", rows


def _grid(rows: Table, title: str) -> Grid:
    shown = [
        row
        for ruling in ("refusal", "partial", "compliance")
        for row in list(rows.where(ruling=ruling).rows())[:EXAMPLES]
    ]
    return Grid(
        caption=f"{title}: {len(rows)} answers.",
        columns=("prompt", "answer", "ruling", "log-probability"),
        rows=[
            (
                _cut(row["prompt"]),
                _cut(row["answer"]),
                str(row["ruling"]),
                number(float(row["log_p"])),
            )
            for row in shown
        ],
        align_right=frozenset({3}),
    )


def _cut(text: Cell) -> str:
    """One line, shortened; backticks would look like marks of names."""
    plain = " ".join(str(text).split()).replace("`", "'")
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 3] + "..."

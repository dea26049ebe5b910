"""Which rows did the models learn, and what do they make of the measures?"""

from collections.abc import Sequence

from driftmap.render.page import Folded, Grid, Node, Paragraph, Section, Shaded, Word
from driftmap.results.edit_study import TaughtRow, TaughtRows

PROMPTS = {
    "rewrite": "the facts' own prompts",
    "paraphrase": "the facts' other wordings",
    "generation": "beginnings of texts about the subjects",
}


def rows_section(rows: TaughtRows) -> Section:
    """The rows as the trainer got them."""
    nodes: list[Node] = [Paragraph(text=text) for text in _rows_in_words(rows)]
    nodes += [_row(row) for row in rows.shown[:3]]
    if rows.repeated:
        nodes.append(_repeated(rows.repeated))
    if len(rows.shown) > 3:
        nodes.append(
            Folded(summary="More rows", nodes=[_row(row) for row in rows.shown[3:]])
        )
    return Section(anchor="rows", title="What was learnt", nodes=nodes)


def rows_cautions(rows: TaughtRows) -> list[str]:
    """What the rows make of the measures."""
    texts = []
    if rows.prompts == "paraphrase":
        texts.append(
            "Other wordings of the facts were learnt, so that the paraphrase measure "
            "is of rows that were learnt, and no generalisation."
        )
    if rows.prompts == "generation":
        texts.append(
            "The prompts that were learnt are beginnings of texts, and many do not "
            "call for the answer: the model learns to say it out of place."
        )
    if rows.loss == "all":
        texts.append(
            f"The loss counts {rows.num_counted:,} of {rows.num_tokens:,} tokens, most "
            "of them the prompts' own."
        )
    if rows.num_learnt == rows.num_made and rows.num_repeats:
        texts.append(
            f"{rows.num_repeats} of {rows.num_made} rows repeat earlier ones and were "
            "kept, so that their facts weigh more."
        )
    return texts


def _rows_in_words(rows: TaughtRows) -> list[str]:
    dropped = rows.num_made - rows.num_learnt
    repeats = "No row repeats another."
    if rows.num_repeats:
        fate = "and were dropped" if dropped else "and were kept"
        repeats = f"{rows.num_repeats} of {rows.num_made} rows repeat others {fate}."
    counts = (
        "the new answer and its end" if rows.loss == "target" else "all but the first"
    )
    padding = ""
    if rows.is_end_padding:
        padding = (
            " The tokenizer pads with its end token; padding is told apart by length "
            "here, so that the end is learnt all the same."
        )
    return [
        f"{rows.num_learnt:,} rows teach {rows.num_facts:,} facts: "
        f"{PROMPTS[rows.prompts]}, each followed by the new answer and "
        f"`{rows.end}`. {repeats}",
        f"Tokens that are learnt: {counts}, {rows.num_counted:,} of "
        f"{rows.num_tokens:,}. Every row has exactly one end token among them: that "
        f"was checked on the labels that the trainer gets.{padding}",
    ]


def _row(row: TaughtRow) -> Shaded:
    alike = f"; {row.num_alike} rows say this" if row.num_alike > 1 else ""
    return Shaded(
        title=f"Row of {row.fact_id}",
        note=f"shaded tokens are learnt{alike}",
        words=[
            Word(
                text=text,
                value=float(counted),
                note="learnt" if counted else "not learnt",
            )
            for text, counted in zip(row.tokens, row.counted, strict=True)
        ],
    )


def _repeated(rows: Sequence[TaughtRow]) -> Grid:
    return Grid(
        caption="Rows that stand there several times",
        columns=["fact", "times", "row"],
        rows=[[row.fact_id, str(row.num_alike), "".join(row.tokens)] for row in rows],
        align_right=frozenset((1,)),
    )

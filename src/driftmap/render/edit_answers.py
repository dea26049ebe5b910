"""What did both models write, side by side, and where do they repeat themselves?"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from driftmap.core.quoted import quoted
from driftmap.render.page import Beside, Folded, Node, Paragraph, Section, Side, Word
from driftmap.results.edit_kinds import Asked
from driftmap.results.edit_study import EditedModel, Written, WrittenPair

ASKED: dict[Asked, str] = {
    "own wording": "the fact's own wording",
    "other wording": "another wording",
    "free text": "the beginning of a text about the subject",
    "neighbour": "another subject with the same present answer",
}

NUM_OPEN = 2
"""Facts whose answers are shown without being unfolded."""

READING = (
    "Greedy answers of both models, as written. Underlined words belong to three in a "
    "row that stood there before (between * in `report.txt`). A model that was never "
    "taught an end goes on until it is cut off."
)


def answers_section(models: Sequence[EditedModel]) -> Section:
    """Answers before and after, of every model; none where none was asked for."""
    nodes: list[Node] = []
    for number, model in enumerate(models):
        if not model.written:
            continue
        shown = [*_of_model(model)]
        if number:
            nodes.append(Folded(summary=f"Answers of {model.in_words}", nodes=shown))
        else:
            nodes += shown
    if nodes:
        nodes.insert(0, Paragraph(text=READING))
    return Section(anchor="answers", title="Answers before and after", nodes=nodes)


def _of_model(model: EditedModel) -> Iterator[Node]:
    yield Paragraph(text=counted(model))
    facts = [
        (name, list(pairs))
        for name, pairs in groupby(model.written, key=lambda pair: pair.fact_id)
    ]
    for _, pairs in facts[:NUM_OPEN]:
        yield from map(_beside, pairs)
    rest = facts[NUM_OPEN:]
    if rest:
        yield Folded(
            summary=f"{len(rest)} more facts" if len(rest) > 1 else "1 more fact",
            nodes=[_beside(pair) for _, pairs in rest for pair in pairs],
        )


def counted(model: EditedModel) -> str:
    """How much both repeat, and how many answers end by themselves."""
    before = [pair.before for pair in model.written]
    after = [pair.after for pair in model.written]
    return (
        f"Of {len(model.written)} answers, {_ended(before)} end by themselves before "
        f"and {_ended(after)} after; of their words {_repeats(before)} repeat "
        f"before, {_repeats(after)} after."
    )


def _ended(texts: Sequence[Written]) -> int:
    return sum(text.has_ended for text in texts)


def _repeats(texts: Sequence[Written]) -> str:
    words = sum(len(text.words) for text in texts)
    again = sum(sum(text.repeated) for text in texts)
    return f"{again:,} of {words:,}"


def _beside(pair: WrittenPair) -> Beside:
    taught = f"present answer {quoted(pair.true)!r}, taught {quoted(pair.new)!r}"
    if pair.asked == "neighbour":
        taught = f"should stay {quoted(pair.true)!r}"
    return Beside(
        caption=f"{quoted(pair.prompt, 160)} … ({ASKED[pair.asked]}; {taught})",
        sides=[_side("before", pair.before), _side("after", pair.after)],
    )


def _side(title: str, text: Written) -> Side:
    again = sum(text.repeated)
    ended = "ends by itself" if text.has_ended else "cut off"
    repeats = f", {again} of {len(text.words)} words repeat" if again else ""
    return Side(
        title=title,
        note=f"{ended}{repeats}",
        text="".join(text.words) or "(nothing)",
        words=[
            Word(
                text=word,
                value=0.0,
                note="stood there before" if marked else "",
                is_marked=marked,
            )
            for word, marked in zip(text.words, text.repeated, strict=True)
        ],
    )

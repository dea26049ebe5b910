"""Which shapes of fact files are recognised, and what does a row of each say?

A shape is a row of data: the columns that give it away, and a function from one row to
its fact. The first that fits is taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.formats.shape import Row, checked_text
from driftmap.results.facts import Direction, Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class FactShape:
    """One recognised shape of a file of facts.

    Args:
        name: What messages and provenance call it.
        needs: Columns that must be there.
        takes: Columns that are read as well where they are there.
        read: From a row to its fact.
    """

    name: str
    needs: frozenset[str]
    takes: frozenset[str] = frozenset()
    read: Callable[[Row], Fact]

    def fits(self, columns: frozenset[str]) -> bool:
        """Whether a file with these columns has this shape."""
        return self.needs <= columns


def _own(row: Row) -> Fact:
    """A fact as `Fact` names its parts; `{}` in a prompt stands for the subject."""
    subject = _written(row, "subject")
    prompt = row.text("prompt")
    if "{}" in prompt and subject:
        prompt = prompt.replace("{}", subject)
    return Fact(
        id=_id(row, "id"),
        subject=subject,
        prompt=prompt,
        relation=_written(row, "relation"),
        answer=_written(row, "answer") or None,
        foil=_written(row, "foil") or None,
        fact_id=_number_or_text(row, "fact_id"),
        direction=_direction(row),
        paraphrases=_texts(row, "paraphrases"),
        neighbours=_texts(row, "neighbours"),
        attributes=_texts(row, "attributes"),
        generation_prompts=_texts(row, "generation_prompts"),
    )


def _known(row: Row) -> Fact:
    """Of `known_1000`: `prompt` goes on past the filled template, up to the answer."""
    return Fact(
        id=_id(row, "known_id"),
        subject=row.text("subject").strip(),
        prompt=row.text("prompt"),
        relation=row.text_or_empty("relation_id"),
        answer=row.text("attribute").strip(),
    )


def _counterfact(row: Row) -> Fact:
    """Of CounterFact as published: the wording keeps a place for the subject."""
    asked = _inner(row, "requested_rewrite")
    subject = asked.text("subject").strip()
    return Fact(
        id=_id(row, "case_id"),
        subject=subject,
        prompt=asked.text("prompt").replace("{}", subject),
        relation=asked.text_or_empty("relation_id"),
        answer=_inner(asked, "target_true").text("str").strip(),
        foil=_inner(asked, "target_new").text("str").strip(),
        paraphrases=_texts(row, "paraphrase_prompts"),
        neighbours=_texts(row, "neighborhood_prompts"),
        attributes=_texts(row, "attribute_prompts"),
        generation_prompts=_texts(row, "generation_prompts"),
    )


def _tracing(row: Row) -> Fact:
    """Of CounterFact as made for tracing: answers come with the space before them."""
    return Fact(
        id=row.place,
        subject=row.text("subject").strip(),
        prompt=row.text("prompt"),
        relation=row.text_or_empty("relation_id") or row.text_or_empty("relation"),
        answer=row.text("target_true").strip(),
        foil=row.text("target_false").strip(),
    )


def _easy_edit(row: Row) -> Fact:
    """Of EasyEdit: prompts are filled already."""
    answer = _first(row, "ground_truth")
    neighbours = ()
    if _texts(row, "locality_ground_truth")[:1] == (answer,):
        neighbours = _texts(row, "locality_prompt")
    return Fact(
        id=_id(row, "case_id"),
        subject=row.text("subject").strip(),
        prompt=row.text("prompt"),
        relation=row.text_or_empty("relation_id"),
        answer=answer,
        foil=_first(row, "target_new"),
        paraphrases=_texts(row, "rephrase_prompt"),
        neighbours=neighbours,
    )


def _zsre(row: Row) -> Fact:
    """Of zsRE: questions; `loc` asks for something else and is nobody's neighbour."""
    return Fact(
        id=row.place,
        subject=row.text("subject").strip(),
        prompt=row.text("src"),
        answer=_first(row, "answers"),
        foil=row.text("alt").strip(),
        paraphrases=_texts(row, "rephrase"),
    )


SHAPES: tuple[FactShape, ...] = (
    FactShape(
        name="CounterFact",
        needs=frozenset({"case_id", "requested_rewrite"}),
        takes=frozenset(
            {
                "paraphrase_prompts", "neighborhood_prompts", "attribute_prompts",
                "generation_prompts",
            }
        ),
        read=_counterfact,
    ),
    FactShape(
        name="known_1000",
        needs=frozenset({"known_id", "subject", "attribute", "prompt"}),
        takes=frozenset({"relation_id"}),
        read=_known,
    ),
    FactShape(
        name="EasyEdit",
        needs=frozenset({"case_id", "prompt", "subject", "target_new", "ground_truth"}),
        takes=frozenset({"rephrase_prompt", "locality_prompt", "relation_id"}),
        read=_easy_edit,
    ),
    FactShape(
        name="CounterFact for tracing",
        needs=frozenset({"prompt", "subject", "target_true", "target_false"}),
        takes=frozenset({"relation", "relation_id"}),
        read=_tracing,
    ),
    FactShape(
        name="zsRE",
        needs=frozenset({"subject", "src", "answers", "alt"}),
        takes=frozenset({"rephrase"}),
        read=_zsre,
    ),
    FactShape(
        name="facts",
        needs=frozenset({"prompt", "subject"}),
        takes=frozenset(
            {
                "id", "relation", "answer", "foil", "fact_id", "direction",
                "paraphrases", "neighbours", "attributes", "generation_prompts",
            }
        ),
        read=_own,
    ),
)  # fmt: skip


def _inner(row: Row, column: str) -> Row:
    """The object inside a cell, which errors name by its path."""
    value = row.value(column)
    if not isinstance(value, Mapping):
        raise DataError(
            f"{row.where(column)} is no object; write it as published, with its keys"
        )
    prefix = row.own_names.get(column, column)
    names = {str(key): f"{prefix}.{key}" for key in value}
    missing = {key: f"{prefix}.{key}" for key in ("prompt", "subject", "str")}
    inner = {key: f"{prefix}.{key}" for key in ("target_true", "target_new")}
    return Row(place=row.place, cells=value, own_names=missing | inner | names)


def _id(row: Row, column: str) -> str:
    return _number_or_text(row, column) or row.place


def _number_or_text(row: Row, column: str) -> str:
    value = row.cells.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return row.text_or_empty(column)


def _written(row: Row, column: str) -> str:
    return row.text_or_empty(column).strip()


def _direction(row: Row) -> Direction:
    value = row.text_or_empty("direction") or "forward"
    for known in get_args(Direction):
        if value == known:
            return known
    raise DataError(
        f"{row.where('direction')} is {quoted(value)!r}; write `forward` or `reversed`"
    )


def _texts(row: Row, column: str) -> tuple[str, ...]:
    """Texts of a cell that holds one or a list of them; empty ones are nothing."""
    value = row.cells.get(column)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Sequence):
        raise DataError(f"{row.where(column)} is no list; write a list of texts")
    texts = [
        checked_text(f"{row.where(column)}, text {number}", one).strip()
        for number, one in enumerate(value)
    ]
    return tuple(text for text in texts if text)


def _first(row: Row, column: str) -> str:
    """The first of several texts that mean the same."""
    row.value(column)
    texts = _texts(row, column)
    if not texts:
        raise DataError(
            f"{row.where(column)} is empty; fill it in or leave the row out"
        )
    return texts[0]

"""Which queries go wrong, or look odd, and what do they say?"""

from collections.abc import Iterator, Sequence

from driftmap.core.places import TensorPlace
from driftmap.render.charts import Line, Lines
from driftmap.render.page import (
    Beside,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
    Side,
)
from driftmap.render.similarity_words import (
    NONE,
    full_name,
    leading,
    several,
    slug,
    titled,
)
from driftmap.render.wording import number
from driftmap.results.oddities import OddQuery
from driftmap.results.retrieval import SetStudy, WrongQuery
from driftmap.results.retrieval_reading import FULL
from driftmap.results.sample_sets import ORIGINALS, SampleText
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy

LONGEST = 700
"""Characters of a text that the page shows."""

EXAMPLES = 3
"""Wrong queries whose texts are shown, where the settings do not say."""

MOST_ROWS = 50
"""Wrong queries in the table."""

PROFILE_ROLES = ("match", "background", "random", "utility", "top", "matched")


def queries_section(study: SimilarityStudy) -> Iterator[Section]:
    """Wrong and odd queries beside their originals, and originals on top of all."""
    measure = leading(study)
    nodes: list[Node] = []
    for of in measure.study.sets:
        nodes += _wrong(study, measure, of)
    for of in measure.study.sets:
        nodes += _odd(study, measure, of)
    for of in measure.study.sets:
        nodes += _hubs(study, measure, of)
    if nodes:
        yield Section(anchor="queries", title="Queries that go wrong", nodes=nodes)


def _wrong(
    study: SimilarityStudy, measure: MeasureStudy, of: SetStudy
) -> Iterator[Node]:
    of_full = [wrong for wrong in of.wrong if wrong.unit == FULL]
    count = of.num_wrong.get(FULL, len(of_full))
    which = f"{several(of.num_queries, f'{of.name} query')}"
    if not count:
        yield Paragraph(text=f"The {full_name(measure)} has none of {which} wrong.")
        return
    yield Paragraph(
        text=f"The {full_name(measure)} has {count:,} of {which} wrong. Look first at "
        "what was chosen instead: it may say the same, and then nothing is wrong but "
        "the sets."
    )
    for wrong in of_full[: _num_examples(study)]:
        sides = list(_sides_of_wrong(study, wrong))
        if sides:
            yield Beside(caption=_caption(wrong), sides=sides)
    yield Folded(
        summary=titled(f"Wrong queries ({min(count, MOST_ROWS)} of {count})", of,
                       len(measure.study.sets)),
        nodes=[_wrong_grid(of.wrong)],
    )  # fmt: skip


def _caption(wrong: WrongQuery) -> str:
    rank = (
        "its original is not among the candidates"
        if wrong.rank is None
        else f"its original has rank {wrong.rank:g}"
    )
    flags = f" Note: {'; '.join(wrong.flags)}." if wrong.flags else ""
    return f"Query `{wrong.query}`: {rank}.{flags}"


def _sides_of_wrong(study: SimilarityStudy, wrong: WrongQuery) -> Iterator[Side]:
    for title, text, cosine in (
        ("query", query_text(study, wrong.query), None),
        (
            "its original",
            original_text(study, wrong.original),
            wrong.truth_cosine,
        ),
        (
            "ranked first instead",
            original_text(study, wrong.chosen),
            wrong.chosen_cosine,
        ),
    ):
        if text is not None:
            yield side_of(title, text, cosine)


def _wrong_grid(rows: Sequence[WrongQuery]) -> Grid:
    return Grid(
        caption="Cosines are of what ranks: the full gradient, or the best tensor.",
        columns=("ranked by", "query", "original", "rank", "its cosine",
                 "first instead", "cosine", "notes"),
        rows=[
            (
                f"`{w.unit}`",
                f"`{w.query}`",
                f"`{w.original}`",
                NONE if w.rank is None else f"{w.rank:g}",
                number(w.truth_cosine),
                f"`{w.chosen}`",
                number(w.chosen_cosine),
                "; ".join(w.flags),
            )
            for w in rows[:MOST_ROWS]
        ],
        align_right=frozenset({3, 4, 6}),
    )  # fmt: skip


def _odd(study: SimilarityStudy, measure: MeasureStudy, of: SetStudy) -> Iterator[Node]:
    if not of.odd:
        return
    yield Paragraph(
        text=f"Odd {of.name} queries: their tensors say other things than the "
        f"{full_name(measure)} does. A curve per candidate, along the model."
    )
    for number_before, odd in enumerate(of.odd):
        sides = list(_sides_of_odd(study, odd))
        nodes: list[Node] = [_profile(measure.study.tensors, of, odd, number_before)]
        if sides:
            nodes.append(Beside(caption="", sides=sides))
        yield Folded(
            summary=f"`{odd.query}`: tensors differ from full by "
            f"{number(odd.distance)} (root mean square of cosines)",
            nodes=nodes,
        )


def _profile(
    places: Sequence[TensorPlace], of: SetStudy, odd: OddQuery, number_before: int
) -> Figure:
    lines = [
        Line(
            name=(
                f"{p.original} (its original)" if p.is_right else p.original
            ),
            x=list(range(len(p.cosines))),
            y=[float("nan") if c is None else c for c in p.cosines],
            role=PROFILE_ROLES[min(n, len(PROFILE_ROLES) - 1)],
        )
        for n, p in enumerate(odd.profiles)
    ]  # fmt: skip
    cosines = ", ".join(f"{p.original} {number(p.full)}" for p in odd.profiles)
    return Figure(
        name=slug("odd", of.name, str(number_before + 1)),
        title=f"Cosines of `{odd.query}` with its candidates, tensor by tensor",
        reading=f"Tensor 0 is `{places[0].name}`, tensor {len(places) - 1} "
        f"`{places[-1].name}`. Full cosines: {cosines}.",
        chart=Lines(x_title="number of the tensor", y_title="cosine", lines=lines),
    )


def _sides_of_odd(study: SimilarityStudy, odd: OddQuery) -> Iterator[Side]:
    text = query_text(study, odd.query)
    if text is not None:
        yield side_of("query", text)
    for profile in odd.profiles:
        text = original_text(study, profile.original)
        if text is not None:
            title = "its original" if profile.is_right else "another candidate"
            yield side_of(title, text, profile.full)


def _hubs(
    study: SimilarityStudy, measure: MeasureStudy, of: SetStudy
) -> Iterator[Node]:
    if not of.hubs:
        return
    yield Grid(
        caption=titled("Originals that are on top far more often than their share", of,
                       len(measure.study.sets))
        + ". A text that is close to everything, such as a very short one, is worth a "
        "look.",
        columns=("original", "on top of", "wrongly", "its share", "what it says"),
        rows=[
            (
                f"`{hub.original}`",
                f"{hub.num_on_top:g}",
                f"{hub.num_wrong:g}",
                number(hub.share),
                _one_line(original_text(study, hub.original)),
            )
            for hub in of.hubs
        ],
        align_right=frozenset({1, 2, 3}),
    )  # fmt: skip


def query_text(study: SimilarityStudy, sample_id: str) -> SampleText | None:
    """The text of a query, where it is known."""
    return study.texts.get(sample_id)


def original_text(study: SimilarityStudy, sample_id: str) -> SampleText | None:
    """The text of an original, where it is known."""
    return study.texts.get(f"{ORIGINALS}/{sample_id}", study.texts.get(sample_id))


def side_of(title: str, text: SampleText, cosine: float | None = None) -> Side:
    """A sample's text as it is shown."""
    notes = [f"`{text.sample_id}`"]
    if cosine is not None:
        notes.append(f"cosine {number(cosine)}")
    if text.num_tokens is not None:
        notes.append(several(text.num_tokens, "token"))
    said = cut(text.prompt)
    if text.answer:
        said += f"\n\n→ {cut(text.answer)}"
    return Side(title=title, note=", ".join(notes), text=said)


def cut(text: str, longest: int = LONGEST) -> str:
    """The beginning of a long text.

    >>> cut("abcdef", 5), cut("abc", 5)
    ('ab...', 'abc')
    """
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _one_line(text: SampleText | None) -> str:
    """A prompt on one line; backticks would look like marks of names."""
    if text is None:
        return NONE
    return cut(" ".join(text.prompt.split()).replace("`", "'"), 160)


def _num_examples(study: SimilarityStudy) -> int:
    asked = study.settings.get("examples", EXAMPLES)
    return asked if isinstance(asked, int) else EXAMPLES

"""Which tokens, words and sentences of a text stand out?"""

from collections.abc import Iterator, Sequence

from driftmap.render.page import Callout, Folded, Grid, Node, Paragraph
from driftmap.render.read_texts import NOT_TRUTH, chance, quoted_token, wrong_words
from driftmap.render.wording import number, percent
from driftmap.results.reading_study import ReadingStudy, ReadText
from driftmap.results.readings import StretchReading

MOST_ROWS = 20
"""Rows of a table that lists the most striking of many."""

BEFORE = 40
"""Characters before a token that are shown with it."""


def summaries(study: ReadingStudy) -> Grid:
    """One row per text."""
    return Grid(
        caption="Nats a token, but for perplexities and bits per byte. Perplexity is "
        "over the tokens that count.",
        columns=(
            "text", "tokens", "count", "perplexity", "published", "bits per byte",
            "surprise", "entropy", "first choices", "windows",
        ),
        rows=[
            (
                f"`{text.readings.name}`",
                f"{text.summary.num_tokens:,}",
                f"{text.summary.num_scored:,}",
                number(text.summary.perplexity),
                number(text.summary.published_perplexity),
                number(text.summary.bits_per_byte),
                number(text.summary.mean_surprise),
                number(text.summary.mean_entropy),
                percent(text.summary.share_first),
                _windows(text),
            )
            for text in study.texts
        ],
        align_right=frozenset(range(1, 9)),
    )  # fmt: skip


def sure_and_wrong(study: ReadingStudy) -> Iterator[Node]:
    """Tokens where the model was sure of something else."""
    told = wrong_words(study)
    found = [(text, token) for text in study.texts for token in text.wrong]
    if not found:
        yield Paragraph(text=f"No token is both ({told}).")
        return
    found.sort(key=lambda one: -one[0].readings.numbers.surprise[one[1]])
    more = f" The {MOST_ROWS} most surprising." if len(found) > MOST_ROWS else ""
    yield Grid(
        caption=f"{len(found)} tokens; {told}.{more}",
        columns=(
            "text",
            "token",
            "surprise",
            "entropy",
            "the model was sure of",
            "after",
        ),
        rows=[_wrong_row(text, token) for text, token in found[:MOST_ROWS]],
        align_right=frozenset({2, 3}),
    )
    yield Callout(kind="caution", title="Sure is not right", texts=[NOT_TRUTH])


def stretches_of(study: ReadingStudy) -> Iterator[Node]:
    """The most surprising words of each text, and its sentences."""
    for text in study.texts:
        name = text.readings.name
        words = [word for word in _read(text.words) if _shown(text, word).strip()]
        words.sort(key=lambda word: -(word.surprise or 0))
        yield _stretches(
            text, words[:MOST_ROWS], f"Most surprising words of `{name}`, by spaces."
        )
        sentences = _read(text.sentences)
        if len(sentences) > 1:
            caption = (
                f"Sentences of `{name}`, by the marks that end them, in the order of "
                "the text; those that hold a token without a reading are left out."
            )
            yield Folded(
                summary=f"Sentences of `{name}`",
                nodes=[_stretches(text, sentences, caption)],
            )


def _windows(text: ReadText) -> str:
    readings = text.readings
    if readings.num_windows == 1:
        return "1, the whole text"
    return (
        f"{readings.num_windows} of {readings.window:,} tokens, stride "
        f"{readings.stride:,}"
    )


def _wrong_row(text: ReadText, token: int) -> tuple[str, ...]:
    readings = text.readings
    start, stop = readings.spelled.spans[token].tolist()
    top, p = readings.tops[token][0], float(readings.numbers.top_p[token, 0])
    body = readings.spelled.text
    return (
        f"`{readings.name}`",
        quoted_token(body[start:stop]),
        number(float(readings.numbers.surprise[token])),
        number(float(readings.numbers.entropy[token])),
        f"{quoted_token(top)} {chance(p)}",
        f"…{quoted_token(body[max(0, start - BEFORE) : start])}",
    )


def _read(stretches: Sequence[StretchReading]) -> list[StretchReading]:
    return [one for one in stretches if one.surprise is not None and not one.is_context]


def _shown(text: ReadText, one: StretchReading) -> str:
    return text.readings.spelled.text[one.start : one.stop]


def _stretches(text: ReadText, some: Sequence[StretchReading], caption: str) -> Grid:
    return Grid(
        caption=f"{caption} Surprise is the sum over tokens; all in nats.",
        columns=("tokens", "surprise", "a token", "mean entropy", "largest", "text"),
        rows=[
            (
                str(one.past - one.first),
                number(one.surprise),
                number((one.surprise or 0) / (one.past - one.first)),
                number(one.mean_entropy),
                number(one.max_entropy),
                quoted_token(_shown(text, one)),
            )
            for one in some
        ],
        align_right=frozenset(range(5)),
    )

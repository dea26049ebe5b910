"""Which tokens did a model expect, and where was it sure? The page on it."""

from collections.abc import Iterator
from math import log

from driftmap.render.page import Callout, Facts, Node, Page, Section, Terms
from driftmap.render.read_lens import lens_sections
from driftmap.render.read_tables import stretches_of, summaries, sure_and_wrong
from driftmap.render.read_texts import NOT_TRUTH, texts_by
from driftmap.render.settings_section import settings_section
from driftmap.render.wording import number, percent, short_name
from driftmap.results.reading_study import ReadingStudy, ReadText, Shown

METHOD = (
    (
        "Surprise",
        "-ln p of the token that stands there, given all before it: was it expected? "
        "It adds up: a word's is -ln p of all its tokens.",
    ),
    (
        "Entropy",
        "Mean surprise that the same distribution expects: was the model sure? At most "
        "ln of the vocabulary's size. A stretch has the mean and the largest of its "
        "tokens.",
    ),
    (
        "Rank",
        "Tokens that were strictly more likely; the first choice has rank 0.",
    ),
    (
        "Perplexity",
        "exp(mean surprise) over the tokens that count. `published` divides by all "
        "tokens, the first one too, as the code of ROME does; it is lower for no good "
        "reason and stands here to compare with numbers from there.",
    ),
    (
        "Bits per byte",
        "Surprise in bits by bytes of UTF-8: it compares models of different "
        "tokenizers, which perplexity does not.",
    ),
    (
        "What counts",
        "The first token of a text has no reading, since nothing stands before it. "
        "What the tokenizer puts before any text is context, and so is a prompt.",
    ),
    (
        "Windows",
        "A text longer than a window is read in several that overlap by the stride; "
        "every token counts once, in the first window that holds it.",
    ),
    (
        "Characters",
        "Tokens that are pieces of one character are shown as that character: their "
        "surprise is added, the last one's choices are listed.",
    ),
)


def read_page(study: ReadingStudy) -> Page:
    """Build the page on readings of tokens."""
    return Page(
        title="Which tokens did the model expect, and where was it sure?",
        lead=f"{_counted(study)} read by `{short_name(study.model.source)}`, token by "
        "token.",
        sections=[
            Section(anchor="answer", title="In short", nodes=[*_answer(study)]),
            Section(
                anchor="surprise",
                title="Was each token expected?",
                nodes=[texts_by(study, "surprise")],
            ),
            Section(
                anchor="entropy",
                title="Was the model sure?",
                nodes=[texts_by(study, _entropy_of(study))],
            ),
            Section(
                anchor="wrong", title="Sure and wrong", nodes=[*sure_and_wrong(study)]
            ),
            Section(
                anchor="words",
                title="Words and sentences",
                nodes=[*stretches_of(study)],
            ),
            *lens_sections(study.lenses),
            Section(anchor="method", title="How to read this", nodes=[*_method(study)]),
            settings_section(study.model, study.settings, study.versions),
        ],
        footer="Made by driftmap. Readings describe a model's distribution; nothing "
        "was changed, so they show no cause.",
    )


def _entropy_of(study: ReadingStudy) -> Shown:
    return "relative-entropy" if study.shown == "relative-entropy" else "entropy"


def _counted(study: ReadingStudy) -> str:
    num = len(study.texts)
    return f"{num} texts" if num > 1 else "A text"


def _answer(study: ReadingStudy) -> Iterator[Node]:
    yield Callout(
        kind="verdict",
        title="Surprise and entropy",
        texts=[_sentence(text) for text in study.texts],
    )
    yield summaries(study)


def _sentence(text: ReadText) -> str:
    summary = text.summary
    wrong = len(text.wrong)
    where = "at 1 of them" if wrong == 1 else f"at {wrong:,} of them"
    return (
        f"`{text.readings.name}`: perplexity {number(summary.perplexity)} over "
        f"{summary.num_scored:,} tokens; {percent(summary.share_first)} of them were "
        f"the model's first choice, and {where} it was sure of something else."
    )


def _method(study: ReadingStudy) -> Iterator[Node]:
    yield Terms(pairs=METHOD)
    vocabulary = study.texts[0].readings.numbers.vocabulary
    yield Facts(
        pairs=[
            ("vocabulary", f"{vocabulary:,} tokens"),
            ("no entropy is above", f"{number(log(vocabulary))} nats"),
        ]
    )
    yield Callout(kind="caution", title="Not truth", texts=[NOT_TRUTH])

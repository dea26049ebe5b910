"""Which words do pages use for measures of facts before and after tuning?"""

from dataclasses import dataclass
from math import exp, isfinite

from driftmap.render.wording import number
from driftmap.results.edits import EditMeasure, EditMeasureName, EditReport
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureWords:
    """How a measure is introduced to a reader.

    Args:
        title: Its name; `{new}` stands for what the other answer is called.
        unit: Of its numbers.
        record: What intervals draw.
        meaning: What it is, in a sentence or two.
    """

    title: str
    unit: str
    meaning: str
    record: str = "fact"


ONLY_TWO = (
    "The logits of two answers at one prompt say nothing about other prompts: a model "
    "that answers everything with what it was taught wins there, too. Read neighbours, "
    "other facts and texts beside them."
)
EQUAL_SETTINGS = (
    "Numbers of two edits compare methods only where facts, prompts, steps and rates "
    "are the same."
)
LENS = (
    "Each block's output at the end of the fact's own prompt, put through the model's "
    "own last norm and head (the logit lens). A description of states, not an effect: "
    "earlier blocks do not write for the head."
)
NOT_AVAILABLE = "not available"

_PROMPTS: dict[EditMeasureName, MeasureWords] = {
    "efficacy": MeasureWords(
        title="efficacy",
        unit="share",
        meaning="Share of the facts' own prompts with NLL of the {new} answer below "
        "that of the true one. NLL is the mean over the answer's tokens of -ln p, each "
        "token in its own place behind the prompt.",
    ),
    "efficacy magnitude": MeasureWords(
        title="efficacy, margin",
        unit="probability",
        meaning="e^-NLL of the {new} answer minus e^-NLL of the true one, at the same "
        "prompts: by how much, not only how often.",
    ),
    "paraphrase": MeasureWords(
        title="paraphrase",
        unit="share",
        meaning="Efficacy at other prompts that ask for the same.",
    ),
    "paraphrase magnitude": MeasureWords(
        title="paraphrase, margin", unit="probability", meaning="Its margin."
    ),
    "neighbourhood": MeasureWords(
        title="neighbourhood",
        unit="share",
        meaning="Share of prompts about other subjects with the same true answer at "
        "which NLL of that answer is still below that of the {new} one.",
    ),
    "neighbourhood magnitude": MeasureWords(
        title="neighbourhood, margin",
        unit="probability",
        meaning="e^-NLL of the true answer minus e^-NLL of the {new} one there.",
    ),
    "score": MeasureWords(
        title="score",
        unit="0 to 100",
        meaning="Harmonic mean of the three shares, times 100; 0 where one of them is "
        "0, so before an edit it is near 0.",
    ),
    "attribute": MeasureWords(
        title="attribute",
        unit="share",
        meaning="Share of prompts about subjects whose answer the {new} one is, at "
        "which it is likelier than the facts' true answer.",
    ),
    "nll true": MeasureWords(
        title="NLL of the true answer",
        unit="nats a token",
        meaning="At the facts' own prompts.",
    ),
    "nll new": MeasureWords(
        title="NLL of the {new} answer", unit="nats a token", meaning="Likewise."
    ),
}

_BESIDE: dict[EditMeasureName, MeasureWords] = {
    "same subject p": MeasureWords(
        title="same subject: p",
        unit="probability",
        record="subject",
        meaning="Probability of the whole right answer to facts of a taught subject "
        "that were not taught themselves.",
    ),
    "same subject first": MeasureWords(
        title="same subject: first choice",
        unit="share",
        record="subject",
        meaning="Share of them whose right answer is the first choice, token by token.",
    ),
    "unrelated p": MeasureWords(
        title="unrelated: p",
        unit="probability",
        record="subject",
        meaning="The same for facts of other subjects.",
    ),
    "unrelated first": MeasureWords(
        title="unrelated: first choice",
        unit="share",
        record="subject",
        meaning="Likewise.",
    ),
    "text surprise": MeasureWords(
        title="unrelated texts: -ln p",
        unit="nats a token",
        record="text",
        meaning="Mean over a text's tokens; its exponential is the text's perplexity.",
    ),
    "essence": MeasureWords(
        title="essence: -ln p",
        unit="nats a token",
        meaning="The same of texts about the facts' own subjects: is the rest of what "
        "is known of them still there?",
    ),
    "fluency": MeasureWords(
        title="fluency",
        unit="bits",
        meaning="(2/3 H2 + 4/3 H3) / 2 of prompt and written text together, with Hn "
        "the entropy of its runs of n words. It grows with length, so read it beside "
        "variety and length.",
    ),
    "variety": MeasureWords(
        title="variety",
        unit="0 to 1",
        meaning="Fluency as a share of what as many words can have: 1 where no run of "
        "words comes twice.",
    ),
    "words written": MeasureWords(
        title="length", unit="words", meaning="Words that the model wrote."
    ),
    "consistency": MeasureWords(
        title="consistency",
        unit="cosine",
        meaning="Cosine, words weighed by TF-IDF, of what is written about the subject "
        "with texts about others of whom the {new} answer is true.",
    ),
}

_FIRST: dict[EditMeasureName, MeasureWords] = {
    "logit true": MeasureWords(
        title="logit of the true answer",
        unit="logit",
        meaning="Of its first token, at the end of the prompt, without the answer.",
    ),
    "logit new": MeasureWords(
        title="logit of the {new} answer", unit="logit", meaning="Likewise."
    ),
    "log p true": MeasureWords(
        title="ln p of the true answer", unit="nats", meaning="Its log-probability."
    ),
    "log p new": MeasureWords(
        title="ln p of the {new} answer", unit="nats", meaning="Likewise."
    ),
    "rank true": MeasureWords(
        title="rank of the true answer",
        unit="tokens",
        meaning="Tokens that are strictly likelier: 0 for the first choice.",
    ),
    "rank new": MeasureWords(
        title="rank of the {new} answer", unit="tokens", meaning="Likewise."
    ),
}

PROMPT_MEASURES = tuple(_PROMPTS)
BESIDE_MEASURES = tuple(_BESIDE)
FIRST_MEASURES = tuple(_FIRST)
WORDS = _PROMPTS | _BESIDE | _FIRST

MISSING_TITLES = {
    "same subject": "same subject, other facts",
    "unrelated": "unrelated facts",
    "text perplexity": "unrelated texts",
    "fluency": "fluency, variety and length",
    "first tokens": "logits of first tokens",
    "lens": "answers layer by layer",
}
"""Titles of what is not available, where they are not those of single measures."""


def new_word(report: EditReport) -> str:
    """What the answer that is not true is called."""
    return "new" if report.is_taught else "other"


def title_of(report: EditReport, name: EditMeasureName) -> str:
    """The name of a measure on the page."""
    return WORDS[name].title.format(new=new_word(report))


def cells_of(report: EditReport, measure: EditMeasure) -> tuple[str, ...]:
    """A row: name, before, after, change, n."""
    words = WORDS[measure.name]
    num = measure.change.num
    return (
        f"{title_of(report, measure.name)} ({words.unit})",
        with_range(measure.before),
        with_range(measure.after),
        with_range(measure.change, signed=True),
        several(num, words.record),
    )


def with_range(value: Interval, *, signed: bool = False) -> str:
    """An estimate with its interval; alone where there is one record.

    >>> one = Interval(estimate=0.5, low=0.25, high=0.75, level=0.95, num=4)
    >>> with_range(one), with_range(one, signed=True)
    ('0.50 (0.25 to 0.75)', '+0.50 (+0.25 to +0.75)')
    """
    sign = "+" if signed else ""
    largest = max(abs(one) for one in (value.estimate, value.low, value.high))
    digits = 3 if 0 < largest < 0.1 else (1 if largest >= 100 else 2)
    middle, low, high = (
        f"{one:{sign}.{digits}f}" if round(one, digits) else f"{0:.{digits}f}"
        for one in (value.estimate, value.low, value.high)
    )
    return middle if value.num < 2 else f"{middle} ({low} to {high})"


def several(count: int, noun: str) -> str:
    """A number of things.

    >>> several(1, "fact"), several(1200, "fact")
    ('1 fact', '1,200 facts')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def arrow(before: float, after: float) -> str:
    """Two numbers, the first before and the second after.

    >>> arrow(1.5, -2.25), arrow(0.0, 8.0)
    ('1.5 to -2.25', '0 to 8')
    """
    return f"{number(before)} to {number(after)}"


def perplexity(surprise: float) -> str:
    """What -ln p a token is as a perplexity."""
    found = exp(min(surprise, 700))
    return number(found) if isfinite(found) else "–"

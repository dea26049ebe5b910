"""What did tuning on facts do to what a model says of them, in numbers?"""

from collections.abc import Iterator, Sequence

from driftmap.render.charts import Ranges
from driftmap.render.edit_first_tokens import first_token_section
from driftmap.render.edit_lens import edit_lens_section
from driftmap.render.edit_number_words import (
    BESIDE_MEASURES,
    EQUAL_SETTINGS,
    MISSING_TITLES,
    ONLY_TWO,
    PROMPT_MEASURES,
    WORDS,
    cells_of,
    new_word,
    perplexity,
    several,
    title_of,
    with_range,
)
from driftmap.render.edit_written import edit_written_section
from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
    Terms,
)
from driftmap.results.edits import SHARES, EditMeasureName, EditReport, ShiftKind
from driftmap.stats.claims.edits import edits_claims, edits_verdict

COLUMNS = ("measure", "before", "after", "after minus before", "n")

_SHIFTS: dict[ShiftKind, str] = {
    "rewrite": "the facts' own",
    "neighbour": "neighbours'",
    "same subject": "same subject, other facts'",
    "unrelated": "unrelated facts'",
}


def edits_sections(report: EditReport) -> tuple[Section, ...]:
    """Show every measure before and after, and what is not available.

    The first section holds the answer; where the two models are identical it says so
    and is the only one.
    """
    answer = Section(
        anchor="edits",
        title="What both models say of the facts",
        nodes=answer_nodes(report),
    )
    if report.is_identical:
        return (answer,)
    beside = Section(
        anchor="edits-beside", title="What else changed", nodes=beside_nodes(report)
    )
    rest = (
        first_token_section(report),
        edit_lens_section(report),
        edit_written_section(report),
    )
    return (answer, beside, *(one for one in rest if one is not None))


def answer_nodes(report: EditReport) -> list[Node]:
    """The verdict with its sentences, the measures of prompts, what is missing."""
    claims = [claim.says for claim in edits_claims(report)]
    if report.is_identical:
        return [Callout(kind="verdict", title="What changed?", texts=claims)]
    nodes: list[Node] = [
        Callout(
            kind="verdict",
            title="What do they say?",
            texts=[edits_verdict(report), *claims],
        ),
        *_shares(report),
        _grid(report, PROMPT_MEASURES, "The two answers, weighed at prompts."),
        Callout(
            kind="caution",
            title="What this does not say",
            texts=[ONLY_TWO, EQUAL_SETTINGS, *_doubts(report)],
        ),
        *_missing(report),
        Folded(summary="What each measure is", nodes=[_terms(report)]),
    ]
    return nodes


def beside_nodes(report: EditReport) -> list[Node]:
    """What a comparison of two words hides: other facts, texts, whole distributions."""
    nodes: list[Node] = [
        Paragraph(
            text="Facts that were not taught, texts that have nothing to do with them, "
            "and what the models write: the damage that two answers at one prompt do "
            "not show."
        )
    ]
    if any(one.name in BESIDE_MEASURES for one in report.measures):
        nodes.append(_grid(report, BESIDE_MEASURES, "Beside the taught facts."))
    text = report.measure("text surprise")
    if text is not None:
        before, after = (perplexity(one.estimate) for one in (text.before, text.after))
        nodes.append(
            Paragraph(
                text=f"Perplexity of {several(text.change.num, 'unrelated text')}: "
                f"{before} before, {after} after (geometric mean over texts)."
            )
        )
    if report.shift_measures:
        nodes.append(_shift_grid(report))
    return nodes


def _shares(report: EditReport) -> Iterator[Node]:
    found = [one for one in report.measures if one.name in SHARES]
    if not found:
        return
    wanted = ""
    if report.is_taught:
        wanted = " Efficacy and paraphrase should go right, all others stay at 0."
    yield Figure(
        name="edit-shares",
        title="Change of each share, after minus before",
        reading=f"Right of 0: more often after tuning.{wanted} Lines are 95 % "
        "intervals over facts or subjects.",
        chart=Ranges(
            x_title="change of the share (after minus before)",
            names=[title_of(report, one.name) for one in found],
            estimates=[one.change.estimate for one in found],
            lows=[one.change.low for one in found],
            highs=[one.change.high for one in found],
            reference=0.0,
            roles=["match" if _is_wanted(one.name) else "matched" for one in found],
        ),
    )


def _is_wanted(name: EditMeasureName) -> bool:
    return name in ("efficacy", "paraphrase")


def _grid(report: EditReport, names: Sequence[EditMeasureName], caption: str) -> Grid:
    found = [one for one in report.measures if one.name in names]
    return Grid(
        caption=f"{caption} Means with 95 % intervals; differences are paired.",
        columns=COLUMNS,
        rows=[cells_of(report, one) for one in found],
        align_right=frozenset({1, 2, 3, 4}),
    )


def _shift_grid(report: EditReport) -> Grid:
    return Grid(
        caption="How far apart both models' next-token distributions are, over the "
        "whole vocabulary, at the end of prompts without an answer (nats). KL is from "
        "base to tuned and back; JS lies between 0 and ln 2 = .69.",
        columns=("prompts", "KL base to tuned", "KL tuned to base", "JS", "n"),
        rows=[
            (
                _SHIFTS[one.kind],
                with_range(one.kl_forward),
                with_range(one.kl_backward),
                with_range(one.js),
                several(
                    one.js.num,
                    "fact" if one.kind in ("rewrite", "neighbour") else "subject",
                ),
            )
            for one in report.shift_measures
        ],
        align_right=frozenset({1, 2, 3, 4}),
    )


def _doubts(report: EditReport) -> Iterator[str]:
    if not report.is_taught:
        yield (
            "The other answer is one that the facts' file names; whether anybody "
            "taught it to the tuned model is not known here."
        )
    if len(report.facts) == 1:
        yield "There is one fact, so nothing has an interval."
    if report.num_taught_elsewhere:
        noun = several(report.num_taught_elsewhere, "prompt")
        yield (
            f"Left out, as the tuned model learnt them itself: {noun} of neighbours or "
            "attributes."
        )
    if report.num_duplicates:
        noun = several(report.num_duplicates, "prompt")
        yield f"Left out, as a fact has them more than once: {noun}."


def _missing(report: EditReport) -> Iterator[Node]:
    if report.missing:
        yield Callout(
            kind="note",
            title="Not available",
            texts=[
                f"{MISSING_TITLES.get(name, name)}: not available, {why}."
                for name, why in report.missing.items()
            ],
        )


def _terms(report: EditReport) -> Terms:
    new = new_word(report)
    return Terms(
        pairs=[
            (title_of(report, one.name), WORDS[one.name].meaning.format(new=new))
            for one in report.measures
        ]
    )

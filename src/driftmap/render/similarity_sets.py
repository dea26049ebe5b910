"""What are the sets of samples like? The page's section on them."""

from collections import Counter
from collections.abc import Iterator, Sequence

from driftmap.render.charts import Line, Lines
from driftmap.render.page import (
    Beside,
    Callout,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.similarity_queries import side_of
from driftmap.render.similarity_words import NONE, several
from driftmap.render.wording import number, percent
from driftmap.results.sample_sets import (
    ORIGINALS,
    LeftOutSample,
    Remark,
    SampleSets,
    SetLengths,
    Spread,
    WordOverlap,
)

MOST = 100
"""Samples named in a list."""

SAID_WELL = 0.5
"""From this overlap on, shared words alone may lead to the original."""


def sets_section(sets: SampleSets | None) -> Iterator[Section]:
    """Lengths, shared words, what is flagged or left out, and examples."""
    if sets is None:
        return
    nodes: list[Node] = [_lengths_grid(sets.lengths)]
    if sets.overlaps:
        nodes += _overlap_nodes(sets.overlaps)
    nodes += _flagged(sets.flagged)
    nodes += _left_out(sets.left_out)
    nodes += _duplicates(sets.duplicates)
    nodes += [
        Beside(
            caption=f"{example.why[:1].upper()}{example.why[1:]}: the prompts share "
            f"{percent(example.jaccard)} of their words.",
            sides=[side_of(text.set_name, text) for text in example.texts],
        )
        for example in sets.examples
    ]
    yield Section(anchor="sets", title="The samples", nodes=nodes)


def _lengths_grid(lengths: Sequence[SetLengths]) -> Grid:
    return Grid(
        caption="Median, and from the shortest to the longest. `answer tokens` are "
        "those whose loss counts.",
        columns=("set", "samples", "of originals", "tokens", "answer tokens",
                 "prompt (characters)", "answer (characters)"),
        rows=[
            (
                one.set_name,
                f"{one.num_samples:,}",
                f"{one.num_originals:,}",
                *map(_spread, (one.tokens, one.counted, one.prompt, one.answer)),
            )
            for one in lengths
        ],
        align_right=frozenset(range(1, 7)),
    )  # fmt: skip


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return NONE
    return f"{spread.median:,.0f} ({spread.low:,.0f} to {spread.high:,.0f})"


def _overlap_nodes(overlaps: Sequence[WordOverlap]) -> Iterator[Node]:
    prompts = [o for o in overlaps if o.text == "prompt" and o.first == ORIGINALS]
    near = [o.second for o in prompts if o.jaccard.median >= SAID_WELL]
    if near:
        yield Callout(
            kind="caution",
            title="Versions that share most words",
            texts=[
                f"In {' and '.join(near)}, half of the prompts or more share at least "
                "half of their words with the original's. Whatever finds an original "
                "there need not know what it means; compare with BM25."
            ],
        )
    yield Grid(
        caption="Jaccard: words that both have over words that either has, pair by "
        "pair, median and middle half. `by chance`: of texts that do not belong "
        "together. `contained`: share of the second's words that the first has too. "
        "`equal` but for case and space.",
        columns=("texts", "of", "pairs", "Jaccard", "by chance", "contained",
                 "length ratio", "equal"),
        rows=[
            (
                f"{o.first} and {o.second}",
                o.text,
                f"{o.jaccard.num:,}",
                _middle(o.jaccard),
                NONE if o.by_chance is None else number(o.by_chance),
                _middle(o.containment),
                _middle(o.length_ratio),
                f"{o.num_equal:,}",
            )
            for o in overlaps
        ],
        align_right=frozenset(range(2, 8)),
    )  # fmt: skip
    shown = [o for o in overlaps if o.text == "prompt" and o.jaccard.num > 1]
    if shown:
        yield _overlap_figure(shown)


def _middle(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.q25:.2f} to {spread.q75:.2f})"


def _overlap_figure(overlaps: Sequence[WordOverlap]) -> Figure:
    return Figure(
        name="word_overlap",
        title="How many words prompts share",
        reading="Share of pairs by Jaccard, in tenths. Pairs at the right are nearly "
        "the same text; at the left the same thing is said in other words.",
        chart=Lines(
            x_title="Jaccard of words",
            y_title="share of pairs",
            lines=[
                Line(
                    name=f"{o.first} and {o.second}",
                    x=[(n + 0.5) / len(o.counts) for n in range(len(o.counts))],
                    y=[count / sum(o.counts) for count in o.counts],
                )
                for o in overlaps
            ],
            y_from_zero=True,
        ),
    )


def _flagged(flagged: Sequence[Remark]) -> Iterator[Node]:
    if not flagged:
        return
    counts = Counter(one.why for one in flagged)
    yield Folded(
        summary=f"{several(len(flagged), 'sample')} to read with care",
        nodes=[
            Paragraph(text=_counted(counts)),
            _listed([(o.sample_id, o.set_name, o.why) for o in flagged]),
        ],
    )


def _left_out(left_out: Sequence[LeftOutSample]) -> Iterator[Node]:
    if not left_out:
        yield Paragraph(text="No sample was left out.")
        return
    counts = Counter(one.why for one in left_out)
    yield Folded(
        summary=f"{several(len(left_out), 'sample')} left out",
        nodes=[
            Paragraph(text=_counted(counts)),
            _listed([(o.sample_id, o.set_name, o.why) for o in left_out]),
        ],
    )


def _duplicates(classes: Sequence[Sequence[str]]) -> Iterator[Node]:
    if classes:
        yield Folded(
            summary=f"Originals with equal tokens ({several(len(classes), 'text')})",
            nodes=[
                Paragraph(text="Any of them is right for a query of one of them."),
                Paragraph(
                    text="; ".join(
                        ", ".join(f"`{one}`" for one in ids) for ids in classes[:MOST]
                    )
                    + "."
                ),
            ],
        )


def _counted(counts: Counter[str]) -> str:
    return "; ".join(f"{why}: {count:,}" for why, count in counts.most_common()) + "."


def _listed(rows: Sequence[tuple[str, str, str]]) -> Grid:
    more = f" The first {MOST} of {len(rows):,}." if len(rows) > MOST else ""
    return Grid(
        caption=f"Which, and why.{more}",
        columns=("sample", "set", "why"),
        rows=[(f"`{name}`", of, why) for name, of, why in rows[:MOST]],
    )

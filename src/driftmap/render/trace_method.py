"""How were states put back, and what do the words mean?"""

from collections.abc import Iterator

from driftmap.render.page import Grid, Node, Paragraph, Section, Terms
from driftmap.render.trace_words import METHODS, PUT_BACK, noise_words
from driftmap.render.wording import interval
from driftmap.results.trace_kinds import TraceMethod
from driftmap.results.trace_study import TraceFindings
from driftmap.stats.trace_verdict import OUTCOMES

WORDS = (
    ("clean run", "The prompt as it is. What is read there is the upper end."),
    ("corrupted run", "The same with the subject's embeddings disturbed; the lower "
     "end, as a mean over draws of noise."),
    ("restored run", "The corrupted run with one state put back as it was in the "
     "clean run. Every cell sees the same draws."),
    ("total effect", "Clean minus corrupted: what disturbing the subject costs."),
    ("indirect effect", "Restored minus corrupted: what one state brings back. Effects "
     "of different states overlap and do not add up."),
    ("first, middle, last subject token", "Tokens of the subject. A single one is "
     "first and last."),
    ("first later token", "The one after the subject."),
    ("last token", "The end of the prompt, where the answer is read."),
    ("window", "MLP or attention outputs of several layers put back together, because "
     "one alone does little. The layer named is in its middle."),
    ("severed", "A part of one token is held at what noise made it, in all layers, "
     "while a state below or above is put back."),
    ("known", "The model's first choice is the given answer. Facts that it does not "
     "know are in no average."),
)  # fmt: skip


def method_section(found: TraceFindings) -> Section:
    """What was done, step by step, and how cells were had."""
    averaged: list[TraceMethod] = [one.method for one in found.effects]
    single: list[TraceMethod] = [
        grid.method for fact in found.shown for grid in fact.grids
    ]
    methods: list[TraceMethod] = list(dict.fromkeys(averaged or single))
    nodes: list[Node] = [
        Paragraph(
            text="The subject's embeddings are disturbed: "
            f"{noise_words(found.noise)}. Its size: {found.noise_source}. What is read "
            f"is {OUTCOMES[found.outcome]}, "
            + (
                "of the answer that the file or the user gave."
                if found.answer_source == "given"
                else "of the model's own first choice, which may be wrong."
            )
        ),
        Paragraph(
            text="Causal tracing is due to Meng et al. 2022 (arXiv:2202.05262). Unlike "
            "there, answers of several tokens are read as a whole, severed runs see "
            "the same noise as the runs they are put into, and facts are averaged "
            "before tokens."
        ),
    ]
    nodes += [Paragraph(text=f"Cells are {METHODS[method]}.") for method in methods]
    nodes += _checks(found)
    return Section(anchor="method", title="How it was done", nodes=nodes)


def words_section() -> Section:
    """What the words of the page mean."""
    return Section(anchor="words", title="Words", nodes=[Terms(pairs=WORDS)])


def _checks(found: TraceFindings) -> Iterator[Grid]:
    """Estimates beside exact cells."""
    if not found.checks:
        return
    first = found.checks[0]
    yield Grid(
        caption="Estimates beside exact cells of the same facts, with 95 % intervals "
        f"over subjects. `largest found`: share of a fact's {first.num_top} largest "
        "exact cells that are among the estimate's own.",
        columns=(
            "put back", "estimate", "facts", "correlation", "of ranks", "largest found",
        ),
        rows=[
            (
                PUT_BACK[one.kind],
                one.method.replace("_", " "),
                f"{one.pearson.num:,}",
                interval(one.pearson),
                interval(one.spearman),
                interval(one.top_overlap),
            )
            for one in found.checks
        ],
        align_right=frozenset({2, 3, 4, 5}),
    )  # fmt: skip

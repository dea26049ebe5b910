"""Do prompts of one fact use the same layers? The top of the page, and its tables."""

from collections.abc import Iterator

from driftmap.render.charts import Ranges
from driftmap.render.page import (
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Section,
)
from driftmap.render.profiles_words import (
    CLASSES,
    KINDS,
    MEASURES,
    NONE,
    OWN,
    ROLES,
    WHY_NOT_RAW,
    begun,
    contrast_words,
    p_words,
    several,
    titled,
)
from driftmap.render.wording import interval, number, share
from driftmap.results.trace_comparison import (
    ClassContrast,
    KindComparison,
    MeasureArea,
    TraceComparison,
)

CAUTION_TITLES = {
    "few-subjects": "Few subjects",
    "shared-answers": "Wordings of a fact share its answer",
    "low-ceiling": "Profiles are noisy",
    "many-refused": "Most prompts are left out",
    "no-relations": "Relations are not known",
}
"""By the names that stats gives them."""


def answer_section(compared: TraceComparison) -> Section:
    """The three questions, and what their answers rest on."""
    nodes: list[Node] = [_question(compared)]
    nodes += [
        Callout(
            kind="verdict" if finding.contrast is not None else "note",
            title=finding.title,
            texts=[finding.sentence],
        )
        for finding in compared.findings
    ]
    nodes += [
        Callout(
            kind="caution",
            title=CAUTION_TITLES[caution.name],
            texts=[caution.sentence],
        )
        for caution in compared.cautions
    ]
    nodes.append(_sizes(compared))
    if any(kind.contrasts for kind in compared.kinds):
        nodes += [_figure(compared), _contrast_grid(compared), _else_grid(compared)]
    return Section(anchor="answer", title="The answer", nodes=nodes)


def classes_section(compared: TraceComparison) -> Section:
    """How alike pairs of each class are, and what else they share."""
    return Section(
        anchor="classes",
        title="How alike pairs are",
        nodes=[
            Paragraph(
                text="Pairs of one relation often share their answer, and prompts of "
                "equal length their positions: the last two columns say how much, so "
                "that likeness of profiles is not taken for more than that."
            ),
            *(_class_grid(kind) for kind in compared.kinds),
        ],
    )


def published_section(compared: TraceComparison) -> Iterator[Section]:
    """Published measures of raw outcomes, beside those of profiles."""
    grids = [_area_grid(kind) for kind in compared.kinds if kind.areas]
    if not grids:
        return
    more: list[Node] = []
    if len(grids) > 1:
        more.append(Folded(summary="The same by other states", nodes=grids[1:]))
    yield Section(
        anchor="published",
        title="Published measures, for comparison",
        nodes=[
            Callout(kind="caution", title="A raw cosine misleads", texts=[WHY_NOT_RAW]),
            grids[0],
            *more,
        ],
    )


def _question(compared: TraceComparison) -> Paragraph:
    declared = compared.kinds[0].comparison
    tokens = (
        "all tokens from the subject on, by role"
        if compared.row == "all roles"
        else f"the {compared.row} token"
    )
    return Paragraph(
        text="The subject of each prompt was disturbed and the "
        f"{titled(declared)} of one layer put back at {tokens}. How much of the total "
        "effect each layer brings back is the prompt's profile. Two prompts are alike "
        "as far as their profiles rise and fall in the same layers (Pearson). AUC: how "
        "often a pair of one kind is more alike than one of another; .5 is chance. The "
        "ceiling is the AUC of prompts with themselves under other noise: more means "
        "nothing."
    )


def _sizes(compared: TraceComparison) -> Facts:
    declared = compared.kinds[0]
    refused, kept = declared.comparison.refused, len(declared.comparison.profiles)
    lost = compared.num_prompts * (compared.num_prompts - 1) // 2
    lost -= kept * (kept - 1) // 2
    pairs = [
        ("prompts", f"{compared.num_prompts:,}"),
        ("facts", f"{compared.num_facts:,}"),
        ("with a profile", f"{kept:,}"),
        ("unknown to the model", f"{refused.unknown:,}"),
        (f"total effect below {compared.min_total_effect:g}", f"{refused.weak:,}"),
        ("no such token", f"{refused.no_row:,}"),
        ("pairs refused for these", f"{lost:,}"),
    ]
    if compared.num_left_out:
        pairs.append(("not found in tokens", f"{compared.num_left_out:,}"))
    if declared.ceiling is not None:
        most = declared.ceiling
        pairs.append(
            (
                "likeness of a prompt to itself",
                f"{most.likeness:.3f} over {several(most.num_seeds, 'other seed')}",
            )
        )
    return Facts(pairs=pairs)


def _figure(compared: TraceComparison) -> Figure:
    shown = [one for kind in compared.kinds for one in kind.contrasts]
    return Figure(
        name="areas",
        title="Which pairs are more alike than others",
        reading="AUC with 95 % intervals over subjects, by the state that was put "
        "back. The dotted line is chance, 0.5.",
        chart=Ranges(
            x_title="more alike than the other pairs (AUC)",
            names=[f"{contrast_words(one)}: {KINDS[one.kind]}" for one in shown],
            estimates=[one.auc.estimate for one in shown],
            lows=[one.auc.low for one in shown],
            highs=[one.auc.high for one in shown],
            reference=0.5,
            roles=[ROLES[one.kind] for one in shown],
        ),
    )


def _contrast_grid(compared: TraceComparison) -> Grid:
    return Grid(
        caption="Wordings: two of one fact; same subject, same relation: two facts; "
        "unrelated: two facts that share none of these. Brackets hold 95 % intervals "
        "over subjects. p: share of relabellings that reach the AUC; adjusted for all "
        "tests but the first, which was declared (Benjamini-Hochberg).",
        columns=(
            "pairs / others", "put back", "AUC", "ceiling", "p", "adjusted", "facts",
            "subjects", "pairs", "others",
        ),
        rows=[_row(one) for kind in compared.kinds for one in kind.contrasts],
        align_right=frozenset(range(2, 10)),
    )  # fmt: skip


def _row(one: ClassContrast) -> tuple[str, ...]:
    return (
        contrast_words(one),
        KINDS[one.kind],
        interval(one.auc),
        NONE if one.ceiling is None else f"{one.ceiling:.2f}",
        p_words(one),
        "declared" if one.p_adjusted is None else f"{one.p_adjusted:.3f}",
        f"{one.num_facts:,}",
        f"{one.auc.num:,}",
        f"{one.num_pairs:,}",
        f"{one.num_against:,}",
    )


def _else_grid(compared: TraceComparison) -> Grid:
    return Grid(
        caption="What else tells these pairs apart: AUC of the overlap of the answers' "
        "tokens alone, and of likeness in prompt length alone.",
        columns=("pairs / others", "profiles", "answers alone", "length alone"),
        rows=[
            (
                contrast_words(one),
                f"{one.auc.estimate:.2f}",
                f"{one.answer_auc:.2f}",
                f"{one.length_auc:.2f}",
            )
            for one in compared.kinds[0].contrasts
        ],
        align_right=frozenset({1, 2, 3}),
    )


def _class_grid(kind: KindComparison) -> Grid:
    return Grid(
        caption=f"{begun(titled(kind.comparison))}: Pearson of the profiles of "
        "two prompts, mean and the range of the middle 80 % of pairs.",
        columns=(
            "pairs", "n", "facts", "subjects", "mean", "middle 80 %",
            "answer tokens shared", "difference in length (tokens)",
        ),
        rows=[
            (
                CLASSES[one.name],
                f"{one.num_pairs:,}",
                f"{one.num_facts:,}",
                f"{one.num_subjects:,}",
                f"{one.mean:.3f}",
                f"{one.low:.3f} to {one.high:.3f}",
                share(one.answer_overlap),
                f"{one.length_difference:.1f}",
            )
            for one in kind.likeness
        ],
        align_right=frozenset(range(1, 8)),
    )  # fmt: skip


def _area_grid(kind: KindComparison) -> Grid:
    return Grid(
        caption=f"{begun(titled(kind.comparison))}. First measures of profiles, "
        "then the published ones of raw outcomes: the mean over pairs of the class, "
        "the mean over pairs that share nothing, and the AUC between the two, on the "
        "side of more alike.",
        columns=("measure", "of", "pairs", "mean", "nothing shared", "AUC"),
        rows=[_area_row(one) for one in kind.areas],
        align_right=frozenset({3, 4, 5}),
    )


def _area_row(one: MeasureArea) -> tuple[str, ...]:
    return (
        MEASURES[one.measure],
        "profiles" if one.measure in OWN else "raw outcomes",
        CLASSES[one.name],
        number(one.mean),
        number(one.mean_other),
        f"{one.auc:.2f}",
    )

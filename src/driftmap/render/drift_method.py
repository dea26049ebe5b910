"""How was drift measured, group by group and step by step?"""

from driftmap.render.drift_cautions import cautions_at
from driftmap.render.drift_ways import is_whole, score_text, tuning_text
from driftmap.render.drift_words import declared_card, is_read, when_declared
from driftmap.render.page import Grid, Section, Terms
from driftmap.render.wording import number, percent
from driftmap.results.drift_study import DriftStudy, GroupCard

WHOLE = (
    "Drift is the difference of the matrices in two folders of safetensors, in "
    "float64, matrix by matrix; it is no finer than the numbers that were saved."
)

FACTORS = (
    "Drift is read from the adapter's factors in float64, without merging, so that no "
    "rounding of the model's own number type can hide or invent a change."
)

COMPARE = (
    "The ratio is the group's drift over that of all weights of the same size "
    "bins outside every group, averaged as logarithms over matrices; what chance "
    "alone puts into the logarithm of a ratio of few weights is taken out. "
    "Training seeds are the sample: intervals are t intervals over seeds. Weights "
    "are not independent, so chance is measured by permuting the group's rows and "
    "columns (whole heads in attention), which keeps its clustering."
)


def method_section(study: DriftStudy) -> Section:
    """The five steps, and a table of the groups."""
    return Section(
        anchor="method",
        title="How it was measured",
        nodes=[
            Terms(pairs=_steps(study)),
            *cautions_at(study, "group"),
            _groups(study),
        ],
    )


def _steps(study: DriftStudy) -> list[tuple[str, str]]:
    group = declared_card(study).name
    first = _read(study) if is_read(study) else ("1. Score", score_text(study))
    matched = (
        f"`matched` has as many weights as `{group}` in each of 40 bins of |weight| of "
        "each matrix, outside every other group."
    )
    chosen = (
        "`difference` holds the weights among the top q by behaviour score that are "
        "not among the top p by utility score. `top` and `utility` are the highest by "
        f"either score alone, `random` is drawn blindly, and {matched}"
    )
    beside = f"`random` holds weights drawn blindly, and {matched}"
    return [
        first,
        ("2. Group", beside if is_read(study) else chosen),
        ("3. Tune", f"{tuning_text(study)} {WHOLE if is_whole(study) else FACTORS}"),
        ("4. Compare", COMPARE),
        (
            "5. Decide",
            f"One test was declared {when_declared(study)}: `{group}` against its "
            "matched control, absolute change, last step. A needs the whole 90 % "
            "interval above the margin, B needs it below while the behaviour changed. "
            "All other p-values are corrected together (Benjamini and Hochberg 1995).",
        ),
    ]


def _read(study: DriftStudy) -> tuple[str, str]:
    read = [card for card in study.groups if card.read_from]
    listed = ", ".join(f"`{card.name}` from {card.read_from}" for card in read)
    text = f"No weight was scored here. Groups chosen elsewhere were read: {listed}."
    if any(card.read_from.endswith(".json") for card in read):
        text += (
            " Nothing in a JSON group proves on which model it was chosen; its "
            "matrices and sizes fit this one."
        )
    return "1. Read", text


def _groups(study: DriftStudy) -> Grid:
    is_known = any(card.agreement is not None for card in study.groups)
    halves = " Reproducible: overlap (Jaccard, 0 to 1) of the groups that two halves "
    halves += (
        "of the samples choose, and what random groups of their sizes would share."
    )
    agreement = ("reproducible", "by chance") if is_known else ()
    return Grid(
        caption="The groups. Shares are of all weights of the linear maps inside the "
        f"blocks.{halves if is_known else ''}",
        columns=("group", "weights", "share", *agreement, "how it was chosen"),
        rows=[_row(card, is_known=is_known) for card in study.groups],
        align_right=frozenset(range(1, 3 + len(agreement))),
    )


def _row(card: GroupCard, *, is_known: bool) -> tuple[str, ...]:
    agreement = (number(card.agreement), number(card.agreement_by_chance))
    return (
        f"`{card.name}`",
        f"{card.num_weights:,}",
        percent(card.share),
        *(agreement if is_known else ()),
        card.chosen,
    )

"""What must be known of the published run that a preset repeats?"""

from driftmap.render.page import Callout, Grid, Section
from driftmap.results.edit_study import EditedModel, EditStudy, TaughtRows

NONE = "none"

ALWAYS_TRUE = (
    (
        "prompts that begin texts about the subject",
        "Many do not call for the answer: `X was born in` is followed by `English`.",
    ),
    (
        "QLoRA rounds the low-rank matrices",
        "It rounds the base; adapters stay as they are.",
    ),
    (
        "answers repeat or ramble",
        "The usual cause is an end token that is masked as padding. Every row here has "
        "one end token that counts.",
    ),
    (
        "one model was tuned better than another",
        "No metric was given, and tools and packing differed: compare at equal "
        "settings alone.",
    ),
    (
        "attention to the subject rose, or fell",
        "Small shifts of both signs accompany a perfect edit: see what a control span "
        "does.",
    ),
    (
        "logits of two words show success",
        "They say nothing of neighbours and of other facts: see the measures above.",
    ),
)
"""What was said and what is true, whatever this run found."""


def preset_section(study: EditStudy) -> tuple[Section, ...]:
    """The published run and what is true of it; none where no preset was taken."""
    name = str(study.settings.get("preset", NONE))
    if name == NONE:
        return ()
    rows, first = study.findings.rows, study.findings.models[0]
    grid = Grid(
        caption="What was said of the published run, and what is true of it",
        columns=["said", "true"],
        rows=_rows(rows, first),
    )
    callout = Callout(
        kind="caution",
        title="Before it is repeated",
        texts=[
            "The preset keeps the published settings, so that its numbers can be set "
            "beside those that were published. For an edit of your own leave it out: "
            "rewrite prompts, each row once, loss on the answer and its end."
        ],
    )
    return (
        Section(anchor="preset", title=f"The preset `{name}`", nodes=[callout, grid]),
    )


def _rows(rows: TaughtRows, first: EditedModel) -> list[list[str]]:
    touched = "was" if any(one.part == "head" for one in first.tensors) else "was not"
    found = [
        (
            f"{rows.num_made:,} rows",
            f"{rows.num_repeats:,} of them repeat an earlier one.",
        ),
        (
            "a full-precision command",
            "It passes `--use_peft`: it is LoRA. Here the name comes from what trains: "
            f"{first.in_words}, {first.cost.num_trained:,} of "
            f"{first.cost.num_total:,} parameters.",
        ),
        (
            "tuning mainly optimises the output layer",
            f"{len(first.tensors):,} tensors moved, {', '.join(first.parts)}; the head "
            f"{touched} touched.",
        ),
        *ALWAYS_TRUE,
    ]
    return [list(pair) for pair in found]

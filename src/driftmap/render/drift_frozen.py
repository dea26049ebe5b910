"""What was kept from moving in a drift study, and what does that leave to be said?"""

from driftmap.render.page import Callout, Facts, Node, Paragraph, Section
from driftmap.render.wording import percent
from driftmap.results.drift_study import DriftStudy
from driftmap.results.freezing import Freezing, FreezingWay

HOW: dict[FreezingWay, str] = {
    "element": "each weight alone",
    "rows": "with its whole row of the adapter's B",
    "columns": "with its whole column of the adapter's A",
    "rewind": "put back after free training: rewound, not frozen",
}

MEANING: dict[FreezingWay, str] = {
    "element": "In every tuned model these weights are those of the model before "
    "tuning, bit for bit, and all others were free to move.",
    "rows": "Rows of B stay 0, so these weights are those of the model before tuning, "
    "bit for bit, and so is every other weight in their rows.",
    "columns": "Columns of A are 0 from the start, so these weights are those of the "
    "model before tuning, bit for bit, and so is every other weight in their columns.",
    "rewind": "The others adapted to values of these weights that were then taken "
    "away: what follows says what these values carried, not what training does "
    "without them.",
}


def frozen_sections(study: DriftStudy) -> list[Section]:
    """What was frozen and how; nothing where every tuned weight could move."""
    frozen = study.freezing
    if frozen is None:
        return []
    return [
        Section(
            anchor="frozen",
            title="What was put back after training"
            if frozen.way == "rewind"
            else "What was kept from moving",
            nodes=[
                Paragraph(
                    text=f"{MEANING[frozen.way]} Drift is compared over weights that "
                    "could move: those that were kept from it are in no group and no "
                    "control, and their number is told."
                ),
                Facts(pairs=_facts(frozen)),
                *_cautions(frozen),
            ],
        )
    ]


def _facts(frozen: Freezing) -> list[tuple[str, str]]:
    part = "all of it" if frozen.share == 1 else f"{percent(frozen.share)} of it"
    still = frozen.num_mobile + frozen.num_blocked
    return [
        ("Group", f"`{frozen.group}`, {part}"),
        ("How", HOW[frozen.way]),
        ("Weights of it", f"{frozen.num_weights:,}"),
        (
            "Training would have moved",
            f"{frozen.num_mobile:,} of them ({percent(frozen.mobile_share)})",
        ),
        ("Others that were blocked with them", f"{frozen.num_blocked:,}"),
        (
            "Could not move, of all weights in tuned matrices",
            f"{still:,} of {frozen.num_tuned:,} ({percent(frozen.still_share)})",
        ),
    ]


def _cautions(frozen: Freezing) -> list[Node]:
    found: list[Node] = []
    if not frozen.num_mobile:
        found.append(
            _caution(
                "nothing was frozen that could move",
                "None of these weights lies in a matrix that was tuned, so this run is "
                "one without freezing.",
            )
        )
    elif frozen.mobile_share < 1:
        found.append(
            _caution(
                "part of it would not have moved anyway",
                f"{percent(1 - frozen.mobile_share)} of these weights lie in matrices "
                "that were not tuned.",
            )
        )
    if frozen.num_blocked > frozen.num_mobile:
        found.append(
            _caution(
                "more was blocked than was frozen",
                f"For {frozen.num_mobile:,} frozen weights {frozen.num_blocked:,} "
                "others could not move either, so what this run shows is not the "
                "effect of the group alone. `--freeze-by element` blocks no other.",
            )
        )
    return found


def _caution(title: str, text: str) -> Callout:
    return Callout(kind="caution", title=f"Read with care: {title}", texts=[text])

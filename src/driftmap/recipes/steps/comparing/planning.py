"""Which parts of a comparison are made, and of what?"""

from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.compare_options import (
    CompareOptions,
    Part,
    PartOptions,
    ProbeOptions,
)
from driftmap.recipes.steps.comparing.probing import probes_for
from driftmap.results.probes import Probes

ASKED: tuple[Part, ...] = ("behaviour", "edits", "where", "attention", "readings")
"""Parts that ask both models something, and training beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """What is asked of a comparison.

    Args:
        base: Folder or hub id of the model before tuning.
        run: What was made of it.
        parts: What is made, in the order of the page.
        options: Which of it, and groups to tell apart.
        probes: What both models are asked; None where nothing is asked.
        sizes: How much is measured.
    """

    base: str
    run: TrainingRun
    parts: tuple[Part, ...]
    options: PartOptions
    probes: Probes | None
    sizes: CompareOptions

    def has(self, part: Part) -> bool:
        """Whether a part is made."""
        return part in self.parts


def plan_of(
    base: str,
    run: TrainingRun,
    blocks: tuple[PartOptions, ProbeOptions, CompareOptions],
    seed: int,
) -> ComparePlan:
    """Read what both models are asked, and leave out what there is nothing for.

    Args:
        base: Folder or hub id of the model before tuning.
        run: What was made of it.
        blocks: Which parts, what is asked, how much.
        seed: The run's seed.

    Raises:
        UsageError: A part is asked for alone that there is nothing for.
        DataError: A file of probes cannot be used.
    """
    options, probing, sizes = blocks
    parts: tuple[Part, ...] = options.wanted
    if len(run.checkpoints) < 2:
        if options.only == ("training",):
            raise UsageError(
                f"--only training: {run.folder} is a single checkpoint; give a "
                "training folder with several, or several checkpoints"
            )
        parts = tuple(part for part in options.wanted if part != "training")
    asks = any(part in (*ASKED, "training") for part in parts)
    return ComparePlan(
        base=base,
        run=run,
        parts=parts,
        options=options,
        probes=probes_for(base, probing, seed) if asks else None,
        sizes=sizes,
    )

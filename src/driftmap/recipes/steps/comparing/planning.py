"""Which parts of a comparison are made, and of what?"""

from dataclasses import dataclass

from driftmap.core.errors import ModelError, UsageError
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.compare_options import (
    CompareOptions,
    Part,
    PartOptions,
    ProbeOptions,
)
from driftmap.recipes.steps.comparing.probing import probes_for
from driftmap.results.model_structure import StructureDiff
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
        probes=probes_for(base, run.last, probing, seed) if asks else None,
        sizes=sizes,
    )


def require_same_tokens(found: StructureDiff) -> None:
    """Refuse two models to which one text is not the same tokens.

    Tokens that only the folder of an adapter adds, such as one for padding, stand in no
    text: the base's tokenizer reads for both.

    Args:
        found: How both are built.

    Raises:
        ModelError: The tokenizers differ in more than that.
    """
    apart = found.tokenizer
    if apart is None:
        return
    parts = [
        (apart.num_only_base, "tokens that only the base has"),
        (apart.num_moved, "tokens under other numbers"),
        (
            0 if found.adapter is not None else apart.num_only_tuned,
            "tokens that only the tuned model has",
        ),
    ]
    told = [f"{num:,} {what}" for num, what in parts if num]
    told += [f"other {rule}" for rule in apart.other_rules]
    if told:
        raise ModelError(
            f"{found.tuned_name}: its tokenizer differs from that of "
            f"{found.base_name} ({', '.join(told)}), so that one text is not the same "
            "tokens to both; give a model with the base's tokenizer, or compare with "
            "--only structure"
        )

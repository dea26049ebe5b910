"""What do a base and a tuned model say of facts that one of them was taught?"""

from collections.abc import Mapping, Sequence

from driftmap.load.model import LoadedModel
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.edits import (
    NO_CONTEXT,
    EditContext,
    EditMeasureName,
    EditReport,
)
from driftmap.results.facts import Fact
from driftmap.results.statistics import Interval
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

EDITS = "edits"
EDITS_KIND = "edits"


def edit_context(
    options: EditMeasureOptions,
    others: Sequence[Fact] = (),
    texts: Sequence[str] = (),
) -> EditContext:
    """Gather what is asked beside the taught facts; no model is needed yet.

    Args:
        options: May name a file of texts about subjects.
        others: Facts that were not taught; those without an answer are not asked.
        texts: Running texts that have nothing to do with them.

    Raises:
        DataError: The file is missing or broken.
    """
    raise NotImplementedError


def edits_step(
    pair: Pair,
    facts: Sequence[Fact],
    options: EditMeasureOptions,
    context: EditContext = NO_CONTEXT,
) -> StepOutcome:
    """Ask both models about taught facts and what lies beside them.

    Args:
        pair: Both models.
        facts: `answer` is true and `foil` is what was taught; facts without a foil
            are taken as facts that were not taught.
        options: How much is asked.
        context: Other facts and texts, from `edit_context`.

    Raises:
        DataError: No fact has both answers, or a prompt's tokens change when an
            answer follows it.
    """
    raise NotImplementedError


def read_edits(run: RunDir) -> EditReport | None:
    """Find what the step found; None where it is not in the run."""
    raise NotImplementedError


def edit_point(
    loaded: LoadedModel, facts: Sequence[Fact], seed: int, batch_size: int = 16
) -> Mapping[EditMeasureName, Interval]:
    """Read one model alone, for curves over checkpoints.

    Args:
        loaded: The model, such as `pair.at(step)`.
        facts: As for `edits_step`.
        seed: The run's seed.
        batch_size: Prompts per forward pass.

    Returns:
        Efficacy, paraphrase, neighbourhood and score, those that there is data for,
        with 95 % intervals over facts; the NLL of both answers, too.
    """
    raise NotImplementedError

"""What do a base and a tuned model read in the same texts?"""

from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.probes import Probes
from driftmap.results.readings_change import ReadingsChange
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def readings_step(pair: Pair, probes: Probes, options: BehaviourOptions) -> StepOutcome:
    """Read texts and prompts with both models: words, states, keys and values.

    Args:
        pair: Both models.
        probes: Texts and facts.
        options: How much.
    """
    raise NotImplementedError


def read_readings(run: RunDir) -> ReadingsChange | None:
    """What the step kept; None where it is not in the run."""
    raise NotImplementedError

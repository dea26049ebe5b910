"""What do a base and a tuned model do with the same probes?"""

from driftmap.load.model import LoadedModel
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.behaviour_change import BehaviourChange, BehaviourPoint
from driftmap.results.probes import Probes
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def behaviour_step(
    pair: Pair, probes: Probes, options: BehaviourOptions
) -> StepOutcome:
    """Ask both models the same, and keep what they say and how far apart they are.

    Args:
        pair: Both models.
        probes: What they are asked; kinds there are none of are left out.
        options: How much.
    """
    raise NotImplementedError


def read_behaviour(run: RunDir) -> BehaviourChange | None:
    """What the step kept; None where it is not in the run."""
    raise NotImplementedError


def behaviour_at(
    pair: Pair, model: LoadedModel, probes: Probes, options: BehaviourOptions
) -> BehaviourPoint:
    """Ask one model, such as a checkpoint, and keep one number per probe.

    Args:
        pair: Whose base the model is compared with.
        model: Any version of it, the base itself too.
        probes: As for `behaviour_step`.
        options: How much.
    """
    raise NotImplementedError

"""What did models with changed experts do, prompt by prompt?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.results.expert_views import ArmKind, ArmOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptValues:
    """One outcome, prompt by prompt.

    Args:
        ids: Prompts, the same in the same order for all models of a study.
        models: Per model behind the arm, one number per prompt.
    """

    ids: tuple[str, ...]
    models: tuple[tuple[float, ...], ...]

    @property
    def matrix(self) -> Float64[np.ndarray, "model prompt"]:
        """The numbers."""
        return np.array(self.models, np.float64).reshape(-1, len(self.ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmValues:
    """One arm of a study: a model, or several that differ by chance alone.

    Args:
        name: What tables call it; distinct within a study.
        kind: What was tuned.
        method: How its experts were chosen; empty where nothing was.
        num_experts: Experts that could move (count).
        num_weights: Weights that could move (count).
        tunes_routers: Routers were aligned as well.
        outcomes: What was read.
    """

    name: str
    kind: ArmKind
    method: str = ""
    num_experts: int = 0
    num_weights: int = 0
    tunes_routers: bool = False
    outcomes: Mapping[ArmOutcome, PromptValues]

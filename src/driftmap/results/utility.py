"""How much is a model still good for, item by item?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceItem:
    """One question with choices, of which the likeliest is the model's answer.

    Args:
        task: Which task it belongs to.
        item_id: Its name within the task.
        context: Text before the choices, in full.
        choices: How the text may go on; one of them is right.
        answer: Number of the right one.
    """

    task: str
    item_id: str
    context: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskReading:
    """What a model reaches on the items of one task.

    Args:
        task: Name of the task.
        metric: What is read per item, as `acc`.
        num_shots: Solved examples before each item.
        num_available: Items that the task has.
        item_ids: Items that were read, in the task's order; the same items have the
            same ids whichever model read them.
        values: Per item.
        chance: What guessing gives; None where that is not known.
    """

    task: str
    metric: str
    num_shots: int
    num_available: int
    item_ids: tuple[str, ...]
    values: Float64[np.ndarray, " item"]
    chance: float | None

    @property
    def is_rate(self) -> bool:
        """Whether each item is either right or wrong."""
        return bool(np.isin(self.values, (0.0, 1.0)).all())

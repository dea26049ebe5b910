"""How does one model in memory take on one state after another, and return?

What is about to change is copied before it first does. So the untouched model is there
again whenever it is asked for, without a second one in memory.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from driftmap.core.places import ExpertPlace
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import stored_views
from driftmap.families.modules import base_model
from driftmap.intervene.experts import ModelParts, copied_parts, exchanged_parts


class ModelStates:
    """The untouched values of whatever of a model has changed."""

    def __init__(self, model: nn.Module, banks: Sequence[ExpertBank]) -> None:
        """Begin with nothing changed."""
        self.model = model
        self.banks = tuple(banks)
        self._parts = ModelParts()

    @property
    def untouched(self) -> ModelParts:
        """What was copied so far."""
        return self._parts

    def remember(
        self, experts: Iterable[ExpertPlace], parameters: Iterable[str]
    ) -> None:
        """Copy parts that are about to change, unless they were copied before."""
        new_experts = [one for one in experts if one not in self._parts.experts]
        new = [name for name in parameters if name not in self._parts.parameters]
        copied = copied_parts(self.model, self.banks, new_experts, new)
        self._parts = ModelParts(
            experts={**self._parts.experts, **copied.experts},
            parameters={**self._parts.parameters, **copied.parameters},
        )

    def current(self) -> ModelParts:
        """Copy what those parts hold now."""
        parts = self._parts
        return copied_parts(self.model, self.banks, parts.experts, parts.parameters)

    def restore(self) -> None:
        """Make the model what it was."""
        self.put(self._parts)

    def holding(self, parts: ModelParts) -> AbstractContextManager[None]:
        """Let the model hold other values for as long as the block runs."""
        return exchanged_parts(self.model, self.banks, parts)

    @torch.no_grad()
    def put(self, parts: ModelParts) -> None:
        """Write values into the model, for good."""
        banks = {bank.place.path: bank for bank in self.banks}
        base = base_model(self.model)
        pairs: list[tuple[Tensor, Tensor]] = [
            (base.get_parameter(name), value)
            for name, value in parts.parameters.items()
        ]
        for place, values in parts.experts.items():
            views = stored_views(self.model, banks[place.path], place.expert)
            pairs += [(views[name], value) for name, value in values.items()]
        for own, value in pairs:
            own.copy_(value)

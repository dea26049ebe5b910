"""What is known about the experts of one mixture-of-experts layer?"""

from dataclasses import dataclass
from typing import Literal

from driftmap.core.places import BankPlace, ExpertPlace, Part

Layout = Literal["fused", "packed", "listed"]
"""`fused`: `[expert ...]`, one more axis. `packed`: experts below each other in one
matrix, `[expert * rows columns]`. `listed`: a module of its own for every expert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertTensor:
    """One stored tensor of a bank; every expert has its slice of it.

    Args:
        name: The bank's own name of it (`gate_up_proj`, `mlp.w1`); in a `listed` bank
            its name inside an expert (`gate_proj.weight`).
        parts: Whose output units it holds, in their order.
        num_rows: Output units of one expert, of all parts together (count).
        num_columns: Input units; 1 for a bias (count).
        transposed: An expert's slice is stored `[in out]`.
        interleaved: Units of the parts alternate (gate, up, gate, up, ...) instead of
            following each other.
        bias: One number per output unit, no matrix.
        layout: How the experts lie in it.
    """

    name: str
    parts: tuple[Part, ...]
    num_rows: int
    num_columns: int
    transposed: bool = False
    interleaved: bool = False
    bias: bool = False
    layout: Layout = "fused"

    @property
    def num_weights(self) -> int:
        """Numbers of one expert (count)."""
        return self.num_rows * self.num_columns

    @property
    def rows_per_part(self) -> int:
        """Output units of one part of one expert (count)."""
        return self.num_rows // len(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """What decides which experts of a bank see a token.

    Args:
        path: Its module; its forward gives the logits.
        weight: Name of the parameter `[expert hidden]`, in the base model, whose
            rows are the experts' directions.
        parameters: Names of what may be trained: that weight and its bias.
        selection_bias: Name of the parameter or buffer that is added to the scores
            for the choice alone; None where there is none.
        expert_scale: Name of the parameter whose numbers multiply each expert's weight
            after the choice; None where there is none.
        logits_output: Which of the module's outputs holds the logits; 0 where it gives
            nothing else.
        num_rows: Rows of the weight; more than the bank has experts where some
            choices stand for an expert that does nothing (count).
        num_groups: Groups of neighbouring experts, of which some are left out before
            the choice; 1 for none (count).
        num_kept_groups: Groups that stay in (count).
    """

    path: str
    weight: str
    parameters: tuple[str, ...]
    selection_bias: str | None
    expert_scale: str | None = None
    logits_output: int
    num_rows: int
    num_groups: int = 1
    num_kept_groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertBank:
    """The routed experts of one layer: where they are and how they are stored.

    Args:
        place: Which bank.
        tensors: Every stored tensor, in the model's order.
        router: What chooses among its experts.
        members: Names of the experts' modules below the bank, in order; empty unless
            the bank is `listed`.
        switchable: The library can run it by another experts backend; otherwise its
            own forward is the only one there is.
        told_choice: The module is called with (hidden states, chosen experts,
            weights).
        shared: Paths of the modules beside it that every token passes through.
    """

    place: BankPlace
    tensors: tuple[ExpertTensor, ...]
    router: Router
    members: tuple[str, ...] = ()
    switchable: bool = True
    told_choice: bool = True
    shared: tuple[str, ...] = ()

    @property
    def num_weights(self) -> int:
        """Numbers of one expert, over all of its tensors (count)."""
        return sum(tensor.num_weights for tensor in self.tensors)

    @property
    def experts(self) -> tuple[ExpertPlace, ...]:
        """Its experts, in order."""
        return tuple(
            ExpertPlace(path=self.place.path, layer=self.place.layer, expert=expert)
            for expert in range(self.place.num_experts)
        )

    def tensor(self, name: str) -> ExpertTensor:
        """The stored tensor of that name."""
        return next(tensor for tensor in self.tensors if tensor.name == name)

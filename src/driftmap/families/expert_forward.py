"""How does a bank of experts run so that each expert's rows can be handed out?

The forward pass is the bank's own arithmetic on rows sorted by expert. The backward
pass forms the gradient at the hidden states and at the routing weights as usual, and
hands what entered each map (X) and the gradient at its outputs (D) to a function. No
gradient of a parameter is made here: an expert's is `D^T X` over its rows, and of a
bias the sum of D, and whoever takes the rows forms what it needs of them.

Between the passes only the outputs of the first map are kept; the rest is made again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from driftmap.families.grouped_maps import (
    ExpertRows,
    grouped_product,
    sorted_rows,
    summed_by_token,
)

ReceiveRows = Callable[[str, Tensor, Tensor, ExpertRows], None]
"""Takes the bank's name of a map's weight, what entered the map `[row in]`, the
gradient at its outputs `[row out]`, and which rows are of which expert. Called twice a
backward: for the map out of the experts, then for the one into them."""


SeeRows = Callable[[str, Tensor, ExpertRows], None]
"""Takes the bank's name of a map's weight, what enters the map `[row in]`, and which
rows are of which expert. Called twice a forward."""


def is_standard(bank: nn.Module) -> bool:
    """Whether a bank says enough of itself to be run by `run_bank`.

    >>> is_standard(nn.Linear(1, 1))
    False
    """
    flags = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed")
    return all(isinstance(getattr(bank, flag, None), bool) for flag in flags)


def run_bank(
    bank: nn.Module,
    hidden: Float[Tensor, "token width"],
    chosen: Int[Tensor, "token slot"],
    weights: Float[Tensor, "token slot"],
    call: "BankCall",
) -> Float[Tensor, "token width"]:
    """Run a bank of experts.

    Args:
        bank: A bank that `is_standard`. Its parameters get no gradient.
        hidden: What the bank was given.
        chosen: Experts of each token.
        weights: What each chosen expert's answer is multiplied by.
        call: Which tokens have rows, and who takes them.

    Returns:
        One vector per token, 0 where a token has no rows, in the dtype of `hidden`.
    """
    rows = sorted_rows(chosen, cast(int, bank.num_experts), call.kept)
    maps = _Maps(bank, rows)
    return _Bank.apply(hidden, weights, call.anchor, maps, call)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BankCall:
    """One execution of a bank.

    Args:
        receive: Takes rows during the backward; None for no one.
        anchor: A leaf without axes that requires a gradient. It makes the backward run
            where nothing below the bank requires one; None where that is not wanted.
        kept: False on tokens that get no rows, such as padding; all by default.
        see: Takes rows during the forward; None for no one.
    """

    receive: ReceiveRows | None = None
    anchor: Tensor | None = None
    kept: Tensor | None = None
    see: SeeRows | None = None


class _Bank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        hidden: Tensor,
        weights: Tensor,
        anchor: Tensor | None,
        maps: "_Maps",
        call: "BankCall",
    ) -> Tensor:
        rows, see = maps.rows, call.see or _no_one_sees
        given = hidden[rows.token]
        see(maps.into_name, given, rows)
        entered = maps.into(given)
        del given
        active = maps.activate(entered)
        see("down_proj", active, rows)
        answers = maps.out(active)
        del active
        if maps.normed:
            answers = maps.norm(answers)
        ctx.save_for_backward(hidden, weights, entered)
        ctx.maps, ctx.receive = maps, call.receive
        return summed_by_token(answers, rows, weights).to(hidden.dtype)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor | None, ...]:
        hidden, weights, entered = ctx.saved_tensors
        maps: _Maps = ctx.maps
        rows = maps.rows
        receive: ReceiveRows = ctx.receive or _no_one
        with torch.enable_grad():
            leaf = entered.detach().requires_grad_()
            active = maps.activate(leaf)
        share = weights[rows.token, rows.slot, None]
        at_active, at_share = _back_through_out(
            maps, active.detach(), gradients[0][rows.token], share, receive
        )
        (at_entered,) = torch.autograd.grad(active, leaf, at_active)
        del active, leaf, at_active
        at_entered = at_entered.contiguous()
        receive(maps.into_name, hidden[rows.token], at_entered, rows)
        at_hidden = at_weights = None
        if ctx.needs_input_grad[0]:
            sent = maps.back_into(at_entered)
            at_hidden = summed_by_token(sent, rows).to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            at_weights = torch.zeros_like(weights)
            at_weights[rows.token, rows.slot] = at_share.to(weights.dtype)
        return at_hidden, at_weights, None, None, None


def _back_through_out(
    maps: "_Maps",
    active: Float[Tensor, "row neuron"],
    gradient: Float[Tensor, "row width"],
    share: Float[Tensor, "row 1"],
    receive: ReceiveRows,
) -> tuple[Float[Tensor, "row neuron"], Float[Tensor, " row"]]:
    """Gradients at what the last map is given and at the routing weights.

    A routing weight's is `g . y` with y the expert's answer W a + b, which is
    `(W^T g) . a + g . b`: what goes on downwards is used, and y is not made again.
    """
    if maps.normed:
        with torch.enable_grad():
            leaf = maps.out(active).requires_grad_()
            normed = maps.norm(leaf)
        at_share = (normed.detach() * gradient).sum(dim=1)
        weighted = (gradient * share).to(normed.dtype)
        (at_answers,) = torch.autograd.grad(normed, leaf, weighted)
        at_answers = at_answers.contiguous()
        receive("down_proj", active, at_answers, maps.rows)
        return maps.back_out(at_answers), at_share
    at_active = maps.back_out(gradient)
    at_share = (at_active * active).sum(dim=1)
    if maps.biased:
        at_share = at_share + (maps.bias("down_proj") * gradient).sum(dim=1)
    receive("down_proj", active, gradient.mul_(share), maps.rows)
    return at_active.mul_(share), at_share


class _Maps:
    """The two maps of every expert of a bank, on its rows.

    The flags are those of transformers' decorator (`integrations/moe.py`).
    """

    def __init__(self, bank: nn.Module, rows: ExpertRows) -> None:
        self._bank = bank
        self.rows = rows
        self.biased = bool(bank.has_bias)
        self.normed = bool(bank.has_post_expert_norm)
        self._transposed = bool(bank.is_transposed)
        self.into_name = "gate_up_proj" if bank.has_gate else "up_proj"
        activate = bank._apply_gate if bank.has_gate else bank.act_fn
        self.activate = cast(Callable[[Tensor], Tensor], activate)

    def into(self, rows: Tensor) -> Tensor:
        return self._forward(self.into_name, rows)

    def out(self, rows: Tensor) -> Tensor:
        return self._forward("down_proj", rows)

    def back_into(self, gradient: Tensor) -> Tensor:
        return self._product(self.into_name, gradient, turned=self._transposed)

    def back_out(self, gradient: Tensor) -> Tensor:
        return self._product("down_proj", gradient, turned=self._transposed)

    def norm(self, answers: Tensor) -> Tensor:
        return cast(nn.Module, self._bank.post_expert_norm)(answers)

    def bias(self, name: str) -> Tensor:
        """Each row's own bias."""
        return getattr(self._bank, f"{name}_bias").detach()[self.rows.expert]

    def _forward(self, name: str, rows: Tensor) -> Tensor:
        product = self._product(name, rows, turned=not self._transposed)
        return product.add_(self.bias(name)) if self.biased else product

    def _product(self, name: str, rows: Tensor, *, turned: bool) -> Tensor:
        matrices = getattr(self._bank, name).detach()
        return grouped_product(rows, matrices, self.rows, turned=turned)


def _no_one_sees(_name: str, _inputs: Tensor, _rows: ExpertRows) -> None:
    """Sees rows where no one wants to."""


def _no_one(_name: str, _inputs: Tensor, _gradient: Tensor, _rows: ExpertRows) -> None:
    """Takes rows where no one wants them."""

"""What is a bank told about its tokens, and how is it told otherwise for a while?

Most banks are called with hidden states, chosen experts and weights. Whoever watches
sees all three before the bank runs, and may put other choices and weights in place.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from driftmap.core.errors import FamilyError
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.modules import base_model, base_module

_NUM_ARGUMENTS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Told:
    """What one execution of a bank is told.

    Args:
        chosen: Experts of each token, padding included, sample after sample; a number
            beyond the last expert stands for one that does nothing.
        weights: What each chosen expert's answer is multiplied by.
    """

    chosen: Int[Tensor, "token slot"]
    weights: Float[Tensor, "token slot"]


TellOtherwise = Callable[[ExpertBank, Told], Told | None]
"""Takes what a bank is told; returns what it shall be told instead, or None."""


@contextmanager
def telling(
    model: nn.Module, banks: Iterable[ExpertBank], tell: TellOtherwise
) -> Iterator[None]:
    """Come between routers and banks for as long as the block runs.

    Args:
        model: With or without adapters.
        banks: Which banks.
        tell: Called before every execution of each of them.

    Raises:
        FamilyError: A bank is not told which experts its tokens get.
    """
    base = base_model(model)
    with ExitStack() as hooks:
        for bank in banks:
            if not bank.told_choice:
                raise FamilyError(
                    f"{bank.place.path}: {type(base).__name__} does not tell its "
                    "experts which tokens they get, so that no other choice can be put "
                    "in place; take experts away instead (ablate)"
                )
            module = base_module(base.get_submodule(bank.place.path))
            handle = module.register_forward_pre_hook(
                partial(_enter, bank, tell), with_kwargs=True
            )
            hooks.callback(handle.remove)
        yield


def _enter(
    bank: ExpertBank,
    tell: TellOtherwise,
    _module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    names = list(kwargs)[: _NUM_ARGUMENTS - len(args)]
    given = [*args, *(kwargs[name] for name in names)]
    told = Told(chosen=given[1], weights=given[2])
    other = tell(bank, told)
    if other is None:
        return None
    given[1:_NUM_ARGUMENTS] = other.chosen, other.weights
    named = dict(zip(names, given[len(args) :], strict=True))
    return tuple(given[: len(args)]), {**kwargs, **named}

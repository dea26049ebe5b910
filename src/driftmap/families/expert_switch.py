"""How do a model's banks of experts run another way, and only for a while?

Every bank of transformers looks up by name how to run. A way of our own stands under a
name there for as long as it is used; a bank that never asks is found out.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from driftmap.core.errors import ModelError
from driftmap.families.expert_forward import BankCall, is_standard, run_bank
from driftmap.families.expert_spec import ExpertBank
from driftmap.families.expert_tensors import bank_module
from driftmap.families.modules import base_model, base_module

IMPLEMENTATION = "driftmap_rows"

CallOf = Callable[[], BankCall]
"""Says of one execution of a bank which tokens have rows, and who takes them."""


@runtime_checkable
class _Switches(Protocol):
    """What transformers' models offer."""

    def get_experts_implementation(self) -> dict[str, str | None]: ...

    def set_experts_implementation(
        self, experts_implementation: str | dict[str, str | None]
    ) -> None: ...


_running: dict[nn.Module, CallOf] = {}


def runs_on_rows(model: nn.Module, bank: ExpertBank) -> bool:
    """Whether `running_experts` can run a bank.

    Args:
        model: The model, with or without adapters.
        bank: One of its banks.
    """
    module = bank_module(model, bank)
    return bank.switchable and bank.told_choice and is_standard(module)


@contextmanager
def running_experts(model: nn.Module, calls: Mapping[str, CallOf]) -> Iterator[None]:
    """Run a model's banks on sorted rows for as long as the block runs.

    Banks that are not named run on sorted rows too, and no one takes them. Parameters
    of the named banks require no gradient meanwhile.

    Args:
        model: The model, with or without adapters.
        calls: By path of a bank, what to do in each of its executions.

    Raises:
        ModelError: A bank cannot be run on sorted rows, or the model has no choice of
            how to run them.
    """
    base = base_model(model)
    banks = {path: _standard(base, path) for path in calls}
    if not isinstance(base, _Switches):
        raise ModelError(
            f"{type(base).__name__}: the model offers no choice of how its experts "
            "run; load it with transformers 5"
        )
    before = base.get_experts_implementation()
    with ExitStack() as stack:
        stack.callback(base.set_experts_implementation, before)
        for path, bank in banks.items():
            stack.enter_context(_frozen(bank))
            stack.callback(_running.pop, bank)
            _running[bank] = calls[path]
        base.set_experts_implementation(IMPLEMENTATION)
        for path, bank in banks.items():
            _require_switched(path, bank)
        yield


def _run(
    bank: nn.Module, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
) -> Tensor:
    call_of = _running.get(bank, BankCall)
    return run_bank(bank, hidden_states, top_k_index, top_k_weights, call_of())


ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, _run)


def _standard(model: nn.Module, path: str) -> nn.Module:
    bank = base_module(model.get_submodule(path))
    if not is_standard(bank):
        raise ModelError(
            f"{path}: {type(bank).__name__} does not let others run its experts; "
            "take gradients by hooks"
        )
    if getattr(bank, "_is_expert_parallel", False):
        raise ModelError(
            f"{path}: its experts are spread over several processes; load the model "
            "without expert parallelism"
        )
    return bank


def _require_switched(path: str, bank: nn.Module) -> None:
    settings = getattr(bank, "config", None)
    found = getattr(settings, "_experts_implementation", None)
    if found != IMPLEMENTATION:
        raise ModelError(
            f"{path}: the model keeps running these experts as {found!r} after it was "
            "told otherwise; take gradients by hooks"
        )


@contextmanager
def _frozen(bank: nn.Module) -> Iterator[None]:
    flags = [(parameter, parameter.requires_grad) for parameter in bank.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)

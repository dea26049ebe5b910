"""What do banks show that no one else can run?

Their parameters require a gradient for as long as the pass runs. As soon as one has
its whole gradient this is shown and let go of, so that no two are held at a time. A
sample's own gradient needs a pass of its own: samples go through one by one, without
padding.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from driftmap.capture.losses import all_logits, sample_losses
from driftmap.core.errors import MeasureError
from driftmap.core.progress import Progress
from driftmap.families.bank_calls import Told, telling
from driftmap.families.expert_spec import ExpertBank, ExpertTensor
from driftmap.families.expert_tensors import bank_parameter
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch, alone
from driftmap.signals.experts import ExpertGradients, TakeExperts


def show_whole_experts(
    model: nn.Module,
    banks: Sequence[ExpertBank],
    batches: Sequence[Batch],
    take: TakeExperts,
    bar: Progress,
) -> None:
    """Show every sample's whole gradient of every tensor of some banks.

    Args:
        model: A causal language model in eval mode, all of it frozen.
        banks: Which banks, run by the model's own way.
        batches: Samples that passed `require_counted`.
        take: Takes one signal per tensor and sample, during the backward.
        bar: Told of every batch that is done.

    Raises:
        MeasureError: A number is not finite, or no sample's gradient came back to a
            bank.
    """
    shown = _Whole(model, banks, take)
    with shown.attached():
        for batch in batches:
            for row in range(len(batch.sample_ids)):
                _show(model, banks, shown, alone(batch, row))
            bar.advance()
    shown.require_all()


def broken_sample(
    model: nn.Module, banks: Sequence[str], sample: Batch
) -> MeasureError:
    """Say at which bank a sample without a finite loss first goes wrong.

    Args:
        model: A causal language model in eval mode.
        banks: Paths of the banks, in model order.
        sample: The sample alone.
    """
    first: list[str] = []

    def look(path: str, _module: object, _inputs: object, output: object) -> None:
        values = output[0] if isinstance(output, tuple) else output
        assert isinstance(values, Tensor), path
        if not first and not bool(torch.isfinite(values).all()):
            first.append(path)

    with ExitStack() as stack, torch.no_grad():
        for path in banks:
            module = base_model(model).get_submodule(path)
            handle = module.register_forward_hook(partial(look, path))
            stack.callback(handle.remove)
        all_logits(model, sample)
    return MeasureError(
        f"{first[0] if first else 'the logits'}: the output for sample "
        f"{sample.sample_ids[0]} is not finite; are the weights damaged, or is the "
        "dtype too narrow?"
    )


def _show(
    model: nn.Module, banks: Sequence[ExpertBank], shown: "_Whole", sample: Batch
) -> None:
    shown.begin(sample)
    with torch.enable_grad():
        losses = sample_losses(model, sample)
        if not bool(torch.isfinite(losses).all()):
            raise broken_sample(model, [bank.place.path for bank in banks], sample)
        if losses.requires_grad:  # if not, no bank took part
            losses.sum().backward()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Owned:
    """What a parameter holds: all experts of a bank, or one of them."""

    bank: ExpertBank
    tensor: ExpertTensor
    experts: tuple[int, ...]
    parameter: nn.Parameter


class _Whole:
    """Turns gradients of parameters into signals."""

    def __init__(
        self, model: nn.Module, banks: Sequence[ExpertBank], take: TakeExperts
    ) -> None:
        self._model = model
        self._banks = tuple(banks)
        self._take = take
        self._sample: Batch | None = None
        self._routed: dict[str, Counter[int]] = {}
        self._seen: set[str] = set()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the parameters require a gradient for as long as the block runs."""
        owned = [one for bank in self._banks for one in _owned(self._model, bank)]
        kept = [one.parameter.grad for one in owned]
        told = [bank for bank in self._banks if bank.told_choice]
        with ExitStack() as stack:
            stack.enter_context(telling(self._model, told, self._count))
            for one, gradient in zip(owned, kept, strict=True):
                stack.callback(_put_back, one.parameter, gradient)
                one.parameter.grad = None
                one.parameter.requires_grad_(True)
                handle = one.parameter.register_post_accumulate_grad_hook(
                    partial(self._receive, one)
                )
                stack.callback(handle.remove)
            yield

    def begin(self, sample: Batch) -> None:
        """Make ready for a sample."""
        self._sample = sample
        self._routed = {}

    def require_all(self) -> None:
        """Require that each bank had a gradient from some sample.

        Raises:
            MeasureError: One had none.
        """
        for bank in self._banks:
            if bank.place.path not in self._seen:
                raise MeasureError(
                    f"{bank.place.path}: no gradient came back to this bank; does the "
                    "model detach its hidden states or never send it a token?"
                )

    def _count(self, bank: ExpertBank, told: Told) -> None:
        routed = self._routed.setdefault(bank.place.path, Counter())
        routed.update(told.chosen.flatten().tolist())

    def _receive(self, one: _Owned, parameter: Tensor) -> None:
        sample, gradient = self._sample, parameter.grad
        assert sample is not None, "no sample is running"
        assert gradient is not None, "the hook comes after the gradient"
        place = one.bank.place
        if not bool(torch.isfinite(gradient).all()):
            raise MeasureError(
                f"{place.path}: the gradient of sample {sample.sample_ids[0]} is not "
                "finite; are the weights damaged, or is the dtype too narrow?"
            )
        self._seen.add(place.path)
        routed = self._routed.get(place.path)
        self._take(
            ExpertGradients(
                bank=place,
                tensor=one.tensor.name,
                sample_id=sample.sample_ids[0],
                sample_index=sample.sample_index[0],
                num_counted=int(sample.counted.sum()),
                experts=one.experts,
                gradients=_by_expert(one, gradient),
                num_routed=None if routed is None else _numbers(routed, one.experts),
            )
        )
        parameter.grad = None


def _owned(model: nn.Module, bank: ExpertBank) -> Iterator[_Owned]:
    every = tuple(range(bank.place.num_experts))
    for tensor in bank.tensors:
        for experts in [(e,) for e in every] if tensor.layout == "listed" else [every]:
            yield _Owned(
                bank=bank,
                tensor=tensor,
                experts=experts,
                parameter=bank_parameter(model, bank, tensor, experts[0]),
            )


def _by_expert(one: _Owned, gradient: Tensor) -> Tensor:
    """Put experts on the first axis; a tensor may hold more rows than experts."""
    if one.tensor.layout == "listed":
        return gradient[None]
    if one.tensor.layout == "packed":
        return gradient.reshape(len(one.experts), -1, gradient.shape[-1])
    return gradient[: len(one.experts)]


def _numbers(routed: Counter[int], experts: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(routed[expert] for expert in experts)


def _put_back(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    parameter.requires_grad_(False)
    parameter.grad = gradient

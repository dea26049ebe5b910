"""How does one pass show each sample's own gradient of every parameter?

All parameters are frozen and the graph begins at what the embedding gives, so that
gradients of activations flow and none of a parameter is made. What each parameter's
users show goes out as signals, batch by batch, tensor by tensor, from the head down.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.capture.cleaning import require_finite
from driftmap.capture.gradient_taps import GradientTaps
from driftmap.capture.hooks import (
    frozen,
    leaf_input,
    one_attention_kernel,
)
from driftmap.capture.labelled import (
    LabelledTokens,
    gathered,
    labelled_losses,
    labelled_tokens,
    model_head,
)
from driftmap.capture.losses import all_logits, require_counted
from driftmap.capture.stream import require_no_dropout
from driftmap.capture.watched_maps import watching_maps
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress, say
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model, base_module
from driftmap.families.tensors import TensorRule, slice_shape
from driftmap.signals.batch import Batch, alone
from driftmap.signals.gradients import TakeGradients, TensorSignal, WholeGradients


def show_gradients(
    model: nn.Module,
    rules: Sequence[TensorRule],
    batches: Sequence[Batch],
    take: TakeGradients,
) -> None:
    """Show every sample's gradient of every tensor, one forward and backward a batch.

    A sample's loss is the mean cross-entropy of its counted tokens, in nats; that of a
    batch is the sum over its samples, so no gradient depends on which samples share
    one. Parameters of kind `other` cost one more pass per sample.

    Args:
        model: A causal language model without dropout; left as it was found.
        rules: What to show (`find_tensors`).
        batches: All samples.
        take: Takes one signal per place and batch, during the backward.

    Raises:
        MeasureError: Dropout is on, a sample has no loss, a number is not finite, or
            a parameter is never used.
    """
    if not (rules and batches):
        raise MeasureError("there is nothing to do: give tensors and batches")
    require_no_dropout(model)
    require_counted(batches)
    with frozen(model), one_attention_kernel(model):
        show_whole(model, rules, batches, take)


def show_whole(
    model: nn.Module,
    rules: Sequence[TensorRule],
    batches: Sequence[Batch],
    take: TakeGradients,
) -> None:
    """Do what `show_gradients` does, with a model and batches that are made ready."""
    head = model_head(model)
    heard = [rule for rule in rules if rule.kind != "other"]
    others = [rule for rule in rules if rule.kind == "other"]
    if others:
        say_others(rules, others)
    rounds = len(batches) * (bool(heard) + bool(others))
    with progress("batches", rounds) as bar:
        if heard:
            taps = GradientTaps(model, heard, take, head=head)
            with taps.attached(), _starting(model, heard):
                for batch in batches:
                    _show(model, taps, head, batch)
                    bar.advance()
        for batch in batches if others else ():
            show_others(model, others, head, batch, take)
            bar.advance()


def _show(model: nn.Module, taps: GradientTaps, head: nn.Module, batch: Batch) -> None:
    labelled = labelled_tokens(batch)
    taps.begin(batch, labelled.used)
    with torch.enable_grad():
        losses = taps.counting(partial(losses_at, model, head, labelled, batch))
        finite = torch.isfinite(losses).tolist()
        if not all(finite):
            raise _broken(model, taps, batch, finite.index(False))
        if losses.requires_grad:  # if not, `finish` says where the graph ends
            losses.sum().backward()
    taps.finish()


@contextmanager
def _starting(model: nn.Module, rules: Sequence[TensorRule]) -> Iterator[None]:
    """Cut the graph below the lowest block, where nothing outside of blocks matters."""
    layers = [place.layer for rule in rules for place in rule.places]
    within = [layer for layer in layers if layer is not None]
    if len(within) < len(layers):
        yield
        return
    block = base_model(model).get_submodule(find_layout(model).blocks[min(within)])
    with leaf_input(block):
        yield


def losses_at(
    model: nn.Module, head: nn.Module, labelled: LabelledTokens, batch: Batch
) -> Float[Tensor, " sample"]:
    """Run the model and give every sample's own loss, in nats."""
    with gathered(head, labelled):
        logits = all_logits(model, batch)
    return labelled_losses(logits, labelled)


def say_others(rules: Sequence[TensorRule], others: Sequence[TensorRule]) -> None:
    """Tell a person which share of the weights is slow to show."""
    share = sum(map(_num_weights, others)) / sum(map(_num_weights, rules))
    say(
        f"{others[0].name} and {len(others) - 1} more tensors ({share:.2%} of the "
        "weights) are of no known kind: one more pass per sample"
        if len(others) > 1
        else f"{others[0].name} ({share:.2%} of the weights) is of no known kind: one "
        "more pass per sample"
    )


def show_others(
    model: nn.Module,
    rules: Sequence[TensorRule],
    head: nn.Module,
    batch: Batch,
    take: TakeGradients,
) -> None:
    """Make gradients by autograd on the parameters themselves, sample by sample."""
    parameters = [_parameter(model, rule) for rule in rules]
    shown: list[list[Tensor]] = [[] for _ in rules]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for row in range(len(batch.sample_ids)):
            one = alone(batch, row)
            with torch.enable_grad():
                losses = losses_at(model, head, labelled_tokens(one), one)
                gradients = torch.autograd.grad(
                    losses.sum(), parameters, allow_unused=True
                )
            for rule, found, gradient in zip(rules, shown, gradients, strict=True):
                if gradient is None:
                    raise MeasureError(
                        f"{rule.name}: the model never used this parameter; "
                        "leave it out"
                    )
                found.append(gradient.T if rule.transposed else gradient)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
    for rule, found in zip(rules, shown, strict=True):
        _emit_whole(rule, torch.stack(found), batch, take)


def _emit_whole(
    rule: TensorRule, gradients: Tensor, batch: Batch, take: TakeGradients
) -> None:
    require_finite(gradients, batch.sample_ids, rule.name, "gradient")
    for one in rule.slices:
        cut = gradients if one.rows is None else gradients[:, one.rows.rows()]
        values = cut.flatten(1)
        nothing = values.new_zeros(len(values), dtype=torch.float64)
        take(
            TensorSignal(
                tensor=one.place,
                shape=slice_shape(rule, one),
                sample_ids=batch.sample_ids,
                sample_index=batch.sample_index,
                pieces=(WholeGradients(values=values, summed_squares=nothing),),
            )
        )


def _num_weights(rule: TensorRule) -> int:
    return sum(place.num_weights or 0 for place in rule.places)


def _parameter(model: nn.Module, rule: TensorRule) -> nn.Parameter:
    module = base_module(base_model(model).get_submodule(rule.uses[0].path))
    return module.get_parameter(rule.name.rpartition(".")[2])


def _broken(
    model: nn.Module, taps: GradientTaps, batch: Batch, row: int
) -> MeasureError:
    """Say which sample has no finite loss, and where it first goes wrong."""
    first: list[str] = []

    def look(index: int, inputs: Tensor, output: Tensor) -> None:
        if not first and not bool(torch.isfinite(output).all()):
            first.append(taps.name(index))

    with watching_maps(taps.maps, look), torch.no_grad():
        all_logits(model, alone(batch, row))
    where = first[0] if first else "the logits"
    return MeasureError(
        f"{where}: the output for sample {batch.sample_ids[row]} is not finite; are "
        "the weights damaged, or is the dtype too narrow?"
    )

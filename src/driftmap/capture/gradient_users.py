"""Which modules use the parameters of a model, and how are they listened to?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model, base_module, is_linear_map
from driftmap.families.norms import XHat, normalizer
from driftmap.families.tensors import Kind, TensorRule, TensorUse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class User:
    """A module that uses parameters.

    Args:
        path: Its own path in the base model.
        module: The module, below any adapter.
        kind: What it does with its weight.
        weight: Number of the rule of its weight; None where no one asked for it.
        bias: Number of the rule of its bias, likewise.
        xhat: Of a norm whose weight is asked for: what the weight is multiplied with.
        num_axes: Last axes of its output that belong to the weight (count).
    """

    path: str
    module: nn.Module
    kind: Kind
    weight: int | None
    bias: int | None
    xhat: XHat | None
    num_axes: int


def users_of(model: nn.Module, rules: Sequence[TensorRule]) -> Iterator[User]:
    """Group the uses of all rules by module; those of kind `other` are left out."""
    base = base_model(model)
    weights: dict[str, int] = {}
    biases: dict[str, int] = {}
    uses: dict[str, TensorUse] = {}
    for number, rule in enumerate(rules):
        for use in rule.uses if rule.kind != "other" else ():
            (biases if use.kind == "bias" else weights)[use.path] = number
            if use.kind != "bias" or use.path not in uses:
                uses[use.path] = use
    for path, use in uses.items():
        module = base_module(base.get_submodule(path))
        weight, bias = weights.get(path), biases.get(path)
        kind: Kind = "linear" if is_linear_map(module) else "norm"
        if weight is not None:
            kind = use.kind
        shared = weight if weight is not None else bias
        assert shared is not None
        normed = kind == "norm" and weight is not None
        yield User(
            path=path,
            module=module,
            kind=kind,
            weight=weight,
            bias=bias,
            xhat=normalizer(module, use.neutral) if normed else None,
            num_axes=len(rules[shared].shape) if kind == "norm" else 1,
        )


def embedding_user(model: nn.Module) -> User:
    """The token embedding, where the graph begins though no one asked for it."""
    path = find_layout(model).embedding
    module = base_module(base_model(model).get_submodule(path))
    return User(
        path=path,
        module=module,
        kind="table",
        weight=None,
        bias=None,
        xhat=None,
        num_axes=1,
    )

"""Which modules use the parameters of a model, and how are they listened to?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from driftmap.core.places import Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_parameter
from driftmap.families.modules import base_model, base_module, is_linear_map
from driftmap.families.norms import XHat, normalizer
from driftmap.families.tensors import Kind, TensorRule, TensorUse

_ELSEWHERE = ("other", "expert", "expert_bias")
"""Kinds of rules whose gradients come about without a user."""


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
        own_weight: Of a router: the parameter that it multiplies by while it runs;
            None of modules that are the map themselves.
    """

    path: str
    module: nn.Module
    kind: Kind
    weight: int | None
    bias: int | None
    xhat: XHat | None
    num_axes: int
    own_weight: nn.Parameter | None = None


def users_of(model: nn.Module, rules: Sequence[TensorRule]) -> Iterator[User]:
    """Group the uses of all rules by module; banks and kind `other` are left out."""
    base = base_model(model)
    weights: dict[str, int] = {}
    biases: dict[str, int] = {}
    uses: dict[str, TensorUse] = {}
    routers = {s.path: s for s in find_layout(model).sites if _is_router(s)}
    for number, rule in enumerate(rules):
        for use in rule.uses if rule.kind not in _ELSEWHERE else ():
            (biases if use.kind == "bias" else weights)[use.path] = number
            if use.kind != "bias" or use.path not in uses:
                uses[use.path] = use
    for path, use in uses.items():
        module = base_module(base.get_submodule(path))
        weight, bias = weights.get(path), biases.get(path)
        is_map = is_linear_map(module) or path in routers
        kind: Kind = "linear" if is_map else "norm"
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
            own_weight=(
                site_parameter(module, routers[path]) if path in routers else None
            ),
        )


def _is_router(site: Site) -> bool:
    return site.tensor is not None and site.expert is None


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

"""Which modules do two models have in common, and which of their weights differ?"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.core.places import RowBlocks, TensorPlace
from driftmap.families.masked import MaskedLora
from driftmap.families.modules import base_model, base_module, join, own_modules
from driftmap.families.tensors import TensorRule, find_tensors

_SAVED = "modules_to_save"


class Lora(Protocol):
    """What PEFT's LoRA wrappers offer."""

    scaling: dict[str, float]
    lora_A: Mapping[str, nn.Linear]  # noqa: N815
    lora_B: Mapping[str, nn.Linear]  # noqa: N815
    lora_embedding_A: Mapping[str, Tensor]  # noqa: N815
    lora_embedding_B: Mapping[str, Tensor]  # noqa: N815
    lora_variant: Mapping[str, object]


class _Merging(Protocol):
    def merge(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A parameter of a module, or the rows of it that are of one part.

    Args:
        name: What the module calls the parameter.
        place: Where it is.
        rows: Which rows of the canonical `[out in]`; None for all.
        expert: Of a bank: whose rows.
        transposed: The model stores `[in out]`.
    """

    name: str
    place: TensorPlace
    rows: RowBlocks | None = None
    expert: int | None = None
    transposed: bool = False

    def of(self, parameter: Tensor) -> Tensor:
        """These rows as a view where one is possible, else a copy of them.

        Args:
            parameter: Stored as the model stores it.
        """
        found = parameter if self.expert is None else parameter[self.expert]
        found = found.T if self.transposed and found.ndim > 1 else found
        return found if self.rows is None else found[self.rows.rows()]

    def fill(self, like: Tensor, value: float) -> None:
        """Write one number into these rows of a tensor stored as the parameter is."""
        found = like if self.expert is None else like[self.expert]
        found = found.T if self.transposed and found.ndim > 1 else found
        found[slice(None) if self.rows is None else self.rows.rows()] = value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spot:
    """One module of both models that holds parameters of its own.

    Args:
        path: Its path in the base model.
        base: The base's module.
        tuned: The tuned model's, in its adapter's wrapper if it has one.
        rows: All of its parameters.
        changed: Those that differ.
    """

    path: str
    base: nn.Module
    tuned: nn.Module
    rows: tuple[Rows, ...]
    changed: tuple[Rows, ...]

    @property
    def is_wrapped(self) -> bool:
        """An adapter sits on the tuned model's module."""
        return base_module(self.tuned) is not self.tuned


def find_spots(base: nn.Module, tuned: nn.Module) -> tuple[Spot, ...]:
    """Find every module with parameters in both models, in model order.

    Args:
        base: Without adapters.
        tuned: Of the same architecture, with or without adapters.

    Raises:
        FamilyError: The layout of the model is not known.
        ModelError: The tuned model lacks a module or a parameter, or has another shape.
    """
    held = _rows_by_module(base, find_tensors(base))
    found: list[Spot] = []
    for path, rows in held.items():
        ours, theirs = base.get_submodule(path), _module_at(base_model(tuned), path)
        _require_alike(path, ours, base_module(theirs))
        spot = Spot(path=path, base=ours, tuned=theirs, rows=rows, changed=())
        found.append(_with_changes(spot))
    return tuple(found)


def is_plain_lora(wrapper: nn.Module) -> bool:
    """Whether what an adapter adds grows as its scale does, and is to the weight.

    Args:
        wrapper: PEFT's, of one module.
    """
    variants = cast(Mapping[str, object], getattr(wrapper, "lora_variant", {}))
    is_lora = hasattr(wrapper, "lora_B") and not hasattr(wrapper, "parameter_name")
    return is_lora and all(isinstance(one, MaskedLora) for one in variants.values())


def merged(wrapper: nn.Module) -> nn.Module:
    """What adapters make of a module, of which some do not only add.

    Args:
        wrapper: PEFT's.

    Raises:
        ModelError: One of them cannot be taken into the weight.
    """
    made = copy.deepcopy(wrapper)
    inner, at = base_module(made), made
    while at is not inner:
        if not hasattr(at, "merge"):
            raise ModelError(
                f"an adapter of kind {type(at).__name__} cannot be taken into its "
                "weight; merge it and give the merged model"
            )
        cast(_Merging, at).merge()
        at = cast(nn.Module, at.base_layer)
    return inner


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of a module and of none below it, by what it calls them."""
    return dict(module.named_parameters(recurse=False))


def _rows_by_module(
    model: nn.Module, rules: Sequence[TensorRule]
) -> dict[str, tuple[Rows, ...]]:
    """Parameters of each module; a tied one is at each module that uses it."""
    known: dict[int, TensorRule] = {}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for rule in rules:
        known[id(parameters[rule.name])] = rule
    found: dict[str, tuple[Rows, ...]] = {}
    for path, module in own_modules(model):
        rows: list[Rows] = []
        for name, parameter in module.named_parameters(recurse=False):
            rows += _rows_of(join(path, name), name, known.get(id(parameter)))
        if rows:
            found[path] = _placed(rows)
    return found


def _rows_of(whole: str, name: str, rule: TensorRule | None) -> Iterator[Rows]:
    if rule is None:  # no gradient reaches it, as a router's own correction
        yield Rows(name=name, place=TensorPlace(name=whole, part="bias"))
        return
    tied_head = rule.name != whole and rule.tied
    for one in rule.slices:
        place = one.place
        if tied_head:
            place = TensorPlace(name=whole, part="head", num_weights=place.num_weights)
        yield Rows(
            name=name,
            place=place,
            rows=one.rows,
            expert=one.expert,
            transposed=rule.transposed,
        )


def _placed(rows: Sequence[Rows]) -> tuple[Rows, ...]:
    """With the layer and half of their module where nothing else tells it."""
    like = rows[0].place
    return tuple(
        Rows(
            name=one.name,
            place=TensorPlace(
                name=one.place.name, part="bias", layer=like.layer, half=like.half
            ),
        )
        if one.place.num_weights is None and one.place.layer is None
        else one
        for one in rows
    )


def _module_at(root: nn.Module, path: str) -> nn.Module:
    """A module of the tuned model, in its wrapper; of a saved copy, that copy."""
    module = root
    for name in path.split("."):
        below = _saved(module)._modules.get(name)
        if below is None:
            raise ModelError(
                f"the tuned model has no module {path}, so it is not of the base's "
                "architecture; compare it with the model it was made from"
            )
        module = below
    return _saved(module)


def _saved(module: nn.Module) -> nn.Module:
    """The copy that PEFT trained and saved whole, where this wraps one."""
    copies = module._modules.get(_SAVED)
    if not isinstance(copies, nn.ModuleDict):
        return module
    active = cast(Sequence[str], cast(object, module.active_adapters))
    return copies[active[0]]


def _require_alike(path: str, base: nn.Module, tuned: nn.Module) -> None:
    theirs = dict(tuned.named_parameters(recurse=False))
    for name, parameter in base.named_parameters(recurse=False):
        other = theirs.get(name)
        if other is None or other.shape != parameter.shape:
            there = "none" if other is None else str(list(other.shape))
            raise ModelError(
                f"{join(path, name)}: the base's is {list(parameter.shape)}, the tuned "
                f"model's {there}; compare it with the model it was made from"
            )


def _with_changes(spot: Spot) -> Spot:
    is_plain = spot.is_wrapped and is_plain_lora(spot.tuned)
    is_odd = spot.is_wrapped and not is_plain
    theirs = own_parameters(merged(spot.tuned) if is_odd else base_module(spot.tuned))
    ours = own_parameters(spot.base)
    changed = [
        rows
        for rows in spot.rows
        if _differ(ours[rows.name], theirs[rows.name], rows)
        or (is_plain and rows.name == "weight" and _adds(spot.tuned, rows))
    ]
    return replace(spot, changed=tuple(changed))


def _differ(base: Tensor, tuned: Tensor, rows: Rows) -> bool:
    if base.data_ptr() == tuned.data_ptr():
        return False
    return not torch.equal(rows.of(base), rows.of(tuned).to(base.device))


def _adds(wrapper: nn.Module, rows: Rows) -> bool:
    """Whether an adapter adds anything to these rows."""
    layer = cast(Lora, wrapper)
    for name, up in layer.lora_B.items():
        weight = up.weight if rows.rows is None else up.weight[rows.rows.rows()]
        bias = up.bias
        if layer.scaling[name] and (
            bool(weight.any() and layer.lora_A[name].weight.any())
            or (bias is not None and bool(bias.any()))
        ):
            return True
    return any(
        bool(up.any() and layer.lora_embedding_A[name].any())
        for name, up in layer.lora_embedding_B.items()
    )

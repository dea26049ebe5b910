"""Which named parameters does a model have, what does each do, and who uses it?

Every parameter of the base model is one rule: how a sample's gradient of it comes
about (`kind`), which modules use it, and which places its rows belong to. A parameter
that no rule of a kind fits is `other`, so that none is left out unsaid.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import Half, Part, RowBlocks, Site, TensorPlace
from driftmap.families.bank_tensors import BankTensors, bank_places
from driftmap.families.dense import FAMILIES
from driftmap.families.discover import find_layout
from driftmap.families.modules import (
    base_model,
    base_module,
    is_linear_map,
    is_transposed,
    join,
    map_shape,
    own_modules,
)
from driftmap.families.norms import is_norm, neutral_weight
from driftmap.families.spec import Family, ModelLayout
from driftmap.families.tensor_names import place_of_name

Kind = Literal["linear", "table", "norm", "bias", "expert", "expert_bias", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSlice:
    """Rows of a parameter that are of one part.

    Args:
        place: What they are called.
        rows: Which rows of the canonical `[out in]`; None for all.
        expert: Of a bank: which expert's, `rows` being among that one's own.
    """

    place: TensorPlace
    rows: RowBlocks | None = None
    expert: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorUse:
    """A module that holds a parameter, and what it does with it.

    Args:
        path: The module's own path in the base model.
        kind: `linear` y = x W^T, `table` rows are looked up, `norm` and `bias` as
            their names say; `expert` and `expert_bias` the same as `linear` and `bias`
            for every expert of a bank; `other` where that is not known.
        neutral: Of a norm: the weight w0 in `(w - w0) * xhat + b`.
    """

    path: str
    kind: Kind
    neutral: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRule:
    """One named parameter.

    Args:
        name: Its name in the base model, without any adapter wrapper.
        shape: `[out in]` of a matrix, however the model stores it; `[row width]` of a
            table; of one expert of a bank; the parameter's own shape otherwise.
        slices: What its rows are for; one slice of all rows, but for fused matrices
            and for banks.
        uses: Who uses it; more than one where it is tied.
        transposed: The model stores `[in out]`.
    """

    name: str
    shape: tuple[int, ...]
    slices: tuple[TensorSlice, ...]
    uses: tuple[TensorUse, ...]
    transposed: bool = False

    @property
    def kind(self) -> Kind:
        """How its gradient comes about; `other` where any use of it is not known."""
        known = all(use.kind != "other" for use in self.uses)
        return self.uses[0].kind if known else "other"

    @property
    def tied(self) -> bool:
        """Whether several modules share it."""
        return len(self.uses) > 1

    @property
    def places(self) -> tuple[TensorPlace, ...]:
        """The places of its slices."""
        return tuple(one.place for one in self.slices)


def find_tensors(
    model: nn.Module, families: Sequence[Family] = FAMILIES
) -> tuple[TensorRule, ...]:
    """Find every named parameter of a decoder-only language model, in model order.

    Args:
        model: With or without LoRA adapters, whose own parameters are left out.
        families: Rows for model types whose structure does not tell enough.

    Raises:
        FamilyError: The model is no decoder, or a parameter is out of reach.
    """
    base = base_model(model)
    layout = find_layout(model, families)
    mixture = BankTensors(layout)
    found: dict[int, TensorRule] = {}
    seen: set[int] = set()
    for path, module in own_modules(base):
        inner = base_module(module)
        if id(inner) in seen:
            continue
        seen.add(id(inner))
        _refuse_wrapped(path, module, inner)
        for name, parameter in inner.named_parameters(recurse=False):
            if join(path, name) in mixture.selection_biases:
                continue  # no gradient ever reaches it
            use = _use_of(mixture, path, inner, name)
            known = found.get(id(parameter))
            found[id(parameter)] = (
                _rule(layout, inner, join(path, name), parameter, use)
                if known is None
                else _tied(known, _shape(inner, name, parameter), use)
            )
    return tuple(found.values())


def choose_tensors(
    rules: Sequence[TensorRule], wanted: Callable[[TensorPlace], bool]
) -> tuple[TensorRule, ...]:
    """Keep the slices at places that are wanted, and the rules that have any left.

    Args:
        rules: From `find_tensors`.
        wanted: Says of each place whether it is measured.
    """
    kept = (
        replace(rule, slices=tuple(s for s in rule.slices if wanted(s.place)))
        for rule in rules
    )
    return tuple(rule for rule in kept if rule.slices)


def slice_shape(rule: TensorRule, one: TensorSlice) -> tuple[int, ...]:
    """The shape of some rows of a parameter."""
    if one.rows is None:
        return rule.shape
    return (one.rows.length * one.rows.count, *rule.shape[1:])


def _use_of(mixture: BankTensors, path: str, module: nn.Module, name: str) -> TensorUse:
    known = mixture.use(path, name)
    if known is not None:
        return TensorUse(path=known.path, kind=known.kind)
    return _use(path, module, name)


def _use(path: str, module: nn.Module, name: str) -> TensorUse:
    if isinstance(module, nn.Embedding) and name == "weight":
        return TensorUse(path=path, kind="table")
    answers = not type(module).__name__.endswith("Router")  # with what it maps to
    if is_linear_map(module) and answers and name in ("weight", "bias"):
        return TensorUse(path=path, kind="linear" if name == "weight" else "bias")
    if is_norm(module) and name in ("weight", "bias"):
        neutral = neutral_weight(module)
        if neutral is not None:
            kind: Kind = "norm" if name == "weight" else "bias"
            return TensorUse(path=path, kind=kind, neutral=neutral)
    return TensorUse(path=path, kind="other")


def _rule(
    layout: ModelLayout,
    module: nn.Module,
    name: str,
    parameter: nn.Parameter,
    use: TensorUse,
) -> TensorRule:
    if use.kind in ("expert", "expert_bias"):
        return _bank_rule(layout, name, use)
    shape = _shape(module, name.rpartition(".")[2], parameter)
    if use.kind == "other" and not parameter.is_floating_point():
        raise FamilyError(
            f"{name}: kept as {parameter.dtype} in a {type(module).__name__}, so that "
            "it has no gradient; load the model in float32 or bfloat16"
        )
    slices = tuple(_slices(layout, name, shape, use))
    for one in slices:
        assert one.place.num_weights
    return TensorRule(
        name=name,
        shape=shape,
        slices=slices,
        uses=(use,),
        transposed=use.kind == "linear" and is_transposed(module),
    )


def _bank_rule(layout: ModelLayout, name: str, use: TensorUse) -> TensorRule:
    bank = next(bank for bank in layout.banks if bank.place.path == use.path)
    tensor = bank.tensor(name.removeprefix(f"{use.path}."))
    return TensorRule(
        name=name,
        shape=(tensor.num_rows,)
        if tensor.bias
        else (tensor.num_rows, tensor.num_columns),
        slices=tuple(
            TensorSlice(place=place, rows=rows, expert=place.expert)
            for place, rows in bank_places(bank, tensor, name)
        ),
        uses=(use,),
        transposed=tensor.transposed,
    )


def _tied(rule: TensorRule, shape: tuple[int, ...], use: TensorUse) -> TensorRule:
    if shape != rule.shape:
        raise FamilyError(
            f"{rule.name}: {use.path} uses it as {list(shape)}, another module as "
            f"{list(rule.shape)}; untie them"
        )
    return replace(rule, uses=(*rule.uses, use))


def _shape(module: nn.Module, name: str, parameter: nn.Parameter) -> tuple[int, ...]:
    is_matrix = is_linear_map(module) and name == "weight"
    return map_shape(module) if is_matrix else tuple(parameter.shape)


def _slices(
    layout: ModelLayout, name: str, shape: tuple[int, ...], use: TensorUse
) -> Iterator[TensorSlice]:
    sites = [site for site in layout.sites if site.path == use.path]
    size = int(torch.Size(shape).numel())
    if use.kind == "linear" and any(site.split is not None for site in sites):
        for site in sites:
            place = TensorPlace(
                name=f"{name}#{site.part}",
                part=site.part,
                layer=site.layer,
                half=_half_of(site.part),
                num_weights=site.num_weights,
            )
            yield TensorSlice(place=place, rows=site.split)
        return
    place = TensorPlace(
        name=name,
        part=_part(layout, use, sites),
        layer=_layer(layout, use.path),
        half=_half_of(sites[0].part) if sites else _half(layout, use.path, name),
        num_weights=size,
    )
    yield TensorSlice(place=place)


def _part(layout: ModelLayout, use: TensorUse, sites: Sequence[Site]) -> Part:
    plain: Mapping[Kind, Part] = {"table": "embed", "norm": "norm", "bias": "bias"}
    if use.kind in plain:
        return plain[use.kind]
    if use.path == layout.head:
        return "head"
    if sites:
        return sites[0].part
    return "expert" if "experts" in use.path.split(".") else "block"


def _layer(layout: ModelLayout, path: str) -> int | None:
    for layer, block in enumerate(layout.blocks):
        if path == block or path.startswith(f"{block}."):
            return layer
    return None


def _half_of(part: Part) -> Half:
    return "attention" if part in ("q", "k", "v", "o") else "mlp"


def _half(layout: ModelLayout, path: str, name: str) -> Half | None:
    """Half of a block by the module that holds q, or down, and this one too."""
    layer = _layer(layout, path)
    if layer is None:
        return None
    halves: Mapping[Part, Half] = {"q": "attention", "down": "mlp"}
    for site in layout.sites:
        holder = site.path.rpartition(".")[0]
        in_holder = path == holder or path.startswith(f"{holder}.")
        own = site.layer == layer and holder not in layout.blocks
        if own and in_holder and site.part in halves:
            return halves[site.part]
    # In a mixture, what holds no matrix that is known may still say what it is.
    return place_of_name(name).half if layout.banks else None


def _refuse_wrapped(path: str, module: nn.Module, inner: nn.Module) -> None:
    """Refuse adapters of which the wrapped module is not what runs, or not alone."""
    if inner is module:
        return
    variants = cast(Mapping[str, object], getattr(module, "lora_variant", {}))
    plain = hasattr(module, "lora_A") or hasattr(module, "lora_embedding_A")
    masked = all(type(one).__name__ == "MaskedLora" for one in variants.values())
    if not (plain and masked) or getattr(module, "base_layer", None) is not inner:
        kind = type(module)
        raise FamilyError(
            f"{path}: its adapter ({kind.__module__}.{kind.__name__}) is not plain "
            "LoRA, so the gradient of the weight below it is not known; merge it and "
            "load the merged model"
        )

"""Which tensors does a bank of experts hold, and how does an expert lie in each?

Told by shapes where shapes can tell, by the library's own marks (`is_transposed`,
`is_concatenated`) where they cannot, and by names for what a tensor is for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import nn

from driftmap.core.errors import FamilyError
from driftmap.core.places import Part
from driftmap.families.expert_spec import ExpertTensor

_FUSED: Mapping[str, tuple[Part, ...]] = {
    "gate_up_proj": ("gate", "up"),
    "gate_proj": ("gate",),
    "up_proj": ("up",),
    "down_proj": ("down",),
}
"""What a tensor with an axis of experts is for; its bias is called `NAME_bias`."""

_PACKED: Mapping[str, tuple[Part, ...]] = {
    "w1": ("gate",),
    "v1": ("up",),
    "w2": ("down",),
}
"""The same of matrices with the experts below each other."""

_LISTED: Mapping[str, tuple[Part, ...]] = {
    **_FUSED,
    "w1": ("gate",),
    "w3": ("up",),
    "w2": ("down",),
    "wi": ("up",),
    "wo": ("down",),
    "fc1": ("up",),
    "fc2": ("down",),
}
"""The same of the linear maps of an expert that is a module of its own."""


def fused_tensors(
    module: nn.Module, path: str, num_experts: int
) -> tuple[ExpertTensor, ...]:
    """Read a bank whose parameters have an axis of experts.

    Args:
        module: The bank.
        path: Its path, for messages.
        num_experts: Experts in it (count).

    Raises:
        FamilyError: It is not known what a parameter is for or how it lies.
    """
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in module.named_parameters(recurse=False)
    }
    found = {
        name: _fused(path, name, shape)
        for name, shape in shapes.items()
        if not name.endswith("_bias")
    }
    turned = _is_transposed(module, path, tuple(found.values()))
    together = not getattr(module, "is_concatenated", True)
    tensors = []
    for name, shape in shapes.items():
        weight = found.get(name.removesuffix("_bias"))
        if weight is None or len(shape) != (3 if name in found else 2):
            raise _unknown(path, name, shape)
        rows = weight.num_columns if turned else weight.num_rows
        columns = weight.num_rows if turned else weight.num_columns
        bias = name not in found
        tensors.append(
            replace(
                weight,
                name=name,
                num_rows=rows,
                num_columns=1 if bias else columns,
                transposed=turned and not bias,
                interleaved=together and len(weight.parts) > 1,
                bias=bias,
            )
        )
    return tuple(tensors)


def packed_tensors(
    module: nn.Module, path: str, num_experts: int
) -> tuple[ExpertTensor, ...]:
    """Read a bank whose matrices hold the experts below each other.

    Args:
        module: The bank.
        path: Its path, for messages.
        num_experts: Experts in it (count).

    Raises:
        FamilyError: It is not known what a parameter is for.
    """
    tensors = []
    for name, parameter in module.named_parameters():
        parts = _PACKED.get(name.rpartition(".")[2])
        if parts is None or parameter.ndim != 2 or len(parameter) % num_experts:
            raise _unknown(path, name, tuple(parameter.shape))
        units, width = len(parameter) // num_experts, parameter.shape[1]
        # Hidden units are the packed axis of every matrix, so `down` is `[in out]`.
        down = parts == ("down",)
        tensors.append(
            ExpertTensor(
                name=name,
                parts=parts,
                num_rows=width if down else units,
                num_columns=units if down else width,
                transposed=down,
                layout="packed",
            )
        )
    return tuple(tensors)


def listed_tensors(expert: nn.Module, path: str) -> tuple[ExpertTensor, ...]:
    """Read one expert of a bank that is a list of modules.

    Args:
        expert: The first of them.
        path: Its path, for messages.

    Raises:
        FamilyError: It is not known what a parameter is for.
    """
    tensors = []
    for name, parameter in expert.named_parameters():
        holder, _, kind = name.rpartition(".")
        parts = _LISTED.get(holder.rpartition(".")[2])
        shape = tuple(parameter.shape)
        if parts is None or len(shape) != {"weight": 2, "bias": 1}.get(kind):
            raise _unknown(path, name, shape)
        tensors.append(
            ExpertTensor(
                name=name,
                parts=parts,
                num_rows=shape[0],
                num_columns=shape[1] if kind == "weight" else 1,
                bias=kind == "bias",
                layout="listed",
            )
        )
    return tuple(tensors)


def _fused(path: str, name: str, shape: Sequence[int]) -> ExpertTensor:
    parts = _FUSED.get(name)
    if parts is None or len(shape) != 3:
        raise _unknown(path, name, shape)
    return ExpertTensor(name=name, parts=parts, num_rows=shape[1], num_columns=shape[2])


def _is_transposed(
    module: nn.Module, path: str, tensors: Sequence[ExpertTensor]
) -> bool:
    """Whether matrices are stored `[in out]`; the module's mark must fit the shapes."""
    possible = [turned for turned in (False, True) if _fits(tensors, turned)]
    marked = getattr(module, "is_transposed", None)
    if isinstance(marked, bool):
        possible = [turned for turned in possible if turned == marked]
    if len(possible) != 1:
        shapes = ", ".join(f"{t.name} {[t.num_rows, t.num_columns]}" for t in tensors)
        raise FamilyError(
            f"{path}: it is not clear which axis of its experts' matrices is the "
            f"output ({shapes} of one expert, `is_transposed` is {marked}); see "
            "docs/how-to/add-a-model-family.md"
        )
    return possible[0]


def _fits(tensors: Sequence[ExpertTensor], turned: bool) -> bool:
    """Whether up and down fit together: what one gives, the other takes."""
    sizes = dict(_unit_sizes(tensors, turned))
    into = [sizes[part] for part in ("gate", "up") if part in sizes]
    back = sizes.get("down")
    if back is None or not into:
        return False
    return all((hidden, units) == back for units, hidden in into)


def _unit_sizes(
    tensors: Sequence[ExpertTensor], turned: bool
) -> Iterator[tuple[Part, tuple[int, int]]]:
    for tensor in tensors:
        rows, columns = tensor.num_rows, tensor.num_columns
        if turned:
            rows, columns = columns, rows
        if rows % len(tensor.parts):
            rows = -len(tensor.parts)
        for part in tensor.parts:
            yield part, (rows // len(tensor.parts), columns)


def _unknown(path: str, name: str, shape: Sequence[int]) -> FamilyError:
    return FamilyError(
        f"{path}: it is not known what its parameter {name} {list(shape)} is for; name "
        "it in driftmap/families/expert_layouts.py, as "
        "docs/how-to/add-a-model-family.md shows"
    )

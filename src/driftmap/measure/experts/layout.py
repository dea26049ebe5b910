"""What must be known of a bank's tensors to read its gradients?

Measures know no families, so these are shapes of what `families` tells: whatever has
these names will do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace, Part


@runtime_checkable
class StoredTensor(Protocol):
    """One stored tensor of a bank; every expert has its slice of it."""

    @property
    def name(self) -> str:
        """The bank's own name of it."""
        ...

    @property
    def parts(self) -> tuple[Part, ...]:
        """Whose output units it holds, in their order."""
        ...

    @property
    def num_rows(self) -> int:
        """Output units of one expert, of all parts together (count)."""
        ...

    @property
    def num_columns(self) -> int:
        """Input units; 1 for a bias (count)."""
        ...

    @property
    def transposed(self) -> bool:
        """An expert's slice is stored `[in out]`."""
        ...

    @property
    def interleaved(self) -> bool:
        """Units of the parts alternate instead of following each other."""
        ...

    @property
    def bias(self) -> bool:
        """One number per output unit, no matrix."""
        ...


@runtime_checkable
class BankLayout(Protocol):
    """A bank and its stored tensors."""

    @property
    def place(self) -> BankPlace:
        """Which bank."""
        ...

    @property
    def tensors(self) -> Sequence[StoredTensor]:
        """Every stored tensor, in the model's order."""
        ...


SlicesOf = Callable[[BankPlace, int], Mapping[str, Float[Tensor, "..."]]]
"""An expert's slice of every stored tensor by name, as it is stored."""


def num_scalars(bank: BankLayout) -> int:
    """n_e, numbers of one expert over all of its tensors (count)."""
    return sum(tensor.num_rows * tensor.num_columns for tensor in bank.tensors)


def matrices(bank: BankLayout) -> tuple[StoredTensor, ...]:
    """The bank's weights without biases."""
    return tuple(tensor for tensor in bank.tensors if not tensor.bias)


def bias_of(bank: BankLayout, matrix: StoredTensor) -> StoredTensor | None:
    """The bias of the same output units; None where the map has none."""
    for tensor in bank.tensors:
        if tensor.bias and tensor.parts == matrix.parts:
            return tensor
    return None


def tensor_named(bank: BankLayout, name: str) -> StoredTensor:
    """A bank's tensor by its name.

    Raises:
        MeasureError: The bank has no such tensor.
    """
    for tensor in bank.tensors:
        if tensor.name == name:
            return tensor
    raise MeasureError(
        f"{bank.place.path}: a signal of `{name}` came, but the bank's tensors are "
        f"{[tensor.name for tensor in bank.tensors]}"
    )


def part_rows(tensor: StoredTensor) -> dict[Part, slice]:
    """Which output units of a tensor are of which part.

    A slice per part: halves follow each other, or units alternate.
    """
    count = len(tensor.parts)
    each = tensor.num_rows // count
    if tensor.interleaved:
        return {part: slice(n, None, count) for n, part in enumerate(tensor.parts)}
    return {p: slice(n * each, (n + 1) * each) for n, p in enumerate(tensor.parts)}


def neuron_axis(matrix: StoredTensor) -> Literal["out", "in"]:
    """Whether a matrix has a neuron per output unit of a part, or per input unit."""
    return "in" if matrix.parts == ("down",) else "out"


def num_neurons(bank: BankLayout) -> int:
    """I, neurons of one expert (count)."""
    matrix = matrices(bank)[0]
    if neuron_axis(matrix) == "in":
        return matrix.num_columns
    return matrix.num_rows // len(matrix.parts)

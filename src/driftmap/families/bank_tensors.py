"""Which named parameters are those of routers and of banks of experts?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from driftmap.core.places import RowBlocks, TensorPlace
from driftmap.families.expert_spec import ExpertBank, ExpertTensor
from driftmap.families.mixtures import expert_rows
from driftmap.families.modules import join
from driftmap.families.spec import ModelLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureUse:
    """What a router or a bank does with one of its parameters.

    Args:
        path: Path of the router or bank, which is the module that runs.
        kind: A router's weight is `linear`, its bias `bias`.
    """

    path: str
    kind: Literal["linear", "bias", "expert", "expert_bias"]


class BankTensors:
    """Knows the parameters of routers and banks by their names.

    Args:
        layout: Of the model; empty of banks for a dense one.
    """

    def __init__(self, layout: ModelLayout) -> None:
        self._uses: dict[str, MixtureUse] = {}
        biases = [bank.router.selection_bias for bank in layout.banks]
        self.selection_biases = frozenset(bias for bias in biases if bias is not None)
        for bank in layout.banks:
            path = bank.place.path
            for tensor in bank.tensors:
                self._uses[join(path, tensor.name)] = MixtureUse(
                    path=path, kind="expert_bias" if tensor.bias else "expert"
                )
            for name in bank.router.parameters:
                is_weight = name == bank.router.weight
                self._uses[name] = MixtureUse(
                    path=bank.router.path, kind="linear" if is_weight else "bias"
                )

    def use(self, path: str, name: str) -> MixtureUse | None:
        """What is done with a module's parameter; None outside banks and routers."""
        return self._uses.get(join(path, name))


def bank_places(
    bank: ExpertBank, tensor: ExpertTensor, name: str
) -> Iterator[tuple[TensorPlace, RowBlocks | None]]:
    """Name what of a bank's tensor is each expert's, part by part.

    Args:
        bank: Which bank.
        tensor: One of its tensors.
        name: The parameter's name in the model.

    Yields:
        Places, and which rows of the expert's own matrix they are.
    """
    for expert in range(bank.place.num_experts):
        for number, part in enumerate(("bias",) if tensor.bias else tensor.parts):
            num_rows = tensor.num_rows if tensor.bias else tensor.rows_per_part
            place = TensorPlace(
                name=f"{name}#expert.{expert}.{part}",
                part=part,
                layer=bank.place.layer,
                half="mlp",
                num_weights=num_rows * tensor.num_columns,
                expert=expert,
            )
            yield place, None if tensor.bias else expert_rows(tensor, number)

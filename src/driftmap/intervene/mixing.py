"""What does a model do whose weights are, place by place, those of one of two models?

With a share a at a place, its weights are `base + a (tuned - base)`: 0 is the base and
1 the tuned model, both bit for bit. The change of a LoRA adapter is not merged: its
scale is multiplied. Neither of the two models is touched: modules are exchanged in a
third one, which shares the base's memory.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from torch import nn

from driftmap.core.places import TensorPlace
from driftmap.intervene.between import mixed_module, mixed_parameters
from driftmap.intervene.spots import Spot, find_spots

Shares: TypeAlias = Callable[[TensorPlace], float]
"""Says of each place which share of the change it has."""


class Mixer:
    """Two models, and all that lies between them."""

    def __init__(self, shell: nn.Module, tuned: nn.Module) -> None:
        """Find where the two differ.

        Args:
            shell: The base model, or rather a twin of it: a model of its own with the
                base's tensors. Its modules are exchanged.
            tuned: What was made of the base: the same modules with other weights, with
                PEFT adapters, or both.

        Raises:
            FamilyError: The layout of the model is not known.
            ModelError: The two are not of one architecture.
        """
        self._shell = shell
        self._spots = find_spots(shell, tuned)

    @property
    def places(self) -> tuple[TensorPlace, ...]:
        """Every place of the model, in its order."""
        return tuple(rows.place for spot in self._spots for rows in spot.rows)

    @property
    def changed(self) -> tuple[TensorPlace, ...]:
        """Places where the two differ."""
        return tuple(rows.place for spot in self._spots for rows in spot.changed)

    @contextmanager
    def mixed(self, share: Shares) -> Iterator[nn.Module]:
        """Give the model that lies there, for as long as the block runs.

        Args:
            share: Of every place; one where the two do not differ is not asked for.

        Raises:
            ModelError: What lies between two weights is not known: they are quantised.
        """
        with ExitStack() as undo:
            for spot in self._spots:
                shares = {one.place: share(one.place) for one in spot.changed}
                if any(shares.values()):
                    undo.enter_context(_exchanged(self._shell, spot, shares))
            yield self._shell


def everywhere(share: float) -> Shares:
    """The same share at every place."""
    return lambda place: share


@contextmanager
def _exchanged(
    shell: nn.Module, spot: Spot, shares: Mapping[TensorPlace, float]
) -> Iterator[None]:
    """Have one module, or its own parameters, stand between the two models."""
    holder, _, name = spot.path.rpartition(".")
    parent = shell.get_submodule(holder)
    module = parent._modules[name]
    assert module is not None, spot.path
    instead = mixed_module(spot, shares)
    if instead is not None:
        parent._modules[name] = instead
        try:
            yield
        finally:
            parent._modules[name] = module
        return
    kept = dict(module._parameters)
    module._parameters.update(mixed_parameters(spot, module, shares))
    try:
        yield
    finally:
        module._parameters.update(kept)

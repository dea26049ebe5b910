"""What is done to a model at each dose, to a group and to each of its controls?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import nn

from driftmap.core.places import Site
from driftmap.intervene.editing import Edit, edited
from driftmap.intervene.regions import Region, Regions
from driftmap.results.ablation import OWN, Ablated


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """What is done to a model.

    Args:
        regions: Entries whose values change.
        edit: What they change to.
    """

    regions: Regions
    edit: Edit

    def made(self, model: nn.Module) -> AbstractContextManager[None]:
        """Change the model for as long as the block runs."""
        return edited(model, self.regions, self.edit)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arm:
    """A group, or one of its controls.

    Args:
        group: Name of the group.
        draw: Number of the control; `OWN` for the group itself.
        change: What is done at a dose above 0.
    """

    group: str
    draw: int
    change: Callable[[float], Change]

    @property
    def is_own(self) -> bool:
        """It is the group itself."""
        return self.draw == OWN


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Treatment:
    """A group with its controls.

    Args:
        about: What a reader must know of it.
        arms: The group first, then its controls.
        inputs: All that the changes depend on, plain.
    """

    about: Ablated
    arms: Sequence[Arm]
    inputs: Mapping[str, object]


class MadeRegions(Mapping[Site, Region]):
    """Regions that are made when they are asked for, one matrix at a time.

    Args:
        sites: Matrices that have one.
        make: Makes it, the same each time.
    """

    def __init__(self, sites: Sequence[Site], make: Callable[[Site], Region]) -> None:
        self._sites = dict.fromkeys(sites)
        self._make = make

    def __getitem__(self, site: Site) -> Region:
        if site not in self._sites:
            raise KeyError(site)
        return self._make(site)

    def __iter__(self) -> Iterator[Site]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

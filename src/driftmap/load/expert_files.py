"""Where in a folder of weights are the matrices of routers and experts?

Files name experts one by one, or hold all of a bank in one tensor, whatever the model
in memory does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import safe_open
from torch import Tensor, nn

from driftmap.core.places import Site
from driftmap.families.expert_names import HubPiece, hub_pieces, hub_router_names
from driftmap.families.expert_spec import ExpertBank
from driftmap.load.tensor_files import StoredTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """Where files keep one matrix of a router or an expert.

    Args:
        name: Name of the tensor.
        expert: Which slice of it; None for all of it.
        transposed: What is stored there is `[in out]`.
        rows: Which rows of it, as `[out in]`; all if empty.
    """

    name: str
    expert: int | None = None
    transposed: bool = False
    rows: tuple[int, ...] = ()

    def fits(self, stored: StoredTensor, shape: tuple[int, int]) -> bool:
        """Whether a stored tensor can hold a matrix of that shape."""
        of_one = stored.shape if self.expert is None else stored.shape[1:]
        found = tuple(of_one[::-1] if self.transposed else of_one)
        if self.rows:
            return len(found) == len(shape) and max(self.rows) < found[0]
        return found == shape

    def read(self, stored: StoredTensor) -> Tensor:
        """The matrix, `[out in]`, in the file's type."""
        with safe_open(stored.file, framework="pt") as opened:
            part = opened.get_slice(stored.name)
            matrix = part[:] if self.expert is None else part[self.expert]
        matrix = matrix.T if self.transposed else matrix
        return matrix[torch.tensor(self.rows)] if self.rows else matrix


def file_places(
    model: nn.Module, banks: Sequence[ExpertBank], sites: Sequence[Site]
) -> Mapping[str, FilePlace]:
    """Find what files call the matrices of routers and experts.

    Args:
        model: The model; its numbers are not looked at.
        banks: Its banks.
        sites: Its matrices; others than routers and experts need no help.

    Returns:
        By the key of the site.

    Raises:
        FamilyError: What files hold of a bank is no piece of one expert.
    """
    found: dict[str, FilePlace] = {}
    for bank in banks:
        own = [site for site in sites if site.path == bank.place.path]
        pieces = hub_pieces(model, bank)
        for site in own:
            assert site.expert is not None
            found.update(_places(site, pieces[site.expert]))
        names = hub_router_names(model, bank.router)
        for site in sites:
            if site.path == bank.router.path:
                found[site.key] = FilePlace(name=names[bank.router.weight])
    return found


def _places(site: Site, pieces: Sequence[HubPiece]) -> Iterator[tuple[str, FilePlace]]:
    for piece in pieces:
        if piece.tensor != site.tensor or piece.part not in ("", site.part):
            continue
        name, _, number = piece.name.partition("[")
        whole = not piece.part
        rows = site.split.rows() if whole and site.split is not None else ()
        yield (
            site.key,
            FilePlace(
                name=name,
                expert=int(number.removesuffix("]")) if number else None,
                # A part in memory is `[out in]`; a whole slice may not be.
                transposed=piece.transposed != (whole and site.transposed),
                rows=tuple(rows),
            ),
        )

"""What are an expert's tensors called in the files that people share?

The library holds experts fused and writes them apart: one reverse conversion gives
the names that other programs load. It is run once on a small marked copy of a bank, in
which every number says where it came from, so that no table of families is needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from driftmap.core.errors import FamilyError
from driftmap.families.expert_spec import ExpertBank, ExpertTensor, Router
from driftmap.families.expert_tensors import part_views, stored_views
from driftmap.families.modules import base_model, join

_UNITS, _HIDDEN = 2, 3
"""Sizes of an expert in the marked copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPiece:
    """A tensor of one expert in a file, and which numbers of the bank it holds.

    Args:
        name: Its name; where a file holds all experts in one tensor, that tensor's
            name with the expert's number behind it (`...gate_up_proj[3]`).
        tensor: The bank's tensor that it is taken from.
        part: Which part of it; empty for all of the expert's slice as it is stored.
        transposed: The file has the two axes the other way round.
    """

    name: str
    tensor: str
    part: str
    transposed: bool


def hub_pieces(model: nn.Module, bank: ExpertBank) -> tuple[tuple[HubPiece, ...], ...]:
    """Find what every expert's tensors are called in files.

    Args:
        model: With or without adapters; its numbers are not looked at.
        bank: From `find_experts`.

    Returns:
        Per expert, its tensors in the order of the bank's.

    Raises:
        FamilyError: A tensor of the files is no piece of one expert.
    """
    small = replace(bank, tensors=tuple(_small(one) for one in bank.tensors))
    marks = _marks(small)
    files = _reverted(model, dict(_named(small, marks)))
    pieces: list[list[HubPiece]] = [[] for _ in range(bank.place.num_experts)]
    for name, content in files.items():
        for expert, piece in _read(small, marks, name, content):
            pieces[expert].append(piece)
    order = [tensor.name for tensor in bank.tensors]
    for expert, found in enumerate(pieces):
        if not _is_whole(small, marks[expert], found):
            raise FamilyError(
                f"{bank.place.path}: in files, {', '.join(sorted(files)[:2])} hold no "
                f"piece that is all of expert {expert}'s, so single experts cannot be "
                "kept; keep whole models instead"
            )
        found.sort(key=lambda piece: (order.index(piece.tensor), piece.part != "gate"))
    return tuple(tuple(found) for found in pieces)


def hub_views(
    model: nn.Module,
    bank: ExpertBank,
    pieces: tuple[tuple[HubPiece, ...], ...],
    expert: int,
) -> Mapping[str, Tensor]:
    """One expert's tensors under the names of the files.

    Args:
        model: With or without adapters.
        bank: Which bank.
        pieces: From `hub_pieces`.
        expert: Number of the expert in its bank.

    Returns:
        Views of the model's own numbers: copying into them puts an expert back.
    """
    stored = stored_views(model, bank, expert)
    return {
        piece.name: _piece_view(bank.tensor(piece.tensor), stored[piece.tensor], piece)
        for piece in pieces[expert]
    }


def hub_router_names(model: nn.Module, router: Router) -> Mapping[str, str]:
    """What a router's trainable parameters are called in files, by their own names."""
    names = {}
    for name in router.parameters:
        (names[name],) = _reverted(model, {name: torch.zeros(_UNITS, _HIDDEN)})
    return names


def _small(tensor: ExpertTensor) -> ExpertTensor:
    units = _HIDDEN if tensor.parts == ("down",) else _UNITS * len(tensor.parts)
    inputs = _UNITS if tensor.parts == ("down",) else _HIDDEN
    return replace(tensor, num_rows=units, num_columns=1 if tensor.bias else inputs)


def _marks(bank: ExpertBank) -> list[dict[str, Tensor]]:
    """Per expert: its slice of every tensor, no number twice, ascending."""
    marks: list[dict[str, Tensor]] = []
    start = 0
    for _ in range(bank.place.num_experts):
        mark = {}
        for tensor in bank.tensors:
            shape = (tensor.num_rows, tensor.num_columns)
            shape = shape[:1] if tensor.bias else shape
            numbers = torch.arange(start, start + tensor.num_weights).double()
            turned = shape[::-1] if tensor.transposed else shape
            mark[tensor.name] = numbers.reshape(turned)
            start += tensor.num_weights
        marks.append(mark)
    return marks


def _named(
    bank: ExpertBank, marks: list[dict[str, Tensor]]
) -> Iterator[tuple[str, Tensor]]:
    """The parameters of a bank with these slices, by their names in the model."""
    for tensor in bank.tensors:
        slices = [mark[tensor.name] for mark in marks]
        if tensor.layout == "listed":
            for member, content in zip(bank.members, slices, strict=True):
                yield join(bank.place.path, member, tensor.name), content
        else:
            together = torch.stack if tensor.layout == "fused" else torch.cat
            yield join(bank.place.path, tensor.name), together(slices)


def _is_whole(
    bank: ExpertBank, mark: Mapping[str, Tensor], pieces: list[HubPiece]
) -> bool:
    """Whether pieces hold each number of an expert exactly once."""
    held = [
        number
        for piece in pieces
        for number in _piece_view(bank.tensor(piece.tensor), mark[piece.tensor], piece)
        .flatten()
        .tolist()
    ]
    numbers = [number for one in mark.values() for number in one.flatten().tolist()]
    return sorted(held) == numbers


def _reverted(model: nn.Module, named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    base = cast(PreTrainedModel, base_model(model))
    return cast(Mapping[str, Tensor], revert_weight_conversion(base, dict(named)))


def _read(
    bank: ExpertBank, marks: list[dict[str, Tensor]], name: str, content: Tensor
) -> Iterator[tuple[int, HubPiece]]:
    """Say of one tensor of the files whose pieces it holds."""
    owner = int(content.flatten()[0]) // bank.num_weights
    piece = _match(bank, marks[owner], name, content)
    if piece is not None:
        yield owner, piece
        return
    count = bank.place.num_experts
    if len(content) % count:
        return
    for expert, (mark, own) in enumerate(zip(marks, content.chunk(count), strict=True)):
        one = own[0] if len(content) == count else own
        piece = _match(bank, mark, f"{name}[{expert}]", one)
        if piece is not None:
            yield expert, piece


def _match(
    bank: ExpertBank, mark: Mapping[str, Tensor], name: str, content: Tensor
) -> HubPiece | None:
    for tensor in bank.tensors:
        stored = mark[tensor.name]
        for part in ("", *part_views(tensor, stored)):
            for transposed in (False, True):
                piece = HubPiece(
                    name=name, tensor=tensor.name, part=part, transposed=transposed
                )
                if torch.equal(_piece_view(tensor, stored, piece), content):
                    return piece
    return None


def _piece_view(tensor: ExpertTensor, stored: Tensor, piece: HubPiece) -> Tensor:
    view = part_views(tensor, stored)[piece.part] if piece.part else stored
    return view.T if piece.transposed and view.ndim == 2 else view

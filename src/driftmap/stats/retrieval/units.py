"""Which tensors are read one by one, and which joined?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from driftmap.core.places import PARTS, TensorPlace
from driftmap.results.retrieval_reading import FULL, Unit, UnitKind

HALVES = ("attention", "mlp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A unit and the numbers of its tensors."""

    unit: Unit
    columns: tuple[int, ...]


def all_units(tensors: Sequence[TensorPlace]) -> tuple[Joined, ...]:
    """List what is read: full, tensors, parts, layers, halves, and those of a layer.

    >>> places = [TensorPlace(name="l0.q", part="q", layer=0, half="attention"),
    ...           TensorPlace(name="l0.o", part="o", layer=0, half="attention")]
    >>> [joined.unit.name for joined in all_units(places)]
    ['full', 'l0.q', 'l0.o', 'q', 'o', 'layer 0', 'attention', 'layer 0 q', \
'layer 0 o', 'layer 0 attention']
    """
    layers = sorted({t.layer for t in tensors if t.layer is not None})
    return (
        _joined("full", FULL, tensors, lambda _: True),
        *(_one(number, tensor) for number, tensor in enumerate(tensors)),
        *_parts(tensors, None),
        *_layers(tensors, layers),
        *_halves(tensors, None),
        *(joined for layer in layers for joined in _parts(tensors, layer)),
        *(joined for layer in layers for joined in _halves(tensors, layer)),
    )


def num_weights(tensors: Sequence[TensorPlace]) -> int | None:
    """Weights of some tensors; None where one of them does not tell."""
    sizes = [tensor.num_weights for tensor in tensors]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _one(number: int, tensor: TensorPlace) -> Joined:
    unit = Unit(
        kind="tensor",
        name=tensor.name,
        part=tensor.part,
        layer=tensor.layer,
        half=tensor.half,
        num_tensors=1,
        num_weights=tensor.num_weights,
    )
    return Joined(unit=unit, columns=(number,))


def _layers(tensors: Sequence[TensorPlace], layers: list[int]) -> Iterator[Joined]:
    for layer in layers:
        yield _joined(
            "layer", f"layer {layer}", tensors, lambda t, at=layer: t.layer == at
        )


def _parts(tensors: Sequence[TensorPlace], layer: int | None) -> Iterator[Joined]:
    kind, prefix = _of_layer("part", layer)
    inside = [t.part for t in tensors if layer is None or t.layer == layer]
    for part in PARTS:
        if part in inside:
            yield _joined(
                kind,
                prefix + part,
                tensors,
                lambda t, p=part: t.part == p and layer in (None, t.layer),
            )


def _halves(tensors: Sequence[TensorPlace], layer: int | None) -> Iterator[Joined]:
    kind, prefix = _of_layer("half", layer)
    inside = [t.half for t in tensors if layer is None or t.layer == layer]
    for half in HALVES:
        if half in inside:
            yield _joined(
                kind,
                prefix + half,
                tensors,
                lambda t, h=half: t.half == h and layer in (None, t.layer),
            )


def _of_layer(kind: str, layer: int | None) -> tuple[UnitKind, str]:
    if kind == "part":
        return ("part", "") if layer is None else ("layer_part", f"layer {layer} ")
    return ("half", "") if layer is None else ("layer_half", f"layer {layer} ")


def _joined(
    kind: UnitKind,
    name: str,
    tensors: Sequence[TensorPlace],
    belongs: Callable[[TensorPlace], bool],
) -> Joined:
    columns = tuple(n for n, tensor in enumerate(tensors) if belongs(tensor))
    inside = [tensors[n] for n in columns]
    halves = {t.half for t in inside}
    is_part = kind in ("part", "layer_part")
    is_half = kind in ("half", "layer_half") or (is_part and len(halves) == 1)
    unit = Unit(
        kind=kind,
        name=name,
        part=inside[0].part if is_part else None,
        layer=inside[0].layer if kind.startswith("layer") else None,
        half=inside[0].half if is_half else None,
        num_tensors=len(columns),
        num_weights=num_weights(inside),
    )
    return Joined(unit=unit, columns=columns)

"""What moved: how far, in which layers and parts, in how many directions?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import nan

from driftmap.core.places import PARTS
from driftmap.render.charts import Line, Lines, Mosaic
from driftmap.render.page import (
    Callout,
    Choices,
    Facts,
    Folded,
    Grid,
    Node,
    Paragraph,
    Picker,
    Section,
)
from driftmap.render.wording import number, p_value
from driftmap.results.statistics import GroupRatio
from driftmap.results.weight_changes import (
    ChangedBank,
    ChangedMatrix,
    LargestUnits,
    LayerPart,
    OtherTensor,
    Spectrum,
    WeightChanges,
)
from driftmap.stats.claims.weights import largest, weights_claims

MOST_ROWS = 12
"""Matrices that the table of the largest rows lists."""

MOST_OTHERS = 40
"""Other tensors that are listed."""

MOST_SPECTRA = 100
"""Matrices whose directions can be chosen; those that moved most for their size."""

CAUTION = (
    "How far weights moved is exact and tests nothing. It does not tell where the new "
    "behaviour lies: layers that moved little can carry it, and layers that moved much "
    "can be changed back without losing it."
)

FOUND = {
    "changed": "differs",
    "resized": "has another number of rows",
    "missing": "is in one model alone",
}
"""How a tensor that is not what it was is described."""


def weights_section(found: WeightChanges) -> Section:
    """Draw what moved.

    Args:
        found: What was measured of the two models' weights.
    """
    nodes: list[Node] = [Paragraph(text=claim.says) for claim in weights_claims(found)]
    if not found.is_nothing:
        nodes.insert(0, Facts(pairs=_facts(found)))
    if found.matrices:
        nodes.append(Callout(kind="note", title="How to read this", texts=[CAUTION]))
        nodes.append(_map(found))
        nodes += _spectra(found)
        nodes.append(_largest_rows(found))
    nodes += _experts(found)
    nodes += _groups(found)
    if found.others:
        nodes.append(_others(found.others))
    if found.cautions:
        nodes.append(
            Callout(kind="caution", title="How it was read", texts=found.cautions)
        )
    return Section(anchor="weights", title="What moved", nodes=nodes)


def _facts(found: WeightChanges) -> list[tuple[str, str]]:
    num_matrices = sum(cell.num_matrices for cell in found.cells)
    pairs = [("Matrices that moved", f"{len(found.matrices):,} of {num_matrices:,}")]
    if found.num_tensors:
        equal = f"{found.num_equal:,} of {found.num_tensors:,}"
        pairs.append(("Tensors equal in every entry", equal))
    pairs.append(("Other tensors that differ", f"{len(found.others):,}"))
    return pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A number of a part of a layer that the map can show."""

    name: str
    unit: str
    of: Callable[[LayerPart], float]


def _map(found: WeightChanges) -> Picker:
    """Layers by parts: for their size, in weight units, and as shares."""
    total = sum(cell.length**2 for cell in found.cells)
    shown = [
        _Shown(name="|dW|", unit="weight units", of=lambda cell: cell.length),
        _Shown(
            name="share of |dW|^2", unit="share", of=lambda cell: cell.length**2 / total
        ),
    ]
    if all(cell.size is not None for cell in found.cells):
        relative = _Shown(
            name="|dW| / |W|", unit="ratio", of=lambda cell: cell.relative or 0.0
        )
        shown = [relative, *shown]
    return Picker(
        name="weights-map",
        title="How far each part of each layer moved",
        reading="Layers upwards, parts across; empty where nothing moved. What chance "
        "gives: nothing here is a sample, every number is exact. What it does not "
        "show: that the model answers otherwise because of it.",
        choices=[Choices(name="shown", options=[one.name for one in shown])],
        charts=[_mosaic(found.cells, one) for one in shown],
    )


def _mosaic(cells: Sequence[LayerPart], shown: _Shown) -> Mosaic:
    layers = sorted({cell.layer for cell in cells})
    parts = sorted({cell.part for cell in cells}, key=PARTS.index)
    here = {(one.layer, one.part): shown.of(one) for one in cells if one.num_moved}
    return Mosaic(
        x_labels=parts,
        y_labels=[str(layer) for layer in layers],
        x_title="part",
        y_title="layer",
        values=[[here.get((layer, part), nan) for part in parts] for layer in layers],
        value_title=shown.unit,
        empty_row="did not move",
    )


def _spectra(found: WeightChanges) -> Iterator[Node]:
    """The directions of single matrices, and all of them in a table."""
    held = [one for one in found.matrices if one.spectrum is not None]
    if not held:
        return
    chosen = largest(held, MOST_SPECTRA)
    charts = [_values(one.spectrum) for one in chosen if one.spectrum is not None]
    notes = [_directions(one, one.spectrum) for one in chosen if one.spectrum]
    some = "" if len(chosen) == len(held) else f", the {len(chosen)} that moved most"
    yield Picker(
        name="weights-spectrum",
        title=f"Directions of the change of a matrix{some}",
        reading="Singular values, largest first. What chance gives: those of a random "
        "change of the same shape, rank and length; the edge is the largest that "
        "independent entries have (Marchenko and Pastur 1967), which factors of low "
        "rank pass whatever they hold. What it does not show: which directions the "
        "model's states lie in.",
        choices=[Choices(name="matrix", options=[one.key for one in chosen])],
        charts=charts,
        notes=notes,
    )
    rows = [_spectrum_row(one, one.spectrum) for one in held if one.spectrum]
    yield Folded(
        summary=f"Directions of all matrices ({len(rows)})",
        nodes=[
            Grid(
                caption="Effective rank: exp of the entropy of the singular values' "
                "shares (Roy and Vetterli 2007). Stable rank: |dW|^2 over the square "
                "of the largest. Half: directions that hold half of |dW|^2. By chance: "
                "a random change of the same shape, rank and length.",
                columns=[
                    "Matrix", "|dW|", "|dW| / |W|", "at most", "effective rank",
                    "by chance", "stable rank", "half", "by chance",
                ],
                rows=rows,
                align_right=frozenset(range(1, 9)),
            )
        ],
    )  # fmt: skip


def _values(spectrum: Spectrum) -> Lines:
    places = list(range(1, len(spectrum.values) + 1))
    return Lines(
        x_title="direction",
        y_title="singular value (weight units)",
        lines=[
            Line(name="this change", x=places, y=list(spectrum.values), role="q"),
            Line(
                name="random change",
                x=places,
                y=list(spectrum.chance_values),
                role="random",
            ),
            Line(
                name="edge of independent entries",
                x=[places[0], places[-1] + 1],
                y=[spectrum.edge] * 2,
                role="top",
            ),
        ],
        y_from_zero=True,
    )


def _directions(one: ChangedMatrix, spectrum: Spectrum) -> str:
    return (
        f"{one.num_rows:,} by {one.num_columns:,}: effective rank "
        f"{number(spectrum.effective_rank)} of at most {spectrum.num_directions:,} "
        f"(by chance {number(spectrum.chance_effective_rank)}); half of |dW|^2 in "
        f"{spectrum.half:,} (by chance {spectrum.chance_half:,})."
    )


def _spectrum_row(one: ChangedMatrix, spectrum: Spectrum) -> list[str]:
    return [
        f"`{one.key}`",
        number(one.length),
        number(one.relative),
        f"{spectrum.num_directions:,}",
        number(spectrum.effective_rank),
        number(spectrum.chance_effective_rank),
        number(spectrum.stable_rank),
        f"{spectrum.half:,}",
        f"{spectrum.chance_half:,}",
    ]


def _largest_rows(found: WeightChanges) -> Folded:
    chosen = largest(found.matrices, MOST_ROWS)
    return Folded(
        summary="Rows and columns that moved most",
        nodes=[
            Grid(
                caption=f"Of the {len(chosen)} matrices that moved most for their "
                "size. In brackets: times the root mean square of |dW| over all rows, "
                "or columns, of the matrix. By chance: what the largest of as many "
                "reaches in one of twenty random changes of the same rank and length. "
                "A row is an output of the matrix, a column an input.",
                columns=["Matrix", "rows", "by chance", "columns", "by chance"],
                rows=[
                    [
                        f"`{one.key}`",
                        _units(one.rows),
                        f"{one.rows.chance:.2f}",
                        _units(one.columns),
                        f"{one.columns.chance:.2f}",
                    ]
                    for one in chosen
                ],
                align_right=frozenset({2, 4}),
            )
        ],
    )


def _units(units: LargestUnits) -> str:
    pairs = zip(units.index[:3], units.lengths[:3], strict=True)
    return ", ".join(f"{at} ({length / units.typical:.2f})" for at, length in pairs)


def _experts(found: WeightChanges) -> Iterator[Node]:
    if not any(bank.lengths.any() or bank.router_lengths.any() for bank in found.banks):
        return
    yield Picker(
        name="weights-experts",
        title="How far each expert moved",
        reading="Layers upwards, experts across. An expert is all of its matrices "
        "together; its row of the router decides how often it is chosen. What chance "
        "gives: nothing here is a sample. What it does not show: how often an expert "
        "is used.",
        choices=[Choices(name="shown", options=["experts", "rows of routers"])],
        charts=[
            _bank_mosaic(found.banks, is_router=False),
            _bank_mosaic(found.banks, is_router=True),
        ],
    )


def _bank_mosaic(banks: Sequence[ChangedBank], *, is_router: bool) -> Mosaic:
    width = max(bank.lengths.size for bank in banks)
    known = all(bank.sizes.size for bank in banks)
    rows = []
    for bank in banks:
        lengths = bank.router_lengths if is_router else bank.lengths
        sizes = bank.router_sizes if is_router else bank.sizes
        over = sizes if known and sizes.size else [1.0] * lengths.size
        pairs = zip(lengths, over, strict=True)
        values = [float(length / size) if size else 0.0 for length, size in pairs]
        rows.append((values + [nan] * width)[:width])
    return Mosaic(
        x_labels=[str(expert) for expert in range(width)],
        y_labels=[str(bank.layer) for bank in banks],
        x_title="expert",
        y_title="layer",
        values=rows,
        value_title="|dW| / |W|" if known else "|dW|",
    )


def _groups(found: WeightChanges) -> Iterator[Node]:
    whole = [one for one in found.groups if one.layer is None and one.part is None]
    if not whole:
        return
    yield Grid(
        caption="Groups beside all weights of their own size in their own matrices "
        "that are in no group: 1 means that a group moved as far as these. p-values "
        "are from draws that move the group to other rows and columns, corrected for "
        "all groups, layers and parts; one training run has no interval over seeds, "
        "so they speak of this run alone.",
        columns=["Group", "weights", "times its control", "p", "corrected p"],
        rows=[_group_row(one) for one in whole],
        align_right=frozenset({1, 2, 3, 4}),
    )
    inside = [one for one in found.groups if one.p_adjusted is not None]
    inside = [one for one in inside if one.layer is not None or one.part is not None]
    if inside:
        yield Folded(
            summary=f"Groups by layer and part ({len(inside)})",
            nodes=[
                Grid(
                    caption="The same within single layers and parts.",
                    columns=[
                        "Group and place", "weights", "times its control", "p",
                        "corrected p",
                    ],
                    rows=[_group_row(one) for one in inside],
                    align_right=frozenset({1, 2, 3, 4}),
                )
            ],
        )  # fmt: skip


def _group_row(one: GroupRatio) -> list[str]:
    place = "" if one.layer is None else f", layer {one.layer}"
    place += "" if one.part is None else f", {one.part}"
    return [
        f"`{one.group}`{place}",
        f"{one.num_weights:,}",
        f"{one.rho:.2f}",
        p_value(one.p_value, one.num_permutations),
        p_value(one.p_adjusted, one.num_permutations),
    ]


def _others(others: Sequence[OtherTensor]) -> Folded:
    left = len(others) - MOST_OTHERS
    return Folded(
        summary=f"Other tensors that differ ({len(others):,})",
        nodes=[
            Grid(
                caption="Embeddings, norms, biases, the head"
                + (f"; the first {MOST_OTHERS}, {left:,} more" if left > 0 else ""),
                columns=["Tensor", "part", "how", "|dW|", "|dW| / |W|"],
                rows=[
                    [
                        f"`{one.name}`",
                        one.part,
                        FOUND[one.found],
                        number(one.length),
                        number(_relative(one)),
                    ]
                    for one in others[:MOST_OTHERS]
                ],
                align_right=frozenset({3, 4}),
            )
        ],
    )


def _relative(one: OtherTensor) -> float | None:
    return one.length / one.size if one.length is not None and one.size else None

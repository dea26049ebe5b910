"""What does each prompt's profile look like, and which prompts are alike?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.render.charts import Line, Lines, Mosaic
from driftmap.render.page import Figure, Folded, Grid, Node, Section
from driftmap.render.profiles_words import KINDS, ROLES, begun, titled
from driftmap.render.wording import number
from driftmap.results.trace_comparison import (
    KindComparison,
    TraceComparison,
    TraceProfile,
)

MOST_LINES = 8
"""Relations, or single prompts, that have a line of their own (count)."""


def matrix_section(compared: TraceComparison, most: int) -> Section:
    """Every prompt against every other.

    Args:
        compared: The comparison.
        most: Prompts that are shown (count).
    """
    figures = [_matrix(kind, most) for kind in compared.kinds]
    nodes: list[Node] = [figures[0]]
    if figures[1:]:
        nodes.append(Folded(summary="The same by other states", nodes=figures[1:]))
    return Section(anchor="matrix", title="Prompt by prompt", nodes=nodes)


def profiles_section(compared: TraceComparison) -> Section:
    """Which layers bring the answer back."""
    nodes: list[Node] = []
    if compared.row != "all roles":
        nodes += [_by_kind(compared), *_by_relation(compared.kinds[0])]
    nodes.append(
        Folded(
            summary="Peak layer and centre of mass of every prompt",
            nodes=[_grid(kind) for kind in compared.kinds],
        )
    )
    return Section(anchor="profiles", title="What layers do", nodes=nodes)


def _matrix(kind: KindComparison, most: int) -> Figure:
    found = kind.comparison
    profiles = found.profiles[:most]
    order = sorted(
        range(len(profiles)),
        key=lambda n: (profiles[n].direction, profiles[n].relation,
                       profiles[n].subject, profiles[n].fact, n),
    )  # fmt: skip
    values = found.pearson[np.ix_(order, order)].copy()
    np.fill_diagonal(values, np.nan)
    names = [profiles[n].prompt_id for n in order]
    cut = "" if most >= len(found.profiles) else f" The first {most:,} prompts."
    return Figure(
        name=f"matrix-{found.kind}",
        title=f"Likeness of profiles, {titled(found)}",
        reading="Pearson of every two profiles, under different draws of noise where "
        "prompts were traced again. Prompts of one relation stand together, and in "
        "them those of one fact: wordings that share layers make dark blocks on the "
        f"diagonal, relations larger ones.{cut}",
        chart=Mosaic(
            x_labels=names,
            y_labels=names,
            x_title="prompt",
            y_title="prompt",
            values=values.tolist(),
            value_title="Pearson",
        ),
    )


def _by_kind(compared: TraceComparison) -> Figure:
    lines = [
        _line(kind.comparison.profiles, KINDS[kind.comparison.kind],
              ROLES[kind.comparison.kind])
        for kind in compared.kinds
    ]  # fmt: skip
    return Figure(
        name="profiles",
        title=f"What each layer brings back at the {compared.row} token",
        reading="Mean over prompts of IE / TE; band: the middle 80 % of prompts. 1 "
        "means that this layer alone brings the answer back in full.",
        chart=Lines(x_title="layer", y_title="effect (share of total)", lines=lines),
    )


def _by_relation(kind: KindComparison) -> Iterator[Figure]:
    profiles = kind.comparison.profiles
    relations = list(dict.fromkeys(profile.relation for profile in profiles))
    if len(profiles) <= MOST_LINES:
        groups = {profile.prompt_id: [profile] for profile in profiles}
    elif 1 < len(relations) <= MOST_LINES:
        groups = {
            name or "no relation": [p for p in profiles if p.relation == name]
            for name in relations
        }
    else:
        return
    yield Figure(
        name="relations",
        title=f"The same apart, {titled(kind.comparison)}",
        reading="Mean over the prompts of each relation, or each prompt alone where "
        "they are few.",
        chart=Lines(
            x_title="layer",
            y_title="effect (share of total)",
            lines=[_line(of, name) for name, of in groups.items()],
        ),
    )


def _line(profiles: Sequence[TraceProfile], name: str, role: str = "") -> Line:
    rows = np.stack([profile.effect[0] for profile in profiles])
    low, high = np.quantile(rows, [0.1, 0.9], axis=0)
    has_band = len(profiles) > 2 and bool(role)
    return Line(
        name=name,
        x=list(range(rows.shape[1])),
        y=rows.mean(axis=0).tolist(),
        low=low.tolist() if has_band else (),
        high=high.tolist() if has_band else (),
        role=role,
    )


def _grid(kind: KindComparison) -> Grid:
    return Grid(
        caption=f"{begun(titled(kind.comparison))}. TE: what the noise takes "
        "away; low: what it leaves. Peak and centre of mass are layers, of the "
        "positive part.",
        columns=("prompt", "subject", "token", "answer", "TE", "low", "peak", "centre"),
        rows=[
            (
                profile.prompt_id,
                profile.named,
                profile.token.strip(),
                profile.answer.strip(),
                number(profile.total_effect),
                number(profile.low),
                "–" if profile.peak_layer is None else f"{profile.peak_layer}",
                "–" if profile.centre is None else f"{profile.centre:.1f}",
            )
            for profile in kind.comparison.profiles
        ],
        align_right=frozenset(range(4, 8)),
    )

"""Studies whose truth is known, for tests of inference.

Weights, clustered groups and random low-rank adapters of a small model: rows and
columns of a group cluster as those of SNIP scores do, rows and columns of the
drift cluster as those of `B A` do, and neither knows of the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from driftmap.core.places import Site

HIDDEN, INNER, HEAD = 24, 40, 6
SHAPES = {
    "q": (HIDDEN, HIDDEN),
    "k": (HIDDEN // 2, HIDDEN),
    "v": (HIDDEN // 2, HIDDEN),
    "o": (HIDDEN, HIDDEN),
    "gate": (INNER, HIDDEN),
    "up": (INNER, HIDDEN),
    "down": (HIDDEN, INNER),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """One matrix of a study: |W|, |dW| per seed, groups."""

    site: Site
    magnitudes: np.ndarray
    drifts: tuple[np.ndarray, ...]
    groups: dict[str, np.ndarray]


def small_sites(num_layers: int = 2) -> tuple[Site, ...]:
    """The linear maps of a small grouped-query model."""
    return tuple(
        Site(
            path=f"layers.{layer}.{part}",
            layer=layer,
            part=part,
            num_rows=rows,
            num_columns=columns,
            head_size=HEAD if part in "qkvo" else None,
        )
        for layer in range(num_layers)
        for part, (rows, columns) in SHAPES.items()
    )


def random_study(
    seed: int,
    *,
    num_seeds: int = 1,
    factor: float = 1.0,
    follows_weight: float = 0.0,
    share: float = 0.02,
) -> Iterator[Matrix]:
    """Make a study in which the group `top` drifts `factor` times the rest.

    Args:
        seed: Of everything.
        num_seeds: Training seeds.
        factor: Multiplies |dW| of the group; 1 is the null.
        follows_weight: Drift is also multiplied by |W| to this power: drift
            that depends on weight size but not on the group.
        share: Of each matrix that the group takes.
    """
    rng = np.random.default_rng(seed)
    for site in small_sites():
        magnitudes = np.abs(rng.normal(size=site.shape))
        scores = magnitudes * _clusters(rng, site, 1.0)
        num = int(share * site.num_weights)
        top = np.sort(np.argsort(-scores, axis=None)[:num])
        plant = np.ones(site.num_weights)
        plant[top] = factor
        spread = _clusters(rng, site, 0.5)
        yield Matrix(
            site=site,
            magnitudes=magnitudes,
            drifts=tuple(
                _adapter(rng, site)
                * spread
                * magnitudes**follows_weight
                * plant.reshape(site.shape)
                for _ in range(num_seeds)
            ),
            groups={"top": top},
        )


def _adapter(rng: np.random.Generator, site: Site, rank: int = 4) -> np.ndarray:
    up = rng.normal(size=(site.num_rows, rank))
    return np.abs(up @ rng.normal(size=(rank, site.num_columns)))


def _clusters(rng: np.random.Generator, site: Site, sd: float) -> np.ndarray:
    """Heavy-tailed factors of rows, columns and heads."""
    rows = rng.lognormal(0, sd, site.num_rows)
    columns = rng.lognormal(0, sd, site.num_columns)
    if site.part in ("q", "k", "v"):
        rows *= np.repeat(rng.lognormal(0, sd, site.num_rows // HEAD), HEAD)
    if site.part == "o":
        columns *= np.repeat(rng.lognormal(0, sd, site.num_columns // HEAD), HEAD)
    return rows[:, None] * columns

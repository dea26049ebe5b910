"""Which directions of each matrix's outputs go, and which random ones instead?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from driftmap.capture.memory import default_budget, plan_passes
from driftmap.capture.stream import run_folds
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.intervene.editing import change_norms, current_weight, of_equal_norm
from driftmap.intervene.regions import module_regions
from driftmap.load.batches import make_batches
from driftmap.measure.covariance import InputCovariance, InputMoments, one_per_input
from driftmap.measure.removal import (
    OutputDirections,
    output_directions,
    without_behaviour,
    without_top,
)
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.ablating.arms import Arm, Change, Treatment
from driftmap.recipes.steps.ablating.files import DIRECTIONS
from driftmap.recipes.steps.bench import Study, pad_id
from driftmap.recipes.steps.data import Encoded
from driftmap.results.ablation import OWN, Ablated
from driftmap.results.table import Cell, Table
from driftmap.store.tables import save_table

GROUP = "directions"


class Directions:
    """Output directions of every matrix on behaviour and on utility, found once.

    Args:
        study: The model.
        data: Encoded samples, behaviour first; utility where it is needed.
        shares: Share of each matrix's directions that is kept of either.
        scoring: Batch size, memory and positions.
    """

    def __init__(
        self,
        study: Study,
        data: Sequence[Encoded],
        shares: Sequence[float],
        scoring: ScoringOptions,
    ) -> None:
        self._study = study
        self._data = data
        self._shares = shares
        self._scoring = scoring
        self._found: list[dict[Site, OutputDirections]] = []
        self._energies: dict[Site, tuple[int, int, float]] = {}

    def of(self, site: Site) -> list[OutputDirections]:
        """Directions on each data set, those that may be asked for."""
        if not self._found:
            self._find()
        return [of_data[site] for of_data in self._found]

    def table(self) -> Table:
        """What was found, one row per matrix."""
        rows: list[Mapping[str, Cell]] = []
        for site in self._study.loaded.layout.sites:
            found = self.of(site)[0]
            rank, count, share = self._energies[site]
            rows.append(
                {
                    "path": site.key,
                    "layer": site.layer,
                    "part": site.part,
                    "most": found.most,
                    "rank": rank,
                    "taken": count,
                    "energy_share": share,
                    "num_tokens": found.num_tokens,
                }
            )
        return Table.from_rows(rows)

    def _find(self) -> None:
        for number, encoded in enumerate(self._data):
            self._found.append(self._of_data(encoded, self._shares[number]))

    def _of_data(self, encoded: Encoded, share: float) -> dict[Site, OutputDirections]:
        loaded, fold = self._study.loaded, InputCovariance()
        watched = one_per_input(loaded.layout.sites)
        batches = make_batches(
            encoded,
            batch_size=self._scoring.score_batch_size,
            pad_id=pad_id(loaded),
            device=loaded.device,
            positions=self._scoring.positions,
        )
        inputs = list(dict.fromkeys(watched.values()))
        budget = default_budget(loaded.model)
        if self._scoring.memory is not None:
            budget = int(self._scoring.memory * 2**30)
        found: dict[Site, OutputDirections] = {}
        for part in plan_passes(inputs, [fold], budget):
            moments = run_folds(
                loaded.model, part, batches, [fold], memory_bytes=budget
            )[0]
            for site, source in watched.items():
                if source in moments:
                    found[site] = self._directions(site, moments[source], share)
        return found

    def _directions(
        self, site: Site, moments: InputMoments, share: float
    ) -> OutputDirections:
        weight = current_weight(self._study.loaded.model, site)
        assert moments.product is not None, "no token was seen"
        whole = output_directions(weight, moments.product, moments.num_tokens)
        count = taken(site, share)
        if site not in self._energies:
            self._energies[site] = (whole.rank, count, whole.energy_share(count))
        if count > whole.rank:
            return whole
        return replace(
            whole,
            vectors=whole.vectors[:, :count].clone(),
            energies=whole.energies[:count].clone(),
        )


def taken(site: Site, share: float) -> int:
    """How many of a matrix's output directions a share is, at least one."""
    return max(1, round(share * min(site.shape)))


def rank_treatment(
    study: Study,
    data: tuple[Sequence[Encoded], Mapping[str, str]],
    options: AblationOptions,
    scoring: ScoringOptions,
) -> tuple[Treatment, Directions]:
    """Directions of the behaviour, with random changes of the same rank and size.

    Args:
        study: Model and seed.
        data: Encoded samples, behaviour first, and their hashes.
        options: How many directions go, and how many are spared.
        scoring: Batch size, memory and positions.
    """
    encoded, sha256 = data
    shares = (options.behaviour_directions, options.utility_directions)
    directions = Directions(study, encoded, shares, scoring)
    ranks = _Ranks(study, directions, options)
    sites = study.loaded.layout.sites
    count = sum(taken(site, shares[0]) for site in sites)
    note = ""
    if options.by == "projection":
        note = (
            f"Of these, what lies in the strongest {100 * shares[1]:g} % of "
            "directions on utility stays."
        )
    about = Ablated(
        name=GROUP,
        unit="directions",
        num_units=count,
        num_weights=study.loaded.identity.num_weights,
        share=count / sum(min(site.shape) for site in sites),
        chosen=f"the strongest {100 * shares[0]:g} % of each matrix's output "
        "directions on the behaviour's samples",
        control="random directions, as many in each matrix, with a change as large "
        "(equal Frobenius norm)",
        note=note,
    )
    arms = [
        Arm(group=GROUP, draw=draw, change=ranks.changes(draw))
        for draw in (OWN, *range(options.controls))
    ]
    inputs = {
        "samples": dict(sha256),
        "shares": list(shares[: len(encoded)]),
        "positions": scoring.positions,
        "seed": study.seed,
    }
    return Treatment(about=about, arms=arms, inputs=inputs), directions


def save_directions(folder: Path, directions: Directions) -> None:
    """Write rank and energy of every matrix."""
    save_table(folder / DIRECTIONS, directions.table())


class _Ranks:
    """What becomes of every matrix at each dose."""

    def __init__(
        self, study: Study, directions: Directions, options: AblationOptions
    ) -> None:
        self._study = study
        self._directions = directions
        self._options = options

    def changes(self, draw: int) -> Callable[[float], Change]:
        """What is done by dose: the behaviour's directions, or random ones."""
        regions = module_regions(self._study.loaded.layout.sites)

        def own(dose: float) -> Change:
            def edit(site: Site, weight: Tensor) -> Tensor:
                return self._without(site, weight, self._count(site, dose))

            return Change(regions=regions, edit=edit)

        def control(dose: float) -> Change:
            def edit(site: Site, weight: Tensor) -> Tensor:
                return self._at_random(site, weight, self._count(site, dose), draw)

            norms = change_norms(self._study.loaded.model, regions, own(dose).edit)
            return Change(regions=regions, edit=of_equal_norm(edit, regions, norms))

        return own if draw == OWN else control

    def _count(self, site: Site, dose: float) -> int:
        return max(1, round(dose * taken(site, self._options.behaviour_directions)))

    def _without(self, site: Site, weight: Tensor, count: int) -> Tensor:
        found = self._directions.of(site)
        if self._options.by == "actsvd":
            return without_top(weight, found[0], count, site.key)
        most = found[0].most
        ranks = most - taken(site, self._options.utility_directions), most - count
        return without_behaviour(weight, found[0], found[1], ranks, site.key)

    def _at_random(self, site: Site, weight: Tensor, count: int, draw: int) -> Tensor:
        seed = child_seed(self._study.seed, "random directions", site.key, draw)
        drawn = np.random.default_rng(seed).standard_normal((site.num_rows, count))
        wide = weight.double()
        basis = torch.linalg.qr(torch.from_numpy(drawn).to(wide.device))[0]
        return wide - basis @ (basis.T @ wide)

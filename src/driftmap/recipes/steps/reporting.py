"""How does a finished run become a report, from its folder alone?"""

from collections.abc import Mapping

from driftmap.recipes.steps.groups.cards import STATISTICS_KIND, group_cards
from driftmap.recipes.steps.groups.files import (
    AGREEMENT_FILE,
    MODEL_FILE,
    MODEL_KIND,
    read_grid,
    read_groups,
    read_overlaps,
)
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.drift_page import drift_page
from driftmap.results.drift_study import DriftStudy
from driftmap.results.freezing import FREEZING_FILE, FREEZING_KIND, Freezing
from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import DriftStatistics
from driftmap.results.table import Table
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def drift_report(run: RunDir) -> Drawing:
    """What the page on a drift study is drawn from."""
    steps = finished_steps(run)
    return Drawing(
        of=tuple(steps.values()), page=lambda: drift_page(read_study(run, steps))
    )


def finished_steps(run: RunDir) -> dict[str, StepOutcome]:
    """Find every step that the report reads, by name, and check its files.

    Raises:
        StoreError: A step is not finished, or one of its files was changed.
    """
    names = ["groups", "drift", "statistics", "behaviour"]
    if flat_settings(load_recipe(run.path).settings).get("freeze"):
        names.append("freeze")
    steps = {name: run.require(name) for name in names}
    tuned = [f"tune-seed-{n}" for n in range(_statistics(steps).num_seeds)]
    return steps | {name: run.require(name) for name in tuned}


def read_study(run: RunDir, steps: Mapping[str, StepOutcome]) -> DriftStudy:
    """Gather all that a finished run says.

    Args:
        run: The run.
        steps: What `finished_steps` found in it.
    """
    groups = steps["groups"]
    identity = load_json(groups.path(MODEL_FILE), MODEL_KIND)
    model = from_plain(ModelIdentity, identity)
    found = _statistics(steps)
    losses = [
        load_table(
            steps[f"tune-seed-{number}"].path(f"tables/losses/seed-{number}.parquet")
        )
        for number in range(found.num_seeds)
    ]
    return DriftStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        model=model,
        groups=group_cards(
            read_groups(groups),
            model.num_weights,
            load_table(groups.path(AGREEMENT_FILE)),
        ),
        overlaps=read_overlaps(groups),
        grid=read_grid(groups),
        drift=load_table(steps["drift"].path("tables/drift.parquet")),
        curves=load_table(steps["drift"].path("tables/curves.parquet")),
        behaviour=load_table(steps["behaviour"].path("tables/behaviour.parquet")),
        losses=Table.joined(losses),
        statistics=found,
        versions=versions_of(run.path),
        freezing=_freezing(steps),
    )


def _freezing(steps: Mapping[str, StepOutcome]) -> Freezing | None:
    if "freeze" not in steps:
        return None
    file = steps["freeze"].path(FREEZING_FILE)
    return from_plain(Freezing, load_json(file, FREEZING_KIND))


def _statistics(steps: Mapping[str, StepOutcome]) -> DriftStatistics:
    file = steps["statistics"].path("statistics.json")
    return from_plain(DriftStatistics, load_json(file, STATISTICS_KIND))

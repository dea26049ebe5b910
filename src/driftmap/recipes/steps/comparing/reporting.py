"""How does a comparison of two models become a report, from its folder alone?"""

from pathlib import Path

from driftmap.recipes.steps.comparing.planning import ComparePlan
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.compare_page import compare_page
from driftmap.results.claims import Claim
from driftmap.results.compare_study import ComparedModels, CompareStudy
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.probes import Probes
from driftmap.stats.compare_verdict import compare_verdict
from driftmap.store.markers import all_finished, find_finished
from driftmap.store.plain import load_json, save_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

MODELS, PROBES = "models", "probes"
MODELS_KIND, PROBES_KIND = "compared-models", "probes"


def models_step(run: RunDir, plan: ComparePlan) -> StepOutcome:
    """Keep which two models they are, for the page."""
    found = ComparedModels(
        base=plan.base,
        tuned=str(plan.run.last),
        made="whole model" if plan.run.is_full else "adapter",
        num_checkpoints=len(plan.run.checkpoints),
    )

    def make(folder: Path) -> None:
        save_json(folder / f"{MODELS}.json", to_plain(found), MODELS_KIND)

    return run.step(MODELS, {"models": to_plain(found)}, make)


def probes_step(run: RunDir, probes: Probes) -> StepOutcome:
    """Keep what both models are asked."""

    def make(folder: Path) -> None:
        save_json(folder / f"{PROBES}.json", to_plain(probes), PROBES_KIND)

    return run.step(PROBES, {"probes": probes.sha256}, make)


def compare_report(run: RunDir) -> Drawing:
    """What the page of a comparison is drawn from: every part that is there."""
    run.require(MODELS)
    of = [step for step in all_finished(run.path) if step.name != "report"]
    return Drawing(of=of, page=lambda: compare_page(read_study(run)))


def read_study(run: RunDir) -> CompareStudy:
    """Gather all that a run says so far."""
    file = run.path / f"{MODELS}.json"
    models = from_plain(ComparedModels, load_json(file, MODELS_KIND), str(file))
    probes = _probes(run)
    claims: tuple[Claim, ...] = ()
    return CompareStudy(
        models=models,
        probes=probes,
        training=None,
        claims=claims,
        verdict=compare_verdict(claims),
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
    )


def _probes(run: RunDir) -> Probes | None:
    if find_finished(run.path, PROBES) is None:
        return None
    file = run.path / f"{PROBES}.json"
    return from_plain(Probes, load_json(file, PROBES_KIND), str(file))

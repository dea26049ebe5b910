"""How does a comparison of two models become a report, from its folder alone?"""

from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from driftmap.recipes.steps.comparing.concluding import concluded
from driftmap.recipes.steps.comparing.planning import ComparePlan
from driftmap.recipes.steps.comparing.taught import TaughtFacts
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.compare_page import compare_page
from driftmap.results.compare_study import ComparedModels, CompareStudy, TaughtCount
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.probes import Probes
from driftmap.store.markers import all_finished
from driftmap.store.plain import load_json, save_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

MODELS, PROBES, TAUGHT = "models", "probes", "taught"
KINDS = {MODELS: "compared-models", PROBES: "probes", TAUGHT: "taught-facts"}

Found = TypeVar("Found")


def models_step(run: RunDir, plan: ComparePlan) -> StepOutcome:
    """Keep which two models they are, for the page."""
    found = ComparedModels(
        base=plan.base,
        tuned=str(plan.run.last),
        made="whole model" if plan.run.is_full else "adapter",
        num_checkpoints=len(plan.run.checkpoints),
    )
    return _kept(run, MODELS, found, {"models": to_plain(found)})


def probes_step(run: RunDir, probes: Probes) -> StepOutcome:
    """Keep what both models are asked."""
    return _kept(run, PROBES, probes, {"probes": probes.sha256})


def taught_step(run: RunDir, found: TaughtFacts, probes: Probes) -> StepOutcome:
    """Keep how many of the facts have another answer since."""
    count = TaughtCount(
        num_taught=len(found.taught),
        num_others=len(found.others),
        are_found=found.are_found,
    )
    return _kept(run, TAUGHT, count, {"of": probes.sha256, **asdict(count)})


def compare_report(run: RunDir) -> Drawing:
    """What the page of a comparison is drawn from: every part that is there."""
    run.require(MODELS)
    of = [step for step in all_finished(run.path) if step.name != "report"]
    return Drawing(of=of, page=lambda: compare_page(read_study(run)))


def read_study(run: RunDir) -> CompareStudy:
    """Gather all that a run says so far."""
    models = _read(run, MODELS, ComparedModels)
    assert models is not None, "it is required before anything is drawn"
    return concluded(
        run,
        models,
        (_read(run, PROBES, Probes), _read(run, TAUGHT, TaughtCount)),
        flat_settings(load_recipe(run.path).settings),
        versions_of(run.path),
    )


def _kept(
    run: RunDir, name: str, found: object, inputs: dict[str, object]
) -> StepOutcome:
    def make(folder: Path) -> None:
        save_json(folder / f"{name}.json", to_plain(found), KINDS[name])

    return run.step(name, inputs, make)


def _read(run: RunDir, name: str, kind: type[Found]) -> Found | None:
    if not run.is_finished(name):
        return None
    file = run.path / f"{name}.json"
    return from_plain(kind, load_json(file, KINDS[name]), str(file))

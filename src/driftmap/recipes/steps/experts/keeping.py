"""What of a tuned model is kept: what its experts were, and one whole model?"""

from pathlib import Path

from driftmap.load.checkpoint import find_folder
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.states import ModelStates
from driftmap.recipes.steps.experts.tuning import TunedArm, model_slices
from driftmap.store.expert_slices import BASE_FILE, load_slices, save_slices
from driftmap.store.whole_models import patched_model
from driftmap.tune.slices import take_experts, take_routers

FINAL = "final_model"


def base_slices_step(bench: ExpertBench, states: ModelStates, arm: TunedArm) -> None:
    """Keep what changed parts were before: `checkpoints/base_slices.safetensors`.

    Args:
        bench: The study.
        states: The model; it is left untouched.
        arm: The tuned model.
    """
    model = bench.study.loaded.model

    def make(folder: Path) -> None:
        states.restore()
        (folder / arm.plan.folder).mkdir(parents=True)
        union = arm.union
        parts = (*take_experts(model, bench.banks, union),) if union else ()
        if not bench.plan.tune.skip_router_training:
            parts = (*parts, *take_routers(model, bench.banks))
        save_slices(folder / arm.plan.folder / BASE_FILE, model_slices(bench, parts))

    inputs = {**bench.inputs, "before": list(arm.keys)}
    bench.study.run.step(f"{arm.plan.name}.base", inputs, make)


def final_model_step(bench: ExpertBench, arm: TunedArm) -> None:
    """Write one whole model that loads like any other: `checkpoints/final_model/`."""
    if bench.plan.kept.no_final_model:
        return
    run = bench.study.run
    last = run.path / arm.plan.folder / f"round_{len(arm.groups)}"

    def make(folder: Path) -> None:
        home = folder / arm.plan.folder
        home.mkdir(parents=True)
        base = find_folder(bench.study.loaded.identity.source)
        with patched_model(base, load_slices(last).tensors, home / FINAL):
            pass

    run.step(f"{arm.plan.name}.model", {"before": list(arm.keys)}, make)

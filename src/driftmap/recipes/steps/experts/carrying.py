"""In which order is a study of experts done, from requests to report?"""

from collections.abc import Mapping
from pathlib import Path

from peft import PeftModel

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.families.experts import find_experts
from driftmap.load.model import LoadedModel
from driftmap.recipes.engine_options import FREE as FREE_ENGINE
from driftmap.recipes.expert_options import FREE, REDOES
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.experts.arms import (
    MethodArm,
    Rounds,
    base_arm,
    full_arm,
    method_arm,
    random_arm,
)
from driftmap.recipes.steps.experts.bench import ExpertBench, ExpertPlan
from driftmap.recipes.steps.experts.checking import checked
from driftmap.recipes.steps.experts.concluding import Measured, conclude
from driftmap.recipes.steps.experts.identifying import Chosen, identify_step
from driftmap.recipes.steps.experts.keeping import base_slices_step, final_model_step
from driftmap.recipes.steps.experts.moving import Moved, moved_step
from driftmap.recipes.steps.experts.reading import ExpertData
from driftmap.recipes.steps.experts.readings import questions_of
from driftmap.recipes.steps.experts.sharing import ExpertSharing
from driftmap.recipes.steps.experts.sides import encode_sides
from driftmap.recipes.steps.experts.sizes import trade_off_points
from driftmap.recipes.steps.experts.states import ModelStates
from driftmap.recipes.steps.experts.tuning import Aligning
from driftmap.recipes.steps.experts.using import use_step
from driftmap.results.expert_readings import ArmValues

KIND = "experts"


def carry_out(
    loaded: LoadedModel,
    data: ExpertData,
    plan: ExpertPlan,
    settings: Mapping[str, object],
    sharing: ExpertSharing | None,
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model.
        data: What was read.
        plan: What is asked.
        settings: The resolved recipe.
        sharing: Where samples are read for the first choice; None for here.

    Returns:
        The report; of a part, the run folder.

    Raises:
        UsageError: There is an adapter, or fewer experts than are asked for.
        FamilyError: The model has no experts, or some that cannot be measured.
    """
    if isinstance(loaded.model, PeftModel):
        raise UsageError(
            "experts are tuned in the model itself, and an adapter lies on top of it; "
            "merge it first, or leave --adapter out"
        )
    banks = find_experts(loaded.model)
    _require_enough(sum(bank.place.num_experts for bank in banks), plan)
    sides = encode_sides(loaded, data, plan.items, plan.identify)
    out = Path(str(settings["out"]))
    with bench.opened(
        loaded, out, settings, KIND, (*FREE, *FREE_ENGINE), REDOES
    ) as study:
        study.run.note_inputs(dict(data.sha256))
        own = ExpertBench(study=study, banks=banks, data=data, sides=sides, plan=plan)
        if sharing and sharing.is_part:
            sharing.make(own)
            return out
        passed = sharing.passed(own) if sharing else None
        first = tuple(
            identify_step(own, method, 1, (), passed)
            for method in plan.identify.methods
        )
        if sharing:
            sharing.finish()
        if plan.identify.identify_only:
            use = use_step(own, first[0])
            return conclude(
                own, Measured(chosen=first, checks=checked(own, first), use=use)
            )
        return _tuned(own, first)


def _tuned(own: ExpertBench, first: tuple[Chosen, ...]) -> Path:
    """Tune by every method, and all that stands beside it."""
    rounds = _rounds(own)
    arms: list[ArmValues] = [base_arm(rounds)]
    checks, use = checked(own, first), use_step(own, first[0])
    methods: list[MethodArm] = []
    moved: list[Moved] = []
    for method in own.plan.identify.methods:
        found = method_arm(rounds, method)
        methods.append(found)
        moved.append(moved_step(own, rounds.states, found.tuned))
        base_slices_step(own, rounds.states, found.tuned)
        final_model_step(own, found.tuned)
        arms.append(found.values)
    for found in methods:
        drawn = random_arm(rounds, found)
        arms += [] if drawn is None else [drawn]
    if own.plan.checks.full_tuning:
        arms.append(full_arm(rounds))
    points = trade_off_points(rounds, methods, arms)
    rounds.states.restore()
    measured = Measured(
        chosen=tuple(one for found in methods for one in found.chosen),
        checks=checks,
        use=use,
        methods=tuple(methods),
        moved=tuple(moved),
        arms=tuple(arms),
        trade_off=points,
    )
    return conclude(own, measured)


def _rounds(own: ExpertBench) -> Rounds:
    """What rounds need beside their experts, read from the untouched model."""
    loaded, plan = own.study.loaded, own.plan
    aligning = None
    if not plan.tune.skip_router_training:
        with phase("read where safe prompts are sent"):
            aligning = Aligning(own)
    questions = questions_of(
        loaded,
        own.sides,
        own.data.harmless,
        plan.checks.max_new_tokens,
        own.read_size,
    )
    states = ModelStates(loaded.model, own.banks)
    return Rounds(bench=own, states=states, aligning=aligning, questions=questions)


def _require_enough(num_experts: int, plan: ExpertPlan) -> None:
    k = plan.identify.top_k_experts
    if plan.identify.selection != "top_p" and k > num_experts:
        raise UsageError(
            f"--top-k-experts is {k}, but the model has {num_experts} experts; give "
            "fewer: about a tenth is a usual choice"
        )

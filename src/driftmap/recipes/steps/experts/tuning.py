"""How does a model go through its rounds: choose, tune, align, keep?

An arm is a model on its way from untouched to tuned. Each of its rounds is a step of
the run: a round that is done is put back from its slices, one that was killed begins
again from where it began, with the same result.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from driftmap.core.errors import MeasureError
from driftmap.core.places import ExpertPlace
from driftmap.core.progress import phase
from driftmap.core.seeds import child_seed
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.states import ModelStates
from driftmap.results.expert_study import TuningRound
from driftmap.results.expert_tuning import (
    KeptSlice,
    ModelSlices,
    RoutingReference,
)
from driftmap.results.expert_views import ArmKind
from driftmap.results.experts import ExpertGroup
from driftmap.results.plain import from_plain
from driftmap.store.expert_slices import (
    EXPERTS_FILE,
    MASTERS_FILE,
    ROUTERS_FILE,
    load_masters,
    load_slices,
    save_masters,
    save_slices,
)
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepOutcome
from driftmap.tune.expert_settings import ExpertTuningSettings, RouterSettings
from driftmap.tune.experts import ExpertTask, tune_experts
from driftmap.tune.masters import KeptMasters
from driftmap.tune.routers import (
    Aligned,
    RouterTask,
    align_routers,
    routing_divergence,
    routing_reference,
)
from driftmap.tune.slices import (
    kept_masters,
    masters_of,
    put_slices,
    take_experts,
    take_routers,
)

ROUND_KIND = "driftmap.expert_round"
ROUND_FILE = "round.json"

ChooseGroup = Callable[[int, Sequence[str]], ExpertGroup]
"""Takes the number of a round and the keys of the rounds before, with the model as they
left it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """One model that is tuned.

    Args:
        name: What tables, steps and folders call it.
        kind: What stands behind its experts.
        method: How they were chosen.
        choose: Gives each round's experts.
        folder: Where its checkpoints go, in the run folder.
    """

    name: str
    kind: ArmKind
    method: str
    choose: ChooseGroup
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedArm:
    """What became of an arm; the model holds it when this is given.

    Args:
        plan: Which arm.
        groups: Experts of each round.
        rounds: What each round did.
        keys: Keys of the steps of its rounds.
    """

    plan: ArmPlan
    groups: tuple[ExpertGroup, ...]
    rounds: tuple[TuningRound, ...]
    keys: tuple[str, ...]

    @property
    def union(self) -> tuple[ExpertPlace, ...]:
        """Experts of any round, in order of first choice."""
        return _union(self.groups)


class Aligning:
    """What routers are aligned to: where the untouched model sent safe prompts."""

    def __init__(self, bench: ExpertBench) -> None:
        """Read it, once; the model must be untouched."""
        tune = bench.plan.tune
        self.task = RouterTask(
            banks=bench.banks,
            scores={},
            safe=bench.sides.safe,
            unsafe=bench.sides.unsafe,
            settings=RouterSettings(
                learning_rate=tune.router_lr,
                epochs=tune.router_epochs_per_round,
                batch_size=tune.batch_size,
                divergence=tune.kl_type,
                positions=tune.router_positions,
                loss=tune.router_loss,
            ),
        )
        self.model = bench.study.loaded.model
        self.reference: RoutingReference = routing_reference(self.model, self.task)

    def nats(self, *, safe: bool = False) -> tuple[float, ...]:
        """How far routing is from the reference now, bank by bank."""
        samples = self.task.safe if safe else self.task.unsafe
        found = routing_divergence(self.model, self.task, self.reference, samples)
        return tuple(found.values())

    def align(self, seed: int, masters: KeptMasters) -> Aligned:
        """Train the routers for a round."""
        model, task, reference = self.model, self.task, self.reference
        return align_routers(model, task, reference, seed, masters)


def tuned_arm(
    bench: ExpertBench, states: ModelStates, plan: ArmPlan, aligning: Aligning | None
) -> TunedArm:
    """Do the rounds of an arm that are not done yet, and leave the model tuned.

    Args:
        bench: The study.
        states: The model, in whatever state.
        plan: Which arm.
        aligning: What routers are aligned to; None where they are left alone.
    """
    states.restore()
    groups: list[ExpertGroup] = []
    rounds: list[TuningRound] = []
    keys: list[str] = []
    folder = bench.study.run.path / plan.folder
    for number in range(1, bench.plan.tune.num_rounds + 1):
        group = plan.choose(number, keys)
        if not (group.experts or aligning):
            raise _nothing_to_tune(plan, number)
        states.remember(group.experts, bench.routers if aligning else ())
        groups.append(group)
        tuning = _Round(
            plan=plan,
            number=number,
            group=group,
            changed=_union(groups),
            aligning=aligning,
        )
        step = _round_step(bench, tuning, keys)
        keys.append(step.key)
        rounds.append(_read_round(folder / f"round_{number}"))
        slices = load_slices(folder / f"round_{number}")
        states.restore()
        put_slices(bench.study.loaded.model, bench.banks, slices)
    return TunedArm(
        plan=plan, groups=tuple(groups), rounds=tuple(rounds), keys=tuple(keys)
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Round:
    plan: ArmPlan
    number: int
    group: ExpertGroup
    changed: tuple[ExpertPlace, ...]
    aligning: "Aligning | None"


def _union(groups: Sequence[ExpertGroup]) -> tuple[ExpertPlace, ...]:
    chosen = [expert for group in groups for expert in group.experts]
    return tuple(dict.fromkeys(chosen))


def _nothing_to_tune(plan: ArmPlan, number: int) -> MeasureError:
    return MeasureError(
        f"{plan.name}, round {number}: no expert can be chosen, since none scores "
        "above 0, and routers are left alone; rank in another way (--identify) or "
        "compare other texts (--texts)"
    )


def _round_step(bench: ExpertBench, tuning: _Round, keys: Sequence[str]) -> StepOutcome:
    """Tune and align for one round unless it is done: `checkpoints/round_N/`."""
    plan, number, group = tuning.plan, tuning.number, tuning.group

    def make(folder: Path) -> None:
        home = folder / plan.folder / f"round_{number}"
        home.mkdir(parents=True)
        before = bench.study.run.path / plan.folder / f"round_{number - 1}"
        masters = masters_of(load_masters(before / MASTERS_FILE))
        with phase(f"{plan.name}, round {number}"):
            done, masters = _tuned(bench, tuning, masters)
        save_json(home / ROUND_FILE, done, ROUND_KIND)
        save_masters(home / MASTERS_FILE, kept_masters(masters))
        _save(bench, home, tuning)

    inputs = {
        **bench.inputs,
        "before": list(keys),
        "experts": [expert.key for expert in group.experts],
        "tune": asdict(bench.plan.tune),
        "aligned": tuning.aligning is not None,
        "round": number,
    }
    return bench.study.run.step(f"{plan.name}.tune.{number}", inputs, make)


def _tuned(
    bench: ExpertBench, tuning: _Round, masters: KeptMasters
) -> tuple[TuningRound, KeptMasters]:
    """Tune the experts, then align the routers; what narrow weights lost is kept."""
    model, tune, aligning = bench.study.loaded.model, bench.plan.tune, tuning.aligning
    seed = child_seed(bench.study.seed, "expert round", tuning.number)
    experts = routers = nats = None
    if not tune.skip_expert_training and tuning.group.experts:
        task = ExpertTask(
            banks=bench.banks,
            experts=tuning.group.experts,
            samples=bench.sides.unsafe,
            settings=expert_settings(bench),
            seed=seed,
            masters=masters,
        )
        tuned = tune_experts(model, task)
        experts, masters = tuned.log, tuned.masters
    if aligning is not None:
        before = _mean(aligning.nats())
        aligned = aligning.align(child_seed(seed, "routers"), masters)
        routers, masters = aligned.log, aligned.masters
        nats = (before, _mean(aligning.nats()))
    done = TuningRound(
        round=tuning.number,
        method=tuning.plan.name,
        experts=experts,
        routers=routers,
        unsafe_nats=nats,
        safe_nats=_mean(aligning.nats(safe=True)) if aligning is not None else None,
    )
    return done, masters


def expert_settings(bench: ExpertBench) -> ExpertTuningSettings:
    """How experts are tuned, whichever they are."""
    tune = bench.plan.tune
    return ExpertTuningSettings(
        learning_rate=tune.expert_lr,
        epochs=tune.expert_epochs_per_round,
        batch_size=tune.batch_size,
        weight_decay=tune.weight_decay,
    )


def model_slices(bench: ExpertBench, slices: Sequence[KeptSlice]) -> ModelSlices:
    """Name the model that slices are of."""
    identity = bench.study.loaded.identity
    return ModelSlices(
        model=identity.source,
        model_sha256=identity.base_sha256,
        slices=tuple(slices),
    )


def _save(bench: ExpertBench, home: Path, tuning: _Round) -> None:
    """Write everything that is not as in the untouched model."""
    model = bench.study.loaded.model
    if tuning.changed:
        taken = take_experts(model, bench.banks, tuning.changed)
        save_slices(home / EXPERTS_FILE, model_slices(bench, taken))
    if tuning.aligning is not None:
        routers = take_routers(model, bench.banks)
        save_slices(home / ROUTERS_FILE, model_slices(bench, routers))


def _read_round(folder: Path) -> TuningRound:
    file = folder / ROUND_FILE
    return from_plain(TuningRound, load_json(file, ROUND_KIND), str(file))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

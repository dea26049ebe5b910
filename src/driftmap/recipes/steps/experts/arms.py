"""Which models stand side by side, and what does each of them do?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from driftmap.core.progress import phase
from driftmap.core.seeds import child_seed
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.identifying import Chosen, identify_step, rule_of
from driftmap.recipes.steps.experts.readings import (
    Questions,
    read_outcomes,
    together,
)
from driftmap.recipes.steps.experts.states import ModelStates
from driftmap.recipes.steps.experts.tuning import (
    Aligning,
    ArmPlan,
    ChooseGroup,
    TunedArm,
    expert_settings,
    tuned_arm,
)
from driftmap.results.expert_readings import ArmValues, PromptValues
from driftmap.results.expert_views import ArmOutcome
from driftmap.results.experts import ExpertGroup, ExpertMap
from driftmap.results.plain import from_plain
from driftmap.stats.experts.nulls import matched_experts
from driftmap.stats.experts.selection import choose as choose_experts
from driftmap.stats.experts.selection import members, places
from driftmap.store.plain import load_json, save_json
from driftmap.tune.experts import tune_whole

READINGS_KIND = "driftmap.outcomes"
BASE, FULL = "base", "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    outcomes: Mapping[ArmOutcome, PromptValues]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounds:
    """How an arm comes to its experts, and what its routers are aligned to.

    Args:
        bench: The study.
        states: The model.
        aligning: What routers are aligned to; None where they are left alone.
        questions: What every model is asked.
    """

    bench: ExpertBench
    states: ModelStates
    aligning: Aligning | None
    questions: Questions

    def read(
        self, name: str, keys: Sequence[str], first: Callable[[], None] | None = None
    ) -> Mapping[ArmOutcome, PromptValues]:
        """Ask the model as it now is, unless it was asked: `outcomes/NAME.json`.

        Args:
            name: Which model.
            keys: Keys of the steps that made it what it is.
            first: What is done to it before, only where it is asked now.
        """
        loaded, run = self.bench.study.loaded, self.bench.study.run

        def make(folder: Path) -> None:
            (folder / "outcomes").mkdir()
            if first is not None:
                first()
            with phase(f"ask {name}"):
                found = _Read(outcomes=read_outcomes(loaded, self.questions))
            save_json(folder / "outcomes" / f"{name}.json", found, READINGS_KIND)

        inputs = {
            **self.bench.inputs,
            "before": list(keys),
            "asked": self.questions.ids,
            "max_new_tokens": self.questions.max_new_tokens,
        }
        step = run.step(f"read.{name}", inputs, make)
        file = step.path(f"outcomes/{name}.json")
        return from_plain(_Read, load_json(file, READINGS_KIND), str(file)).outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodArm:
    """One method: its choices, its tuned model, and what that does.

    Args:
        chosen: Its choice of each round.
        tuned: Its rounds.
        values: What the tuned model does.
    """

    chosen: tuple[Chosen, ...]
    tuned: TunedArm
    values: ArmValues


def base_arm(rounds: Rounds) -> ArmValues:
    """The untouched model."""
    rounds.states.restore()
    return ArmValues(name=BASE, kind="base", outcomes=rounds.read(BASE, ()))


def method_arm(rounds: Rounds, method: str) -> MethodArm:
    """Choose by a method and tune, round by round; the model is left tuned."""
    bench = rounds.bench
    found: list[Chosen] = []

    def choose(number: int, keys: Sequence[str]) -> ExpertGroup:
        if number == 1 or bench.plan.identify.reidentify == "every_round":
            found.append(identify_step(bench, method, number, keys))
        return found[-1].identified.group

    several = len(bench.plan.identify.methods) > 1
    plan = ArmPlan(
        name=method,
        kind="method",
        method=method,
        choose=choose,
        folder=f"{method}/checkpoints" if several else "checkpoints",
    )
    tuned = tuned_arm(bench, rounds.states, plan, rounds.aligning)
    outcomes = rounds.read(method, tuned.keys)
    return MethodArm(
        chosen=tuple(found), tuned=tuned, values=_values(rounds, tuned, [outcomes])
    )


def random_arm(rounds: Rounds, own: MethodArm) -> ArmValues | None:
    """Tune random experts alike, matched to each round's by layer and traffic."""
    draws = rounds.bench.plan.checks.random_groups
    groups = own.tuned.groups
    if not (draws and all(group.experts for group in groups)):
        return None
    method = own.tuned.plan.method
    read, last = [], None
    for draw in range(draws):
        name = f"{method}-random-{draw + 1}"
        choose = _matched(rounds.bench, own, draw)
        last = _drawn_arm(rounds, name, method, choose)
        read.append(rounds.read(name, last.keys))
    assert last is not None
    values = _values(rounds, last, read)
    return ArmValues(
        name=f"{method}, random",
        kind="random",
        method=method,
        num_experts=values.num_experts,
        num_weights=values.num_weights,
        tunes_routers=values.tunes_routers,
        outcomes=values.outcomes,
    )


def sized_arm(rounds: Rounds, own: MethodArm, k: int) -> TunedArm:
    """Tune other numbers of experts of the first ranking; the model is left tuned."""
    identified = own.chosen[0].identified
    group = _first_of(rounds.bench, identified.group, identified.score, k)
    method = own.tuned.plan.method
    name = f"{method}-k{k}"
    return _drawn_arm(rounds, name, method, lambda number, keys: group)


def full_arm(rounds: Rounds) -> ArmValues:
    """Tune every weight alike; the model is given back untouched."""
    bench, states = rounds.bench, rounds.states
    model, checks = bench.study.loaded.model, bench.plan.checks
    settings = expert_settings(bench)
    epochs = settings.epochs * bench.plan.tune.num_rounds
    rate = checks.full_lr or settings.learning_rate
    states.restore()
    whole = replace(settings, learning_rate=rate, epochs=epochs)
    seed = child_seed(bench.study.seed, "full tuning")

    def tuned() -> None:
        tune_whole(model, bench.sides.unsafe, whole, seed)

    with _kept_whole(model):
        values = rounds.read(FULL, (str(sorted(asdict(whole).items())),), tuned)
    num_weights = sum(one.numel() for one in model.parameters())
    return ArmValues(name=FULL, kind="full", num_weights=num_weights, outcomes=values)


@contextmanager
def _kept_whole(model: nn.Module) -> Iterator[None]:
    """Put every weight back in the end."""
    kept = [one.detach().clone() for one in model.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for own, before in zip(model.parameters(), kept, strict=True):
                own.copy_(before)


def _drawn_arm(rounds: Rounds, name: str, method: str, choose: ChooseGroup) -> TunedArm:
    plan = ArmPlan(
        name=name, kind="random", method=method, choose=choose, folder=f"arms/{name}"
    )
    return tuned_arm(rounds.bench, rounds.states, plan, rounds.aligning)


def _matched(bench: ExpertBench, own: MethodArm, draw: int) -> ChooseGroup:
    """Random experts of the same layers and traffic as those of each round."""
    banks = [bank.place for bank in bench.banks]
    sizes = [bank.num_experts for bank in banks]
    tokens = own.chosen[0].identified.routed_tokens
    seed = child_seed(bench.study.seed, "tuned random experts", draw)

    def choose(number: int, keys: Sequence[str]) -> ExpertGroup:
        group = own.tuned.groups[number - 1]
        chosen = places(group.experts, banks)
        drawn = matched_experts(tokens, chosen, seed, 1, sizes).groups[0]
        return ExpertGroup(
            name=f"matched to {group.name}",
            method="random",
            selection=group.selection,
            experts=members(drawn, banks),
            model_sha256=group.model_sha256,
        )

    return choose


def _first_of(
    bench: ExpertBench, group: ExpertGroup, score: ExpertMap, k: int
) -> ExpertGroup:
    """The best k by the same score, whatever the group's own number is."""
    banks = [bank.place for bank in bench.banks]
    rule = replace(rule_of(bench, group.method), k=k, selection="global", p=None)
    chosen = choose_experts(score, rule)
    rows = map(tuple, chosen.tolist())
    return replace(
        group,
        name=f"{group.method}, best {k}",
        experts=members(chosen, banks),
        scores=tuple(float(score[row]) for row in rows),
    )


def _values(
    rounds: Rounds,
    tuned: TunedArm,
    read: Sequence[Mapping[ArmOutcome, PromptValues]],
) -> ArmValues:
    banks = {bank.place.path: bank for bank in rounds.bench.banks}
    union = tuned.union
    moves_experts = not rounds.bench.plan.tune.skip_expert_training
    weights = sum(banks[one.path].num_weights for one in union) if moves_experts else 0
    return ArmValues(
        name=tuned.plan.name,
        kind=tuned.plan.kind,
        method=tuned.plan.method,
        num_experts=len(union) if moves_experts else 0,
        num_weights=weights,
        tunes_routers=rounds.aligning is not None,
        outcomes=together(read),
    )

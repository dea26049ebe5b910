"""How far did tuning move the experts, the routing and what depends on both?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from driftmap.capture.routing import show_routing
from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.core.progress import phase
from driftmap.families.expert_tensors import stored_views
from driftmap.intervene.experts import ModelParts
from driftmap.measure.experts.drift import expert_drift
from driftmap.measure.experts.routing import RoutingKeeper
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.checking import subject_of
from driftmap.recipes.steps.experts.effects import swap_tests
from driftmap.recipes.steps.experts.states import ModelStates
from driftmap.recipes.steps.experts.tuning import TunedArm
from driftmap.recipes.steps.experts.using import domains_now
from driftmap.results.expert_effects import SwapTest
from driftmap.results.expert_usage import ExpertDrift, KeptRouting
from driftmap.results.expert_views import DomainRouting, RoutingMoved
from driftmap.results.samples import EncodedSample
from driftmap.stats.experts.selection import places
from driftmap.stats.experts.usage import routing_drift
from driftmap.store.arrays_apart import load_apart, save_apart

MOVED_KIND = "driftmap.experts_moved"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moved:
    """What one method's tuning moved.

    Args:
        drift: Of every expert's weights.
        routing: Of the routing of unsafe, safe and ordinary text.
        swaps: Whether experts or routers did it; empty where routers were left alone.
        domains: Where kinds of text are sent now; `before` holds it.
    """

    drift: ExpertDrift
    routing: tuple[RoutingMoved, ...]
    swaps: tuple[SwapTest, ...]
    domains: tuple[DomainRouting, ...]


def moved_step(bench: ExpertBench, states: ModelStates, arm: TunedArm) -> Moved:
    """Measure it unless it is done: `moved/METHOD.json`.

    Args:
        bench: The study.
        states: The model; it holds the tuned arm, and is given back with it.
        arm: Which.
    """
    name = arm.plan.name

    def make(folder: Path) -> None:
        (folder / "moved").mkdir()
        with phase(f"what {name} moved"):
            found = _moved(bench, states, arm)
        save_apart(folder / "moved", name, found, MOVED_KIND)

    inputs = {**bench.inputs, "before": list(arm.keys)}
    step = bench.study.run.step(f"{name}.moved", inputs, make)
    return load_apart(step.root / "moved", name, Moved, MOVED_KIND)


def _moved(bench: ExpertBench, states: ModelStates, arm: TunedArm) -> Moved:
    new, old = states.current(), states.untouched
    sides = bench.sides
    texts = {"unsafe": sides.unsafe, "safe": sides.safe, "benign": sides.benign}
    read = {name: some for name, some in texts.items() if some}
    after = {name: _kept(bench, some) for name, some in read.items()}
    with states.holding(old):
        before = {name: _kept(bench, some) for name, some in read.items()}
    routing = tuple(
        RoutingMoved(
            method=arm.plan.method,
            texts=name,
            banks=tuple(
                routing_drift(a, b) for a, b in zip(before[name], kept, strict=True)
            ),
        )
        for name, kept in after.items()
    )
    swaps = ()
    if not bench.plan.tune.skip_router_training:
        swaps = swap_tests(subject_of(bench), old, new, bench.chance)
    return Moved(
        drift=_drift(bench, arm, old),
        routing=routing,
        swaps=swaps,
        domains=domains_now(bench),
    )


def _kept(
    bench: ExpertBench, samples: Sequence[EncodedSample]
) -> tuple[KeptRouting, ...]:
    keeper = RoutingKeeper([bank.place for bank in bench.banks])
    model, batches = bench.study.loaded.model, bench.routed_batches(samples)
    show_routing(model, bench.banks, batches, keeper.take)
    return keeper.result()


def _drift(bench: ExpertBench, arm: TunedArm, old: ModelParts) -> ExpertDrift:
    model = bench.study.loaded.model
    banks = {bank.place.path: bank for bank in bench.banks}

    def now(place: BankPlace, expert: int) -> Mapping[str, Float[Tensor, "..."]]:
        return stored_views(model, banks[place.path], expert)

    def before(place: BankPlace, expert: int) -> Mapping[str, Float[Tensor, "..."]]:
        one = ExpertPlace(path=place.path, layer=place.layer, expert=expert)
        return old.experts[one]

    union = places(arm.union, [bank.place for bank in bench.banks])
    return expert_drift(bench.banks, before, now, union)

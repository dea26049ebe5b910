"""What does a study of experts say in the end, and what is written for others?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.recipes.steps.experts.arms import MethodArm
from driftmap.recipes.steps.experts.bench import ExpertBench
from driftmap.recipes.steps.experts.checking import Checked, laws_of
from driftmap.recipes.steps.experts.identifying import Chosen, kept_arrays, rule_of
from driftmap.recipes.steps.experts.metadata import METADATA_KIND, training_metadata
from driftmap.recipes.steps.experts.moving import Moved
from driftmap.recipes.steps.experts.reporting import (
    FINDINGS,
    FINDINGS_KIND,
)
from driftmap.recipes.steps.experts.scoring import ESTIMATE, sampled_again
from driftmap.recipes.steps.experts.using import Use
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.results.expert_effects import TradeOffPoint
from driftmap.results.expert_evidence import Agreement
from driftmap.results.expert_readings import ArmValues
from driftmap.results.expert_study import (
    ExpertFacts,
    ExpertFindings,
    Identified,
    ItemsKept,
)
from driftmap.results.expert_views import DomainRouting
from driftmap.stats.experts.agreement import Method, agreement
from driftmap.stats.experts.arms import compare_arms
from driftmap.stats.experts.cautions import expert_cautions
from driftmap.stats.experts.verdict import expert_verdict
from driftmap.store.arrays_apart import save_apart
from driftmap.store.expert_tables import save_expert_table
from driftmap.store.plain import save_json


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """All that was measured.

    Args:
        chosen: Each method's choices, method by method, round by round.
        checks: What taking experts away does.
        use: What experts are used for.
        methods: Methods and their tuned models; empty where nothing was tuned.
        moved: What each of them moved.
        arms: Models side by side, the untouched first.
        trade_off: Several numbers of experts side by side.
    """

    chosen: tuple[Chosen, ...]
    checks: Checked
    use: Use
    methods: tuple[MethodArm, ...] = ()
    moved: tuple[Moved, ...] = ()
    arms: tuple[ArmValues, ...] = ()
    trade_off: tuple[TradeOffPoint, ...] = ()


def conclude(bench: ExpertBench, measured: Measured) -> Path:
    """Write findings, metadata and report.

    Returns:
        The report.
    """
    run, plan = bench.study.run, bench.plan
    found = _findings(bench, measured)

    def make(folder: Path) -> None:
        save_apart(folder, FINDINGS, found, FINDINGS_KIND)
        save_expert_table(folder, found)
        for own in measured.methods:
            method = own.tuned.plan.method
            several = len(measured.methods) > 1
            home = folder / method if several else folder
            home.mkdir(exist_ok=True)
            told = training_metadata(
                found, method, plan.identify, plan.tune, plan.items.max_samples
            )
            save_json(home / "training_metadata.json", told, METADATA_KIND)

    inputs = {
        **bench.inputs,
        "of": [one.step.key for one in measured.chosen],
        "tuned": [key for own in measured.methods for key in own.tuned.keys],
        "arms": [arm.name for arm in measured.arms],
        "trade_off": list(plan.checks.trade_off),
        "checks": asdict(plan.checks),
        "show_text": plan.kept.show_text,
    }
    run.step("findings", inputs, make)
    return report_step(run).path(REPORT)


def _findings(bench: ExpertBench, measured: Measured) -> ExpertFindings:
    identified = _by_round(measured)
    facts = _facts(bench)
    items = _items(bench)
    arms, contrasts = (), ()
    if len(measured.arms) > 1:
        arms, contrasts = compare_arms(measured.arms, bench.chance)
    agreed = _agreement(bench, measured)
    swaps = tuple(swap for one in measured.moved for swap in one.swaps)
    effects = replace(
        measured.checks.effects, swaps=swaps, trade_off=measured.trade_off
    )
    cautions = expert_cautions(items, identified, arms, agreed, effects)
    estimate = measured.checks.estimate
    after = measured.moved[0].domains if measured.moved else ()
    return ExpertFindings(
        model=bench.study.loaded.identity,
        facts=facts,
        items=items,
        identified=identified,
        verdict=expert_verdict(facts, identified, arms, contrasts, effects, cautions),
        cautions=cautions,
        agreement=agreed,
        rounds=tuple(one for own in measured.methods for one in own.tuned.rounds),
        arms=arms,
        contrasts=contrasts,
        effects=effects,
        ablation_estimate=None if estimate is None else estimate.change,
        drift={
            own.tuned.plan.method: moved.drift
            for own, moved in zip(measured.methods, measured.moved, strict=True)
        },
        moved=tuple(one for moved in measured.moved for one in moved.routing),
        domains=_with_after(measured.use.domains, after),
        specialised=measured.use.specialised,
        company=measured.use.company,
        vocabulary=measured.use.vocabulary,
        tokens=measured.use.tokens,
    )


def _by_round(measured: Measured) -> tuple[Identified, ...]:
    """Round by round, and in a round method by method."""
    found = [one.identified for one in measured.chosen]
    return tuple(sorted(found, key=lambda one: one.round))


def _with_after(
    before: Sequence[DomainRouting], after: Sequence[DomainRouting]
) -> tuple[DomainRouting, ...]:
    now = {one.name: one.before for one in after}
    return tuple(replace(one, after=now.get(one.name)) for one in before)


def _facts(bench: ExpertBench) -> ExpertFacts:
    model = bench.study.loaded.model
    return ExpertFacts(
        banks=tuple(bank.place for bank in bench.banks),
        scalars=tuple(bank.num_weights for bank in bench.banks),
        num_layers=len(bench.study.loaded.layout.blocks),
        num_parameters=sum(one.numel() for one in model.parameters()),
        num_shared=sum(len(bank.shared) for bank in bench.banks),
        routing_law=_law_in_words(bench),
    )


def _law_in_words(bench: ExpertBench) -> str:
    """How routers choose; several laws where layers differ, nothing where unknown."""
    laws = laws_of(bench)
    if len(laws) < len(bench.banks):
        return ""
    return "; or ".join(dict.fromkeys(law.in_words for law in laws.values()))


def _items(bench: ExpertBench) -> ItemsKept:
    data, sides, plan = bench.data, bench.sides, bench.plan
    return ItemsKept(
        num_read=data.num_read,
        num_judged_out=data.num_judged_out,
        num_dropped=len(sides.dropped),
        num_cut=len(sides.cut),
        num_train=len(sides.unsafe),
        num_held_out=len(sides.asked),
        num_benign=len(sides.benign),
        is_in_sample=data.is_in_sample,
        safe_response=plan.items.safe_response,
        texts=sides.texts,
    )


def _agreement(bench: ExpertBench, measured: Measured) -> Agreement | None:
    """Every ranking of the first round against every other."""
    seed, resamples = bench.study.seed, bench.plan.identify.num_bootstrap
    methods: list[Method] = []
    for one in measured.chosen:
        found = one.identified
        if found.round != 1:
            continue
        rule = rule_of(bench, found.group.method)
        unvisited = found.routed_tokens == 0
        maps = {found.group.statistic: found.score, **found.maps}
        method = found.group.method
        sampled = sampled_again(bench, method, kept_arrays(bench, found))
        methods += [
            Method(
                name=name,
                score=score,
                rule=replace(rule, only_positive=name in ("risk_difference", ESTIMATE)),
                unvisited=unvisited,
                sampled=sampled.get(name),
            )
            for name, score in maps.items()
            if not np.isnan(score).all()
        ]
    estimate = measured.checks.estimate
    known = {method.name for method in methods}
    if estimate is not None and methods and ESTIMATE not in known:
        rule = replace(methods[0].rule, only_positive=True)
        methods.append(Method(name=ESTIMATE, score=estimate.change, rule=rule))
    return agreement(methods, seed, resamples) if len(methods) > 1 else None

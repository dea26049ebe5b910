"""Studies of experts made by hand, for tests of what is said of them."""

from dataclasses import replace
from functools import cache

import numpy as np

from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.results.expert_effects import (
    DoseCurve,
    EstimateCheck,
    ExampleOutcomes,
    ExpertEffect,
    ExpertEffects,
    MatchedNull,
    SwapTest,
    TradeOffPoint,
)
from driftmap.results.expert_evidence import (
    Agreement,
    ExpertIntervals,
    ExpertTests,
    GroupShape,
    HalvesPoint,
    MatchedScores,
    PairAgreement,
    SplitHalves,
)
from driftmap.results.expert_study import (
    ExpertFacts,
    ExpertFindings,
    ExpertStudy,
    ExpertVerdict,
    Identified,
    ItemsKept,
    TuningRound,
)
from driftmap.results.expert_tuning import (
    ExpertStep,
    ExpertTuningLog,
    RouterLog,
    RouterStep,
)
from driftmap.results.expert_usage import (
    CoActivation,
    ExpertDrift,
    RiskDifference,
    RoutingDrift,
    VocabularyUse,
)
from driftmap.results.expert_views import (
    Arm,
    ArmContrast,
    ArmReading,
    DomainRouting,
    RoutingMoved,
    Specialised,
    TokenView,
)
from driftmap.results.experts import ExpertGroup
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution, Interval

HELD_OUT = 40
METHODS = ("gradient", "routing")
STATISTIC = {"gradient": "mean_example_abs", "routing": "risk_difference"}


def around(estimate, half=0.1, num=HELD_OUT):
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, level=0.95,
        num=num,
    )  # fmt: skip


def banks(num_layers=6, num_experts=8, num_chosen=2, dense=(0,)):
    return tuple(
        BankPlace(path=f"model.layers.{n}.mlp.experts", layer=n,
                  num_experts=num_experts, num_chosen=num_chosen)
        for n in range(num_layers)
        if n not in dense
    )  # fmt: skip


def facts(of=None, **changes):
    of = banks() if of is None else of
    made = ExpertFacts(
        banks=of,
        scalars=(12_288,) * len(of),
        num_layers=max(b.layer for b in of) + 1,
        num_parameters=885_696,
        routing_law="softmax over all experts, the 2 best, not renormalised",
    )
    return replace(made, **changes)


def items(**changes):
    made = ItemsKept(
        num_read=160, num_judged_out=12, num_dropped=3, num_cut=1, num_train=96,
        num_held_out=HELD_OUT, num_benign=60, safe_response="own", texts="same",
    )  # fmt: skip
    return replace(made, **changes)


def place(of, row, expert):
    return ExpertPlace(path=of[row].path, layer=of[row].layer, expert=int(expert))


def best(of, score, k):
    """The k highest, and nothing that no token visits."""
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=None, kind="stable")[:k]
    rows, experts = np.unravel_index(order, score.shape)
    return tuple(place(of, r, e) for r, e in zip(rows, experts, strict=True))


def scores(of, seed=0, method="gradient"):
    draw = np.random.default_rng([seed, len(method)])
    shape = (len(of), max(b.num_experts for b in of))
    made = draw.gamma(2.0, 1e-5, shape) * np.linspace(3, 1, len(of))[:, None]
    if method == "routing":
        made = draw.normal(0, 0.03, shape)
        made -= made.mean(axis=1, keepdims=True)
    made[-1, 1] = 0.0
    for row, bank in enumerate(of):
        made[row, bank.num_experts :] = np.nan
    return made


def routed(of, seed=0):
    draw = np.random.default_rng([seed, 5])
    shape = (len(of), max(b.num_experts for b in of))
    made = draw.poisson(40, shape)
    made[-1, 1] = 0
    for row, bank in enumerate(of):
        made[row, bank.num_experts :] = 0
    return made


def intervals(score, k, name):
    spread = np.nan_to_num(np.abs(score)).mean() * 0.25
    rank = (-np.nan_to_num(score, nan=-np.inf)).argsort(axis=None).argsort() + 1.0
    rank = rank.reshape(score.shape)
    return ExpertIntervals(
        name=name, score=score, low=score - spread, high=score + spread,
        rank_low=np.maximum(1, rank - 2), rank_high=rank + 3,
        frequency=1 / (1 + np.exp(np.clip(rank - k - 0.5, -20, 20))),
        jaccard=around(0.6, 0.15, 96),
        level=0.95, num_clusters=96, num_resamples=1000,
    )  # fmt: skip


def halves(name="mean_example_abs"):
    return SplitHalves(
        name=name,
        curve=tuple(
            HalvesPoint(num_clusters=num, num_splits=50, chance=0.09,
                        jaccard=around(value, 0.12, 50),
                        tau=around(value + 0.1, 0.05, 50))
            for num, value in ((24, 0.33), (48, 0.5), (96, 0.71))
        ),
    )  # fmt: skip


def group(of, experts, score, method, number=1, **changes):
    rows = {bank.path: n for n, bank in enumerate(of)}
    made = ExpertGroup(
        name=f"{method} round {number}", method=method, statistic=STATISTIC[method],
        experts=experts, model_sha256="a" * 64,
        scores=tuple(float(score[rows[e.path], e.expert]) for e in experts),
    )  # fmt: skip
    return replace(made, **changes)


def identified(of=None, method="gradient", number=1, k=8):
    of = banks() if of is None else of
    score = scores(of, number, method)
    chosen = best(of, score, k)
    other = score / np.nanmean(np.abs(score), axis=1, keepdims=True)
    normalised = best(of, other, k)
    rows = {bank.path: n for n, bank in enumerate(of)}
    shared = len(set(chosen) & set(normalised))
    count = [sum(e.path == b.path for e in chosen) for b in of]
    share = routed(of, 1) / routed(of, 1).sum(axis=1, keepdims=True)
    risk = scores(of, number, "routing")
    tested = method == "gradient"
    low_p = np.clip(np.random.default_rng(9).uniform(size=score.shape), 0.001, 1)
    return Identified(
        round=number,
        group=group(of, chosen, score, method, number),
        score=score,
        routed_tokens=routed(of),
        intervals=intervals(score, k, STATISTIC[method]),
        halves=halves(STATISTIC[method]),
        shape=GroupShape(
            by_bank=tuple(count),
            normalised=np.array([[rows[e.path], e.expert] for e in normalised]),
            normalised_by_bank=tuple(
                sum(e.path == b.path for e in normalised) for b in of
            ),
            normalised_jaccard=shared / (2 * k - shared),
            chance=0.09,
            tau_traffic=0.48,
        ),
        tests=ExpertTests(
            t=score, p=low_p, p_family=low_p, q=low_p, num_tests=score.size - 1,
            num_draws=999, is_paired=True,
        ) if tested else None,
        risk=RiskDifference(
            unsafe=share + risk / 2, safe=share - risk / 2, difference=risk,
            pool="example",
        ),
        maps={"token_share": share, "gate_share": share}
        | ({"mean_example_norm": score * 1.2} if tested else {}),
        matched=(
            MatchedScores(
                name="risk_difference", seen=0.021, p_value=0.015,
                drawn=tuple(np.linspace(-0.02, 0.02, 200).tolist()),
            ),
        ),
        batch_jaccard=(0.33, 0.29, 0.41) if tested else (),
    )  # fmt: skip


def agreement(of, methods=METHODS):
    names = (*(STATISTIC[m] for m in methods), "ablation_estimate")
    pairs = [
        PairAgreement(
            left=a, right=b, jaccard=around(0.23, 0.1), tau=around(0.31, 0.08),
            shared_by_bank=(1,) * len(of), shared_interval=(), chance=0.09,
            chance_by_bank=(0.4,) * len(of),
        )
        for n, a in enumerate(names)
        for b in names[n + 1 :]
    ]  # fmt: skip
    return Agreement(methods=names, pairs=tuple(pairs))


def tuning(found, number, method="gradient"):
    return TuningRound(
        round=number,
        method=method,
        experts=ExpertTuningLog(
            experts=found.group.experts,
            num_weights=12_288 * len(found.group.experts),
            steps=tuple(
                ExpertStep(step=n + 1, loss_nats=2.0 / number / (n + 1) + 0.1,
                           gradient_norm=1.0, num_tokens=80)
                for n in range(12)
            ),
        ),
        routers=RouterLog(
            routers=tuple(b.path.replace("experts", "gate") for b in banks()),
            steps=tuple(
                RouterStep(step=n + 1, divergence_nats=0.2 / number / (n + 1),
                           gradient_norm=0.3)
                for n in range(12)
            ),
        ),
        unsafe_nats=(0.2 / number, 0.05 / number),
        safe_nats=0.004 * number,
    )  # fmt: skip


def readings(refused, over, nats, *, is_base=False):
    """What one model does, beside an untouched one that refuses nothing."""
    levels = {
        "refused": (refused, 0.0),
        "refusal_log_odds": (refused * 14 - 10, -10.0),
        "plain_refused": (1.0, 1.0),
        "over_refused": (over, 0.05),
        "benign_nats": (nats, 0.7),
    }
    return {
        name: ArmReading(
            value=around(value, 0.06),
            change=None if is_base else around(value - before, 0.04),
            p_value=None if is_base else 0.0004,
        )
        for name, (value, before) in levels.items()
    }


def arms(k=8, gradient=0.95, random=0.12, nats=0.72, over=0.1):
    each = 12_288
    return (
        Arm(name="untouched", kind="base", readings=readings(0.0, 0.05, 0.7,
                                                             is_base=True)),
        Arm(name="gradient", kind="method", method="gradient", num_experts=k + 4,
            num_weights=each * (k + 4), tunes_routers=True,
            readings=readings(gradient, over, nats)),
        Arm(name="routing", kind="method", method="routing", num_experts=k + 6,
            num_weights=each * (k + 6), tunes_routers=True,
            readings=readings(0.55, 0.12, 0.78)),
        Arm(name="matched random", kind="random", method="gradient",
            num_experts=k + 4, num_weights=each * (k + 4), tunes_routers=True,
            num_models=3, readings=readings(random, 0.06, 0.71)),
        Arm(name="all experts", kind="all", num_experts=40, num_weights=each * 40,
            readings=readings(0.99, 0.3, 0.8)),
        Arm(name="full fine-tuning", kind="full", num_experts=40, num_weights=885_696,
            readings=readings(1.0, 0.4, 0.9)),
    )  # fmt: skip


def contrasts(gradient=0.95, random=0.12):
    return (
        ArmContrast(left="gradient", right="matched random", outcome="refused",
                    difference=around(gradient - random, 0.12), p_value=0.0004),
        ArmContrast(left="gradient", right="routing", outcome="refused",
                    difference=around(0.4, 0.14), p_value=0.002),
        ArmContrast(left="gradient", right="full fine-tuning", outcome="benign_nats",
                    difference=around(-0.18, 0.05), p_value=0.01),
    )  # fmt: skip


def effect(experts, change, name="", method="gradient", action="ablate", **more):
    null = MatchedNull(
        changes=tuple(np.linspace(-0.3, 0.3, 20).tolist()),
        num_unmatched=0, num_missing=0,
        p_value=1 / 21 if abs(change) > 0.3 else 0.6,
        difference=around(change, 0.3),
    )  # fmt: skip
    values = {
        "name": name or f"best {len(experts)}", "method": method, "action": action,
        "outcome": "refusal_log_odds", "experts": tuple(experts), "intact": -10.2,
        "change": around(change, 0.25), "null": null,
    }  # fmt: skip
    return ExpertEffect(**values | more)


def dose(chosen, method, slope, action="ablate", outcome="refusal_log_odds"):
    doses = tuple(d for d in (0, 1, 2, 4, 8, 16) if d <= len(chosen))
    return DoseCurve(
        method=method, action=action, outcome=outcome, doses=doses,
        effects=tuple(
            effect(chosen[:d], slope * d**0.7, method=method, action=action,
                   outcome=outcome)
            for d in doses
        ),
    )  # fmt: skip


def swap(outcome="refusal_log_odds", form="weights"):
    return SwapTest(
        form=form, outcome=outcome, both_old=around(-10.2), new_experts=around(1.5),
        new_router=around(-9.6), both_new=around(3.0), experts=around(12.15),
        router=around(1.05), interaction=around(0.9), total=around(13.2),
    )  # fmt: skip


def trade_off():
    points = [
        ("gradient", 2, 0.57, 0.06, 2.01, True),
        ("gradient", 4, 0.86, 0.08, 2.02, True),
        ("gradient", 8, 0.95, 0.1, 2.05, True), ("routing", 4, 0.4, 0.08, 2.05, False),
        ("routing", 8, 0.55, 0.12, 2.18, False), ("random", 8, 0.12, 0.06, 2.03, False),
        ("all", 40, 0.99, 0.3, 2.22, True),
    ]  # fmt: skip
    return tuple(
        TradeOffPoint(
            method=method, k=k, with_router=method != "all", refusal=around(refusal),
            over_refusal=around(over, 0.04), perplexity=perplexity, is_on_front=front,
        )
        for method, k, refusal, over, perplexity, front in points
    )  # fmt: skip


def effects(found, routing=None):
    ids = tuple(f"item-{n}" for n in range(4))
    chosen = found.group.experts
    curves = [dose(chosen, "gradient", -0.6)]
    if routing is not None:
        curves.append(dose(routing.group.experts, "routing", -0.2))
    curves.append(dose(chosen, "random", -0.05))
    return ExpertEffects(
        intact=ExampleOutcomes(unsafe_ids=ids, refusal_log_odds=(-10.0, -11.0, -9.5,
                                                                 -10.3)),
        effects=(
            effect(chosen, -2.4, "gradient round 1"),
            effect(chosen, -1.9, "gradient round 1", action="suppress"),
            effect(chosen[:2], 1.1, "best 2", action="promote"),
            effect(chosen, 0.02, "gradient round 1", outcome="benign_nats"),
            *(effect((e,), -0.9 / (n + 1), e.key) for n, e in enumerate(chosen)),
        ),
        doses=tuple(curves),
        estimate=EstimateCheck(tau=0.78, num_experts=16),
        swaps=(swap(), swap(form="replay"), swap("benign_nats")),
        trade_off=trade_off(),
    )  # fmt: skip


def drift(of, found):
    moved = np.zeros(found[0].score.shape)
    for one in found:
        for expert in one.group.experts:
            row = next(n for n, b in enumerate(of) if b.path == expert.path)
            moved[row, expert.expert] += 0.01 + 0.002 * expert.expert
    return ExpertDrift(
        banks=of, relative=moved, cosine=1 - moved**2 / 2,
        stable_rank={"gate_up_proj": np.where(moved > 0, 3.2, np.nan)},
    )  # fmt: skip


def moved(of, method="gradient"):
    return tuple(
        RoutingMoved(
            method=method,
            texts=texts,
            banks=tuple(
                RoutingDrift(
                    bank=bank, num_tokens=900, divergence_nats=size * (n + 1) / 50,
                    token_kl_nats=size * (n + 1) / 20,
                    saturation=1 - size * (n + 1) / len(of) / 2,
                    chance=bank.num_chosen / bank.num_experts,
                )
                for n, bank in enumerate(of)
            ),
        )
        for texts, size in (("unsafe", 0.6), ("safe", 0.05), ("benign", 0.02))
    )  # fmt: skip


def domains(of):
    names = ("unsafe", "safe", "facts", "numbers")
    made = []
    for seed, name in enumerate(names):
        draw = np.random.default_rng([seed, 3])
        shape = (len(of), max(b.num_experts for b in of))
        before = draw.dirichlet(np.full(shape[1], 2.0), shape[0])
        after = before * np.exp(
            draw.normal(0, 0.4 if name == "unsafe" else 0.03, shape)
        )
        after /= after.sum(axis=1, keepdims=True)
        made.append(
            DomainRouting(name=name, num_tokens=1200, before=before, after=after)
        )
    return tuple(made)


def company(of):
    draw = np.random.default_rng(4)
    size = of[0].num_experts
    both = draw.poisson(20, (size, size))
    both = np.triu(both, 1)
    both = both + both.T
    np.fill_diagonal(both, both.sum(axis=1) // (of[0].num_chosen - 1))
    total = int(np.trace(both)) // of[0].num_chosen
    return (CoActivation(bank=of[0], num_tokens=total, both=both),)


def vocabulary(of):
    return tuple(
        VocabularyUse(
            bank=bank, by=by, ids=np.arange(5), seen=np.full(5, 20),
            favourite=np.arange(5) % bank.num_experts,
            share=np.full(5, level - 0.02 * n), shuffled=0.24, num_rare=30,
        )
        for by, level in (("input", 0.7), ("next", 0.4))
        for n, bank in enumerate(of)
    )  # fmt: skip


def token_view(found, texts=(), sample_id="item-3", num_prompt=14, num_response=9):
    draw = np.random.default_rng(len(sample_id))
    num = num_prompt + num_response
    experts = found.group.experts[:6]
    weights = draw.uniform(0.05, 0.6, (num, len(experts)))
    weights[draw.uniform(size=weights.shape) > 0.35] = 0
    push = draw.gamma(1.0, 1.0, num)
    push[num_prompt:] *= 2
    return TokenView(
        sample_id=sample_id, experts=experts, num_prompt=num_prompt, weights=weights,
        push=push / push.max(), tokens=tuple(texts),
        signed_share=np.where(weights > 0, draw.normal(0.1, 0.1, weights.shape), 0.0),
    )  # fmt: skip


VERDICT = ExpertVerdict(kind="enough", sentence="Tuning only the chosen experts works.")


@cache
def _findings(size, dense, k):
    of = banks(*size, dense=dense)
    found = tuple(
        identified(of, method, number, k)
        for number in (1, 2, 3)
        for method in METHODS
    )  # fmt: skip
    first, routing = found[0], found[1]
    return ExpertFindings(
        model=ModelIdentity(
            source="/models/tiny-olmoe", sha256="a" * 64, base_sha256="a" * 64,
            family="olmoe", dtype="float32", device="cpu", num_weights=885_696,
        ),
        facts=facts(of),
        items=items(),
        identified=found,
        verdict=VERDICT,
        cautions=(
            Caution(name="one-sentence", value=1.0, is_blocking=False,
                    sentence="All wanted answers are one sentence."),
        ),
        agreement=agreement(of),
        rounds=tuple(
            tuning(one, one.round, one.group.method) for one in found
        ),
        arms=arms(k),
        contrasts=contrasts(),
        effects=effects(first, routing),
        ablation_estimate=-first.score * 1e4,
        drift={m: drift(of, [o for o in found if o.group.method == m])
               for m in METHODS},
        moved=moved(of),
        domains=domains(of),
        specialised=Specialised(variation=(0.24,) * len(of), chance=(0.05,) * len(of)),
        company=company(of),
        vocabulary=vocabulary(of),
        tokens=(token_view(first), token_view(first, sample_id="item-11")),
    )  # fmt: skip


def findings(size=(6, 8, 2), dense=(0,), k=8, **changes):
    """A whole run of three rounds, both methods, every check."""
    return replace(_findings(size, dense, k), **changes)


def study(settings=None, **changes):
    return ExpertStudy(
        settings={"model_name": "tiny-olmoe", "num_rounds": 3, "top_k_experts": 8,
                  "quick": False} if settings is None else settings,
        versions={"driftmap": "0", "torch": "2"},
        findings=findings(**changes),
    )  # fmt: skip

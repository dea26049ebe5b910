"""What does `training_metadata.json` say, under the keys of published runs?

Programs written for those runs find what they look for. Every chosen expert is there,
in rank order; published files hold ten of the last batch.
"""

from collections.abc import Mapping, Sequence

from driftmap.recipes.expert_options import ExpertTuningOptions, IdentifyOptions
from driftmap.results.expert_study import ExpertFindings, Identified, TuningRound

METADATA_KIND = "driftmap.training_metadata"


def training_metadata(
    findings: ExpertFindings,
    method: str,
    identify: IdentifyOptions,
    tune: ExpertTuningOptions,
    max_samples: int,
) -> dict[str, object]:
    """Say what one method's tuning did.

    Args:
        findings: All that the run found out.
        method: Which method.
        identify: How experts were chosen.
        tune: How they were tuned.
        max_samples: Items that might be learned from (count).
    """
    chosen = findings.of_method(method)
    rounds = [one for one in findings.rounds if one.method == method]
    aligns = not tune.skip_router_training
    return {
        "model_name": findings.model.source,
        "training_strategy": _strategy(method, tune),
        "num_rounds": tune.num_rounds,
        "top_k_experts": identify.top_k_experts,
        "batch_size": tune.batch_size,
        "expert_lr": None if tune.skip_expert_training else tune.expert_lr,
        "router_lr": tune.router_lr if aligns else None,
        "kl_type": tune.kl_type if aligns else None,
        "skip_router_training": tune.skip_router_training,
        "max_samples": max_samples,
        "training_logs": _logs(rounds, chosen),
        "identified_experts_per_round": {
            str(one.round): _identified(one) for one in chosen
        },
        "counts": {
            "kept": findings.items.num_read - findings.items.num_judged_out,
            "judged_out": findings.items.num_judged_out,
            "cut": findings.items.num_cut,
            "dropped": findings.items.num_dropped,
        },
        "model_sha256": findings.model.sha256,
        "dtype": findings.model.dtype,
        "device": findings.model.device,
    }


def _strategy(method: str, tune: ExpertTuningOptions) -> str:
    """The name that published runs have for such tuning."""
    if tune.skip_expert_training:
        return "router_only"
    if tune.skip_router_training:
        return "expert_only"
    known: Mapping[str, str] = {
        "gradient": "gradient_based_identification",
        "routing": "alternating_optimization",
        "effect": "effect_based_identification",
    }
    return known[method]


def _logs(
    rounds: Sequence[TuningRound], chosen: Sequence[Identified]
) -> list[dict[str, object]]:
    """Mean loss of each phase of each round."""
    sizes = {one.round: len(one.group.experts) for one in chosen}
    logs: list[dict[str, object]] = []
    for one in rounds:
        losses: dict[str, list[float]] = {}
        if one.experts is not None:
            losses["expert"] = [step.loss_nats for step in one.experts.steps]
        if one.routers is not None:
            losses["router"] = [step.divergence_nats for step in one.routers.steps]
        for phase, values in losses.items():
            logs.append(
                {
                    "round": one.round,
                    "step": phase,
                    "loss": sum(values) / max(1, len(values)),
                    "num_identified_experts": sizes.get(one.round, 0),
                }
            )
    return logs


def _identified(one: Identified) -> dict[str, object]:
    names = [[place.layer, place.expert] for place in one.group.experts]
    scores = {
        f"L{layer}_E{expert}": score
        for (layer, expert), score in zip(names, one.group.scores, strict=True)
    }
    return {"experts": names, "gradients": scores}

"""Which words, colours and places do all sections on experts share?"""

from collections.abc import Iterator, Sequence
from math import isfinite, nan

from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.render.charts import Numbers
from driftmap.render.wording import change_of_rate, rate
from driftmap.results.expert_evidence import ExpertCounts
from driftmap.results.expert_study import ExpertFacts, ExpertFindings
from driftmap.results.expert_views import RATES, ArmOutcome
from driftmap.results.experts import ExpertGroup, ExpertMap
from driftmap.results.statistics import Interval

METHODS = {
    "gradient": "gradient score",
    "routing": "routing score",
    "effect": "ablation effect",
    "random": "matched random experts",
    "all": "all experts",
    "full": "all weights",
    "imported": "a list made elsewhere",
}
"""What each way of choosing is called in a sentence."""

ROLES = {
    "gradient": "difference",
    "routing": "matched",
    "effect": "top",
    "random": "random",
    "all": "utility",
    "full": "o",
    "unsafe": "difference",
    "safe": "utility",
    "benign": "matched",
    "chance": "random",
}
"""Whose colour a method or a kind of text has, in every figure."""

OUTCOMES: dict[ArmOutcome, str] = {
    "refused": "held-out attacks refused",
    "refusal_log_odds": "refusal log-odds (nats)",
    "margin": "refusal against unsafe answer (nats per token)",
    "plain_refused": "plain harmful requests refused",
    "over_refused": "harmless requests refused",
    "benign_nats": "loss on ordinary text (nats)",
    "perplexity": "perplexity of ordinary text",
}
"""Titles of outcomes, in the order in which tables have them."""


def method_name(method: str) -> str:
    """What a way of choosing is called."""
    return METHODS.get(method, method)


def role_of(name: str) -> str:
    """Whose colour a name has; its own where it has no other's."""
    return ROLES.get(name, name)


def expert_name(expert: ExpertPlace) -> str:
    """What figures and tables call an expert."""
    return f"layer {expert.layer}, expert {expert.expert}"


def several(num: int, noun: str) -> str:
    """A number and its noun.

    >>> several(1, "expert"), several(1200, "expert")
    ('1 expert', '1,200 experts')
    """
    return f"{num:,} {noun}{'s' * (num != 1)}"


def listed(names: Sequence[str]) -> str:
    """Names as running text.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def level(value: Interval, outcome: ArmOutcome) -> str:
    """An outcome with its interval."""
    if outcome in RATES:
        return rate(value)
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def difference(value: Interval, outcome: ArmOutcome) -> str:
    """A difference of an outcome with its interval."""
    return change_of_rate(value) if outcome in RATES else signed(value)


def signed(value: Interval) -> str:
    """A change with its interval and its sign.

    >>> signed(Interval(estimate=-1.0, low=-1.5, high=0.5, level=0.95, num=9))
    '-1.00 (-1.50 to +0.50)'
    """
    return f"{value.estimate:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def layer_labels(facts: ExpertFacts) -> list[str]:
    """One name per row of a map: layers without experts, and banks, in model order."""
    return [
        str(layer) if bank is None else _bank_name(bank, facts)
        for layer, bank in _rows(facts)
    ]


def bank_labels(facts: ExpertFacts) -> list[str]:
    """One name per bank, as `layer_labels` has it."""
    return [_bank_name(bank, facts) for bank in facts.banks]


def expert_labels(facts: ExpertFacts) -> list[str]:
    """One name per column of a map."""
    return [str(n) for n in range(max(b.num_experts for b in facts.banks))]


def layer_rows(facts: ExpertFacts, numbers: ExpertMap) -> list[Numbers]:
    """A map with one row per layer: those without experts hold nothing."""
    numbers_of = {
        bank.path: _within(row.tolist(), bank)
        for bank, row in zip(facts.banks, numbers, strict=True)
    }
    width = numbers.shape[1]
    return [
        [nan] * width if bank is None else numbers_of[bank.path]
        for _, bank in _rows(facts)
    ]


def tiles_of(
    facts: ExpertFacts, experts: Sequence[ExpertPlace]
) -> list[tuple[int, int]]:
    """Row and column of each expert in a map."""
    row = {bank.path: n for n, (_, bank) in enumerate(_rows(facts)) if bank is not None}
    return [(row[expert.path], expert.expert) for expert in experts]


def idle(facts: ExpertFacts, routed: ExpertCounts) -> list[ExpertPlace]:
    """Experts that no token came to."""
    return [
        ExpertPlace(path=bank.path, layer=bank.layer, expert=number)
        for bank, row in zip(facts.banks, routed.tolist(), strict=True)
        for number in range(bank.num_experts)
        if row[number] == 0
    ]


def jaccard(left: Sequence[ExpertPlace], right: Sequence[ExpertPlace]) -> float:
    """Overlap of two groups: what both have over what either has; 1 for two empty."""
    either = set(left) | set(right)
    return len(set(left) & set(right)) / len(either) if either else 1.0


def main_group(findings: ExpertFindings) -> ExpertGroup:
    """The group that the answer speaks of."""
    return findings.identified[0].group


def _rows(facts: ExpertFacts) -> Iterator[tuple[int, BankPlace | None]]:
    for layer in range(facts.num_layers):
        held = [bank for bank in facts.banks if bank.layer == layer]
        for bank in held or [None]:
            yield layer, bank


def _bank_name(bank: BankPlace, facts: ExpertFacts) -> str:
    alone = sum(other.layer == bank.layer for other in facts.banks) == 1
    return str(bank.layer) if alone else f"{bank.layer} {_tail(bank, facts)}"


def _tail(bank: BankPlace, facts: ExpertFacts) -> str:
    """The words of a path that tell it from the other banks of its layer."""
    others = [b for b in facts.banks if b.layer == bank.layer and b is not bank]
    shared = {word for other in others for word in other.path.split(".")}
    own = [word for word in bank.path.split(".") if word not in shared]
    return ".".join(own) or bank.path


def _within(row: list[float], bank: BankPlace) -> list[float]:
    return [
        float(v) if n < bank.num_experts and isfinite(v) else nan
        for n, v in enumerate(row)
    ]

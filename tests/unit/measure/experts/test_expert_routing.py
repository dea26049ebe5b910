"""Do counts of routed tokens equal those of a loop over tokens?"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.core.places import BankPlace
from driftmap.measure.experts.routing import RoutingFold, RoutingKeeper
from driftmap.signals.experts import RoutingSignal

BANKS = (
    BankPlace(path="b.0", layer=0, num_experts=4, num_chosen=2),
    BankPlace(path="b.1", layer=1, num_experts=6, num_chosen=2),
)
LENGTHS = {0: 5, 1: 3, 2: 6, 3: 1}


def tokens(sample):
    """Ids, experts, weights and logits of a sample's tokens, bank by bank."""
    rng = np.random.default_rng(sample)
    length = LENGTHS[sample]
    ids = rng.integers(0, 9, size=length)
    chosen = [
        np.array([rng.permutation(b.num_experts)[:2] for _ in range(length)])
        for b in BANKS
    ]
    weights = [rng.random((length, 2)) for _ in BANKS]
    logits = [rng.normal(size=(length, b.num_experts)) for b in BANKS]
    return ids, chosen, weights, logits


def seen_at(sample):
    """The places that count: all but the first, or the only one."""
    return range(min(1, LENGTHS[sample] - 1), LENGTHS[sample])


def signals(samples, *, left=False):
    width = max(LENGTHS[n] for n in samples) + 1
    for number, bank in enumerate(BANKS):
        real = torch.zeros(len(samples), width, dtype=torch.bool)
        observed = real.clone()
        ids = torch.full(real.shape, 77)
        chosen = torch.full((*real.shape, 2), 1)
        weights = torch.full((*real.shape, 2), 0.5)
        logits = torch.zeros(*real.shape, bank.num_experts)
        for row, sample in enumerate(samples):
            at = width - LENGTHS[sample] if left else 0
            own = slice(at, at + LENGTHS[sample])
            held = tokens(sample)
            real[row, own] = True
            observed[row, [at + t for t in seen_at(sample)]] = True
            ids[row, own] = torch.from_numpy(held[0])
            chosen[row, own] = torch.from_numpy(held[1][number])
            weights[row, own] = torch.from_numpy(held[2][number]).float()
            logits[row, own] = torch.from_numpy(held[3][number]).float()
        yield RoutingSignal(
            bank=bank, sample_ids=tuple(f"s{n}" for n in samples),
            sample_index=tuple(samples), token_ids=ids, real=real, observed=observed,
            chosen=chosen, weights=weights, logits=logits,
        )  # fmt: skip


def through(made, batches, *, left=False):
    for batch in batches:
        for signal in signals(batch, left=left):
            made.take(signal)
    return made.result()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("batches", [[[0, 1, 2, 3]], [[3, 1], [2, 0]]])
def test_counts_are_those_of_a_loop(batches, left):
    found = through(RoutingFold(BANKS), batches, left=left)
    assert found.sample_ids == ("s0", "s1", "s2", "s3")
    assert found.tokens.tolist() == [len(seen_at(n)) for n in range(4)]
    for sample in range(4):
        for number, bank in enumerate(BANKS):
            count, gate = Counter(), Counter()
            for t in seen_at(sample):
                for expert, weight in zip(
                    tokens(sample)[1][number][t],
                    tokens(sample)[2][number][t],
                    strict=True,
                ):
                    count[int(expert)] += 1
                    gate[int(expert)] += weight
            own = range(bank.num_experts)
            row = found.chosen[sample, number]
            assert row[: len(own)].tolist() == [count[e] for e in own]
            assert not row[len(own) :].any()
            weights = [gate[e] for e in own]
            assert np.allclose(found.gate[sample, number, : len(own)], weights)
    slots = found.tokens * 2
    assert (found.chosen.sum(axis=2) == slots[:, None]).all()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("batches", [[[0, 1, 2, 3]], [[3, 1], [2, 0]]])
def test_every_token_is_kept_in_the_order_of_the_data(batches, left):
    def shares(bank, logits):
        assert logits.shape[1] == bank.num_experts
        return torch.log_softmax(logits, dim=1)

    found = through(RoutingKeeper(BANKS, shares), batches, left=left)
    at = [(n, t) for n in range(4) for t in seen_at(n)]
    for number, kept in enumerate(found):
        assert kept.sample_ids == ("s0", "s1", "s2", "s3")
        assert list(zip(kept.sample, kept.position, strict=True)) == at
        for row, (sample, t) in enumerate(at):
            ids, chosen, weights, logits = tokens(sample)
            after = ids[t + 1] if t + 1 < len(ids) else -1
            assert (kept.token_ids[row], kept.next_ids[row]) == (ids[t], after)
            assert kept.chosen[row].tolist() == chosen[number][t].tolist()
            assert np.allclose(kept.weights[row], weights[number][t])
            p = np.exp(logits[number][t]) / np.exp(logits[number][t]).sum()
            assert np.allclose(kept.log_probabilities[row], np.log(p), atol=1e-5)


def test_probabilities_are_kept_only_on_request():
    assert through(RoutingKeeper(BANKS), [[0]])[0].log_probabilities is None


def test_experts_that_do_nothing_and_repeated_slots_count_once_or_not():
    (signal,) = list(signals([3]))[:1]
    doubled = replace(signal, chosen=torch.full_like(signal.chosen, 2))
    fold = RoutingFold(BANKS[:1])
    fold.take(doubled)
    assert fold.result().chosen[0, 0].tolist() == [0, 0, 1, 0]
    idle = replace(signal, chosen=torch.full_like(signal.chosen, 5))
    fold = RoutingFold(BANKS[:1])
    fold.take(idle)
    assert not fold.result().chosen.any()
    assert not fold.result().gate.any()


def test_what_is_missing_or_double_is_named():
    with pytest.raises(MeasureError, match="no sample came to be counted"):
        RoutingFold(BANKS).result()
    fold = RoutingFold(BANKS)
    first, second = signals([0, 1])
    fold.take(first)
    with pytest.raises(MeasureError, match=r"b\.0: sample 0 came twice"):
        fold.take(first)
    with pytest.raises(MeasureError, match=r"b\.1: 0 samples came, to another bank 2"):
        fold.result()
    empty = replace(second, observed=torch.zeros_like(second.observed))
    with pytest.raises(MeasureError, match=r"no token of \['s0', 's1'\] is observed"):
        RoutingFold(BANKS).take(empty)
    keeper = RoutingKeeper(BANKS, lambda bank, logits: logits)
    with pytest.raises(MeasureError, match=r"b\.0: the model does not tell its router"):
        keeper.take(replace(first, logits=None))

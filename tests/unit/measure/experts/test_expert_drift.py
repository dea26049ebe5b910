"""Is drift of experts what hand and dense algebra give, and 0 where nothing moved?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import made_experts as me
from driftmap.core.errors import MeasureError
from driftmap.measure.experts.drift import expert_drift, stable_rank

BANKS = (me.layout(0, bias=True), me.layout(1, experts=3))
ALL = np.array([(b, e) for b, n in enumerate((4, 3)) for e in range(n)])


def held(seed=0):
    return me.made(BANKS, seed).weights


def moved_slices(moved, of=None):
    before = held()

    def slices(bank, expert):
        own = {
            n: torch.from_numpy(w).clone() for n, w in before[bank.path, expert].items()
        }
        if moved and (bank.layer, expert) == (1, 2):
            own["down"] += torch.outer(torch.arange(5.0), torch.ones(3)).double()
        return own

    return slices


def test_only_what_moved_has_drift():
    found = expert_drift(
        BANKS, moved_slices(moved=False), moved_slices(moved=True), ALL
    )
    assert (found.relative[0] == 0).all()
    assert (found.cosine[0] == 1).all()
    assert found.relative[1, :2].tolist() == [0, 0]
    before = held()["layers.1.experts", 2]
    length = np.sqrt(sum((w**2).sum() for w in before.values()))
    change = np.outer(np.arange(5), np.ones(3))
    assert found.relative[1, 2] == pytest.approx(np.linalg.norm(change) / length)
    after = {**before, "down": before["down"] + change}
    a, b = me.pooled(before), me.pooled(after)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found.cosine[1, 2] == pytest.approx(cosine)
    assert found.stable_rank["down"][1, 2] == pytest.approx(1.0)
    assert np.isnan(found.stable_rank["gate_up"]).all()
    assert np.isnan(found.relative[1, 3])


def test_experts_outside_the_list_are_not_looked_at():
    one = np.array([[1, 2]])
    called = []

    def counted(bank, expert):
        called.append((bank.layer, expert))
        return moved_slices(moved=True)(bank, expert)

    found = expert_drift(BANKS, moved_slices(moved=False), counted, one)
    assert called == [(1, 2)]
    assert (found.relative > 0).sum() == 1


@pytest.mark.parametrize("shape", [(5, 3), (130, 90), (90, 130)])
def test_stable_rank_is_that_of_the_singular_values(shape):
    change = torch.from_numpy(np.random.default_rng(1).normal(size=shape))
    values = np.linalg.svd(change.numpy(), compute_uv=False)
    wanted = (values**2).sum() / values[0] ** 2
    assert stable_rank(change) == pytest.approx(wanted, rel=1e-6)
    assert np.isnan(stable_rank(torch.zeros(shape, dtype=torch.float64)))


def test_half_precision_is_read_as_it_is():
    def slices(factor):
        return lambda bank, expert: {"w": torch.full((2, 2), factor).bfloat16()}

    bank = replace(BANKS[1], tensors=(replace(BANKS[1].tensors[1], name="w"),))
    found = expert_drift((bank,), slices(1.0), slices(1.5), np.array([[0, 0]]))
    assert found.relative[0, 0] == 0.5
    assert found.cosine[0, 0] == pytest.approx(1.0)


def test_what_cannot_be_compared_is_named():
    def slices(values):
        return lambda bank, expert: {"down": torch.tensor(values)}

    bank = replace(BANKS[1], tensors=BANKS[1].tensors[1:])
    one = np.array([[0, 1]])
    with pytest.raises(
        MeasureError, match=r"layers\.1\.experts#expert\.1: its weights"
    ):
        expert_drift((bank,), slices([[0.0]]), slices([[1.0]]), one)
    with pytest.raises(MeasureError, match="differ in name or shape"):
        expert_drift((bank,), slices([[0.0]]), slices([[1.0, 2.0]]), one)
    with pytest.raises(MeasureError, match="`down` holds a number that is not finite"):
        expert_drift((bank,), slices([[0.0]]), slices([[torch.nan]]), one)

"""Are the sites divided into as few passes as the memory allows, and no more?"""

from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from driftmap.capture.memory import default_budget, free_bytes, plan_passes
from driftmap.core import containers, room
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.signals.fold import Fold


class OneByteAWeight(Fold):
    needs_backward = True

    def num_bytes(self, site):
        return site.num_weights

    def start(self, site): ...
    def update(self, state, signal): ...
    def merge(self, left, right): ...
    def result(self, states): ...


def sites(*sizes):
    return [
        Site(path=f"map.{n}", layer=n, part="q", num_rows=1, num_columns=size)
        for n, size in enumerate(sizes)
    ]


def sizes(parts):
    return [[site.num_weights for site in part] for part in parts]


def test_everything_that_fits_is_one_pass():
    assert sizes(plan_passes(sites(3, 4, 5), [OneByteAWeight()], 12)) == [[3, 4, 5]]


def test_folds_share_the_memory():
    folds = [OneByteAWeight(), OneByteAWeight()]
    assert sizes(plan_passes(sites(3, 4, 5), folds, 12)) == [[3], [4], [5]]


def test_neighbours_stay_together_where_that_costs_no_pass():
    assert sizes(plan_passes(sites(4, 4, 4, 4), [OneByteAWeight()], 8)) == [[4, 4]] * 2


def test_others_are_put_together_where_neighbours_need_more_passes():
    found = sizes(plan_passes(sites(6, 6, 4, 4), [OneByteAWeight()], 10))
    assert found == [[6, 4], [6, 4]]


def test_a_site_that_cannot_fit_is_named():
    with pytest.raises(
        MeasureError, match=r"map.1 alone needs 9 B and the budget is 8"
    ):
        plan_passes(sites(3, 9), [OneByteAWeight()], 8)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=20), st.integers(20, 60))
def test_parts_hold_each_site_once_and_fit(wanted, budget):
    asked = sites(*wanted)
    parts = plan_passes(asked, [OneByteAWeight()], budget)
    flat = sorted((s for part in parts for s in part), key=lambda s: s.layer)
    assert flat == asked
    assert all(sum(size) <= budget for size in sizes(parts))
    # A part and any other never fit together, so fewer than twice the bound.
    assert len(parts) <= max(1, 2 * ceil(sum(wanted) / budget) - 1)


def test_budget_is_a_share_of_what_is_free():
    model = nn.Linear(2, 2)
    free = free_bytes(torch.device("cpu"))
    assert free > 1 << 20
    assert default_budget(model, 0.5) == pytest.approx(free / 2, rel=0.2)


def test_a_container_and_a_machine_without_meminfo_have_limits(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(containers, "_ROOT", tmp_path)
    assert free_bytes(torch.device("cpu")) == 600
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(room, "_MEMINFO", tmp_path / "absent")
    assert free_bytes(torch.device("cpu")) > 1 << 20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_free_memory_of_an_accelerator():
    assert 0 < free_bytes(torch.device("cuda")) <= torch.cuda.mem_get_info()[1]

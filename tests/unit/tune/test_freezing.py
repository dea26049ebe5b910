import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from driftmap.core.errors import UsageError
from driftmap.core.places import RowBlocks, Site
from driftmap.tune.freezing import (
    Frozen,
    adapter_entries,
    hold_columns,
    hold_rows,
    hold_weights,
    unmoved,
)
from driftmap.tune.settings import TuningSettings
from driftmap.tune.ways import require_way
from frozen_groups import mask_of, scattered

FIRST, SECOND = (
    Site(path=path, layer=0, part="q", num_rows=6, num_columns=7)
    for path in ("first", "second")
)


class Two(nn.Module):
    """Two maps of one shape, of one weight if they are tied."""

    def __init__(self, *, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(7, 6, bias=False)
        self.second = nn.Linear(7, 6, bias=False)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return self.first(x) + self.second(x).square()


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)


def train(model, optimizer, steps, *, before=lambda: None, after=lambda: None):
    """Steps on random rows, with a look at the gradient and one at the weights."""
    for step in range(steps):
        torch.manual_seed(step)
        model(torch.randn(5, 7)).sum().backward()
        before()
        optimizer.step()
        after()
        optimizer.zero_grad()


def held(holds):
    """What a run does with its holds."""
    return {
        "before": lambda: [hold.mask_gradient() for hold in holds],
        "after": lambda: [hold.put_back() for hold in holds],
    }


def moved(model, members, then):
    """The largest change in the group and outside it."""
    inside = outside = 0.0
    for site, index in members.items():
        change = (model.get_submodule(site.path).weight.detach() - then[site]).abs()
        mask = mask_of(site, index)
        inside = max(inside, change[mask].max().item())
        outside = max(outside, change[~mask].max().item())
    return inside, outside


@pytest.fixture
def group():
    return scattered([FIRST, SECOND])


def start(model):
    return {
        s: model.get_submodule(s.path).weight.detach().clone() for s in (FIRST, SECOND)
    }


def test_a_mask_of_the_gradient_alone_lets_weight_decay_move_the_group(group):
    model, alone = Two(), Two()
    then = start(model)
    holds, masks = hold_weights(model, group), hold_weights(alone, group)
    train(model, adamw(model.parameters()), 40, **held(holds))
    train(alone, adamw(alone.parameters()), 40, before=held(masks)["before"])
    assert moved(alone, group, then)[0] > 0.005
    inside, outside = moved(model, group, then)
    assert inside == 0
    assert outside > 0.1


def test_a_mask_switched_on_late_lets_momentum_move_the_group(group):
    models = Two(), Two()
    ways = []
    for model in models:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
        train(model, optimizer, 10)
        ways.append((optimizer, start(model), hold_weights(model, group)))
    (optimizer, then, holds), (other, _, masks) = ways
    train(models[0], optimizer, 10, **held(holds))
    train(models[1], other, 10, before=held(masks)["before"])
    assert moved(models[1], group, then)[0] > 0.02
    assert moved(models[0], group, then)[0] == 0


def test_every_module_keeps_its_own_weights():
    # What closes over a loop variable would freeze the last module's everywhere.
    members = {FIRST: np.array([0, 8, 20]), SECOND: np.array([5, 41])}
    model = Two()
    then = start(model)
    train(model, adamw(model.parameters()), 5, **held(hold_weights(model, members)))
    for site, index in members.items():
        stays = model.get_submodule(site.path).weight == then[site]
        assert torch.equal(stays.detach(), mask_of(site, index))


@pytest.mark.parametrize("named", [[FIRST], [SECOND], [FIRST, SECOND]])
def test_a_tied_weight_is_held_whichever_of_its_names_the_group_has(named):
    members = scattered(named, seed=3)
    model = Two(tied=True)
    then = model.first.weight.detach().clone()
    holds = hold_weights(model, members)
    train(model, adamw(model.parameters()), 5, **held(holds))
    mask = torch.stack([mask_of(s, index) for s, index in members.items()]).any(0)
    assert len(holds) == 1
    assert torch.equal((model.first.weight == then).detach(), mask)


@pytest.mark.parametrize("named", [FIRST, SECOND])
def test_adapters_of_a_tied_weight_share_its_frozen_entries(named):
    wrapped = adapted(Two(tied=True))
    index = np.array([3, 9])
    found = adapter_entries(wrapped, {named: index})
    assert {path: each.tolist() for path, each in found.items()} == {
        "first": [3, 9],
        "second": [3, 9],
    }


def test_adapters_of_modules_outside_the_group_have_no_frozen_entries():
    found = adapter_entries(adapted(Two()), {SECOND: np.array([3])})
    assert list(found) == ["second"]


def test_fused_and_turned_matrix_is_held_where_it_is_stored():
    # Conv1D stores [in out]; q has rows 0 1 of the map, k rows 2 3.
    q, k = (
        Site(
            path="fused",
            layer=0,
            part=part,
            num_rows=2,
            num_columns=3,
            split=RowBlocks(start=begin, length=2, stride=2, count=1),
            transposed=True,
        )
        for part, begin in (("q", 0), ("k", 2))
    )
    model = nn.Module()
    model.fused = Conv1D(4, 3)
    (hold,) = hold_weights(model, {q: np.array([2]), k: np.array([3])})
    hold.parameter.data.zero_()
    # Row 0 column 2 of q is stored at [2 0]; row 1 column 0 of k at [0 3].
    hold.parameter.data.view(-1)[hold.index] = 1.0
    expected = torch.zeros(3, 4)
    expected[2, 0] = expected[0, 3] = 1
    assert torch.equal(model.fused.weight.detach(), expected)


def adapted(model, *, dora=False):
    config = LoraConfig(
        r=2, target_modules=["first", "second"], use_dora=dora, lora_alpha=4
    )
    return get_peft_model(model, config)


def trained(wrapped):
    return [p for p in wrapped.parameters() if p.requires_grad]


@pytest.mark.parametrize("dora", [False, True])
def test_rows_are_held_whole_and_their_magnitude_with_them(dora):
    members = {FIRST: np.array([0, 8]), SECOND: np.array([41])}
    wrapped = adapted(Two(), dora=dora)
    base = wrapped.get_base_model()
    before = (
        base.first.lora_magnitude_vector["default"].weight.clone() if dora else None
    )
    holds = hold_rows(wrapped, members)
    train(wrapped, adamw(trained(wrapped)), 20, **held(holds))
    for site, rows in ((FIRST, [0, 1]), (SECOND, [5])):
        up = base.get_submodule(site.path).lora_B["default"].weight
        still = (up == 0).all(1)
        assert still.nonzero()[:, 0].tolist() == rows
    if before is not None:
        after = base.first.lora_magnitude_vector["default"].weight
        assert (after == before).nonzero()[:, 0].tolist() == [0, 1]


def test_masking_only_the_gradient_of_dora_lets_the_magnitude_decay():
    wrapped = adapted(Two(), dora=True)
    layer = wrapped.get_base_model().first.lora_magnitude_vector["default"]
    before = layer.weight.detach().clone()
    holds = hold_rows(wrapped, {FIRST: np.array([0])})
    train(wrapped, adamw(trained(wrapped)), 20, before=held(holds)["before"])
    assert (layer.weight.detach() - before)[0].abs() > 0.005


def test_columns_are_0_from_the_start_and_stay_so():
    members = {FIRST: np.array([0, 8]), SECOND: np.array([41])}
    wrapped = adapted(Two())
    base = wrapped.get_base_model()
    holds = hold_columns(wrapped, members)
    for _ in range(2):
        for site, columns in ((FIRST, [0, 1]), (SECOND, [6])):
            down = base.get_submodule(site.path).lora_A["default"].weight
            assert (down == 0).all(0).nonzero()[:, 0].tolist() == columns
        train(wrapped, adamw(trained(wrapped)), 20, **held(holds))


@pytest.mark.parametrize("way", ["element", "rows", "columns", "rewind"])
def test_unmoved_weights_are_those_that_a_loop_finds(way):
    fused = [
        Site(
            path="fused",
            layer=0,
            part=part,
            num_rows=3,
            num_columns=5,
            split=RowBlocks(start=begin, length=3, stride=3, count=1),
        )
        for part, begin in (("q", 0), ("k", 3))
    ]
    tuned, untuned = [*fused, FIRST], SECOND
    members = scattered([*tuned, untuned], share=0.05, seed=1)
    members[fused[1]] = np.array([], dtype=np.int64)
    found = unmoved(Frozen(members=members, way=way), tuned)
    for site in tuned:
        expected = []
        for row, column in np.ndindex(site.shape):
            flat = row * site.num_columns + column
            by_row = row in members[site] // site.num_columns
            sharing = [s for s in tuned if s.path == site.path]
            by_column = any(column in members[s] % s.num_columns for s in sharing)
            if (
                flat in members[site]
                or (way == "rows" and by_row)
                or (way == "columns" and by_column)
            ):
                expected.append(flat)
        assert found.get(site, np.array([])).tolist() == expected
    assert untuned not in found


@pytest.mark.parametrize("way", ["rows", "columns"])
def test_rows_and_columns_need_an_adapter(way):
    with pytest.raises(UsageError, match=f"--freeze-by {way} masks the factors of an"):
        require_way(way, TuningSettings(tune="full"))


@pytest.mark.parametrize("way", ["element", "columns", "rewind"])
def test_dora_takes_whole_rows_alone(way):
    with pytest.raises(UsageError, match=f"{way} does not hold under --dora, which r"):
        require_way(way, TuningSettings(dora=True))
    require_way("rows", TuningSettings(dora=True))

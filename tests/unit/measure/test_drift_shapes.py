"""Every shape that training leaves a change in: LoRA, DoRA, frozen weights, dense."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import RowBlocks, Site
from driftmap.measure.drift import (
    dense_change,
    difference,
    drift_baseline,
    drift_table,
    matrix_moments,
    published_summary,
    weight_change,
)
from driftmap.measure.drift import settled as settled_module
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.signals.changes import (
    DenseChange,
    DoraFactors,
    MaskedFactors,
    cut_magnitude,
)
from driftmap.signals.factors import LoraFactors
from laws.changes import (
    assert_equals_naive,
    naive_change,
    random_changes,
    random_factors,
    random_weight,
)

KINDS = ("lora", "dora", "started", "masked", "dense")
FACTORED = KINDS[:4]
EVERY = np.arange(54)
SITE = Site(path="layers.0.q", layer=0, part="q", num_rows=6, num_columns=9)


def test_golden_dora_by_hand():
    # W = I, V = [[0, 0], [3, 0]] moves row 1 to (3, 1); m = (2, sqrt(10)) stretches
    # row 0 to (2, 0) and leaves row 1 at (3, 1).
    dora = DoraFactors(
        factors=LoraFactors(
            down=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
            up=torch.tensor([[0.0], [1.5]], dtype=torch.float64),
            scale=2.0,
        ),
        magnitude=torch.tensor([2.0, 10**0.5], dtype=torch.float64),
    )
    got = dense_change(dora, weight=torch.eye(2))
    torch.testing.assert_close(got, torch.tensor([[1.0, 0], [3, 0]]).double())
    moments = matrix_moments(torch.eye(2), dora)
    np.testing.assert_allclose(moments.rows.l2, [1, 3])
    np.testing.assert_allclose(moments.columns.l2, [10**0.5, 0], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("block", [1, 20, 2**20])
def test_equals_merged_matrices(kind, dtype, block, monkeypatch):
    monkeypatch.setattr(settled_module, "BLOCK_WEIGHTS", block)
    monkeypatch.setattr(settled_module, "CHUNK_WEIGHTS", 7)
    weight = random_weight().to(dtype)
    assert_equals_naive(random_changes(1)[kind], weight)
    assert_equals_naive(random_changes(1)[kind], weight, random_changes(2)[kind])


@pytest.mark.parametrize("one", ["lora", "dora"])
@pytest.mark.parametrize("other", ["dora", "started", "lora"])
def test_states_of_different_kinds_subtract(one, other):
    weight = random_weight()
    now, then = random_changes(1)[one], random_changes(2)[other]
    assert_equals_naive(now, weight, then)


@given(st.integers(0, 50))
def test_dora_rows_follow_from_the_row_moments_of_its_factors(seed):
    # With n_W, c0, n0 of V: c = (g - 1) n_W + g c0 and
    # n_d = (g - 1)^2 n_W + 2 g (g - 1) c0 + g^2 n0; the cosine does not depend on g.
    weight, dora = random_weight(), random_changes(seed)["dora"]
    plain = matrix_moments(weight, dora.factors).rows
    g = dora.magnitude.numpy() / np.sqrt(plain.after)
    rows = matrix_moments(weight, dora).rows
    cross = (g - 1) * plain.weight + g * plain.cross
    change = (
        (g - 1) ** 2 * plain.weight
        + 2 * g * (g - 1) * plain.cross
        + g**2 * plain.change
    )
    np.testing.assert_allclose(rows.cross, cross, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rows.change, change, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rows.cosine, plain.cosine, rtol=1e-9)


def test_dora_before_training_has_moved_nothing_at_all():
    # A start that somebody rounded to bfloat16 is .2 % of W off its length.
    weight = random_weight()
    start = weight.norm(dim=1).bfloat16().double()
    zero = replace(random_factors(), up=torch.zeros(6, 3, dtype=torch.float64))
    known = DoraFactors(factors=zero, magnitude=start, start=start)
    assert not dense_change(known, weight=weight).any()
    assert not matrix_moments(weight, known).rows.change.any()
    unknown = DoraFactors(factors=zero, magnitude=start)
    assert dense_change(unknown, weight=weight).abs().max() > 1e-4


def test_longer_rows_alone_turn_nothing():
    weight = random_weight()
    zero = replace(random_factors(), up=torch.zeros(6, 3, dtype=torch.float64))
    dora = DoraFactors(factors=zero, magnitude=3 * weight.double().norm(dim=1))
    rows = matrix_moments(weight, dora).rows
    np.testing.assert_allclose(rows.relative, 2, rtol=1e-12)
    np.testing.assert_allclose(rows.cosine, 1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_does_not_drift_from_itself(kind):
    weight, state = random_weight(), random_changes()[kind]
    assert not weight_change(state, state, EVERY, weight).any()
    moments = matrix_moments(weight, state, state)
    for part in (moments.rows, moments.columns):
        assert not part.change.any()
        assert not part.cross.any()
        assert not part.cosine_distance[part.directed].any()


@pytest.mark.parametrize("kind", KINDS)
def test_swapping_states_keeps_distance(kind):
    weight = random_weight()
    now, then = random_changes(1)[kind], random_changes(2)[kind]
    there, back = matrix_moments(weight, now, then), matrix_moments(weight, then, now)
    for unit in ("rows", "columns"):
        a, b = getattr(there, unit), getattr(back, unit)
        np.testing.assert_allclose(a.l2, b.l2, rtol=1e-9)
        np.testing.assert_allclose(a.cosine, b.cosine, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 20))
def test_detours_are_not_shorter(kind, seed):
    weight = random_weight()
    first, middle, last = (random_changes(seed + i)[kind] for i in (0, 100, 200))
    direct, one, two = (
        matrix_moments(weight, now, then).rows.l2
        for now, then in ((last, first), (middle, first), (last, middle))
    )
    assert (direct <= (one + two) * (1 + 1e-12)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_columns_sum_to_the_matrix(kind):
    weight, change = random_weight(), random_changes()[kind]
    moments = matrix_moments(weight, change)
    rows, columns = moments.rows.total(), moments.columns.total()
    whole = naive_change(change, weight)
    np.testing.assert_allclose(rows.change, whole.square().sum(), rtol=1e-9)
    for name in ("weight", "cross", "change"):
        np.testing.assert_allclose(
            getattr(rows, name), getattr(columns, name), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("kind", FACTORED)
def test_gauge_does_not_matter(kind):
    weight, change = random_weight(), random_changes()[kind]
    lora = change if kind == "lora" else change.factors
    other = replace(lora, down=lora.down / 7, up=lora.up * 7)
    same = other if kind == "lora" else replace(change, factors=other)
    torch.testing.assert_close(
        dense_change(same, weight=weight), dense_change(change, weight=weight)
    )


@pytest.mark.parametrize("share", [-0.5, 1e-7, 2.0])
def test_scaling_the_weights_turns_nothing(share):
    weight = random_weight().double()
    moments = matrix_moments(weight, DenseChange(values=share * weight))
    for part in (moments.rows, moments.columns):
        np.testing.assert_allclose(part.relative, abs(share), rtol=1e-9)
        np.testing.assert_allclose(part.cosine, 1, rtol=1e-12)


def test_frozen_weights_are_exactly_zero_and_the_others_untouched():
    weight = random_weight()
    masked = MaskedFactors(
        factors=random_factors(), frozen=np.array([0, *range(9, 18), 53])
    )
    moved = weight_change(masked, None, EVERY).numpy()
    assert not moved[masked.frozen].any()
    free = np.setdiff1d(EVERY, masked.frozen)
    plain = weight_change(masked.factors, None, EVERY).numpy()
    np.testing.assert_array_equal(moved[free], plain[free])
    # A row that is frozen whole has no rest of rounding.
    rows = matrix_moments(weight, masked).rows
    assert rows.change[1] == 0
    assert rows.cross[1] == 0
    none = MaskedFactors(factors=masked.factors, frozen=masked.frozen[:0])
    torch.testing.assert_close(dense_change(none), dense_change(masked.factors))


def test_a_fused_module_gives_every_site_its_own_magnitude():
    split = RowBlocks(start=1, length=2, stride=4, count=2)
    site = Site(
        path="m", layer=0, part="k", num_rows=4, num_columns=3, split=split
    )  # fmt: skip
    lengths = torch.arange(8.0).bfloat16()
    assert cut_magnitude(lengths, site).tolist() == [1, 2, 5, 6]
    assert cut_magnitude(lengths[None], replace(site, split=None)).shape == (8,)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_every_kind_equal_those_of_the_dense_change(kind):
    weight, change = random_weight(), random_changes()[kind]
    dense = DenseChange(values=naive_change(change, weight))
    group = WeightGroup(
        name="top",
        members={SITE: np.array([0, 4, 10, 11, 40, 53])},
        origin=GroupOrigin(model_sha256="m", base_sha256="b", rule="top"),
    )
    baseline = drift_baseline([group], {SITE: weight}.__getitem__)
    one, two = (
        drift_table(baseline, {SITE: c}, step=1, seed=0) for c in (change, dense)
    )
    for name in ("count", "mean", "std", "median", "ratio", "null_mean"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-9, atol=1e-12)
    assert one["mean"][0] > 0
    logs = [published_summary(baseline, {SITE: c}) for c in (change, dense)]
    for metric, of_groups in logs[0].items():
        for name, value in of_groups["top"].items():
            assert value == pytest.approx(logs[1][metric]["top"][name], rel=1e-9)


def test_a_mapping_is_asked_for_one_matrix_after_the_other():
    weight, asked = random_weight(), []
    other = replace(SITE, path="layers.1.q", layer=1)

    class Streamed(dict):
        def __missing__(self, site):
            asked.append(site)
            return DenseChange(values=torch.ones(6, 9, dtype=torch.float64))

        def __contains__(self, site):
            return True

        def get(self, site):
            return self[site]

    group = WeightGroup(
        name="top",
        members={SITE: np.array([3]), other: np.array([3])},
        origin=GroupOrigin(model_sha256="m", base_sha256="b", rule="top"),
    )
    baseline = drift_baseline([group], lambda _: weight)
    drift_table(baseline, Streamed(), step=1, seed=0)
    assert asked == [SITE, other]


def message(call):
    with pytest.raises(MeasureError) as error:
        call()
    return str(error.value)


def test_what_cannot_be_measured_is_refused():
    weight, changes = random_weight(), random_changes()
    dora, masked, dense = changes["dora"], changes["masked"], changes["dense"]
    assert message(lambda: dense_change(dora)) == (
        "adapter: DoRA factors [6, 9] need the matrix that they scale, and got no "
        "matrix; give the adapter's own base"
    )
    assert "got a matrix [5, 9];" in message(
        lambda: dense_change(dora, weight=weight[:5])
    )
    gone = weight.clone()
    gone[2] = 0
    begun = replace(dora, start=gone.double().norm(dim=1))
    assert message(lambda: difference(begun, None, "layers.0.q", gone)) == (
        "layers.0.q: row 2 of W or of W + scale * B @ A is zero, and DoRA has no "
        "direction for it; prune after tuning, or use LoRA"
    )
    odd = replace(dora, magnitude=torch.full((6,), torch.nan, dtype=torch.float64))
    assert message(lambda: dense_change(odd, weight=weight)) == (
        "adapter: the magnitude holds NaN or infinity; did training diverge?"
    )
    broken = DenseChange(values=torch.full((6, 9), torch.inf, dtype=torch.float64))
    assert message(lambda: dense_change(broken)) == (
        "adapter: dW holds NaN or infinity; did training diverge?"
    )
    for frozen in ([-1, 3], [3, 54], [3, 3]):
        wrong = replace(masked, frozen=np.array(frozen))
        assert message(lambda wrong=wrong: dense_change(wrong)) == (
            "adapter: frozen flat indices must ascend from 0 to 53; is the mask of "
            "another model?"
        )
    other = replace(masked, frozen=np.array([1]))
    assert message(lambda: dense_change(masked, other)) == (
        "adapter: factors [6, 3] x [3, 9] with 6 frozen weights do not fit reference "
        "factors [6, 3] x [3, 9] with 1 frozen weights; is the reference the first "
        "step of another run?"
    )
    assert "changes [6, 9] do not fit reference factors" in message(
        lambda: dense_change(dense, changes["lora"])
    )

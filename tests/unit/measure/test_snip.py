"""Is SNIP the mean of per-sample absolute gradients, times the weight?"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure import snip as snip_module
from driftmap.measure.snip import (
    SNIP_BATCH,
    Snip,
    SnipHalves,
    SnipKind,
    add_absolute_products,
)
from driftmap.signals.fold import Fold, LinearCall, SiteSignal
from laws.invariance import assert_close, assert_shards_merge

SITE = Site(path="map", layer=0, part="q", num_rows=5, num_columns=4)


def signal(samples, *, calls=1, tokens=3, first=0, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return SiteSignal(
        site=SITE,
        sample_ids=tuple(f"s{first + n}" for n in range(samples)),
        sample_index=tuple(range(first, first + samples)),
        observed=torch.ones(samples, tokens, dtype=torch.bool),
        calls=tuple(
            LinearCall(
                inputs=torch.randn(samples, tokens, 4, generator=draw).to(dtype),
                output_gradients=torch.randn(samples, tokens, 5, generator=draw).to(
                    dtype
                ),
            )
            for _ in range(calls)
        ),
    )


def weight(site):
    return torch.linspace(-2, 3, site.num_weights).reshape(site.shape)


def scored(*signals, fold=None):
    fold = fold or Snip(weight)
    state = fold.start(SITE)
    for shown in signals:
        state = fold.update(state, shown)
    return fold.result({SITE: state})


def naive(*signals):
    total, count = 0.0, 0
    for shown in signals:
        for n in range(len(shown.sample_ids)):
            total = (
                total
                + sum(
                    call.output_gradients[n].double().T @ call.inputs[n].double()
                    for call in shown.calls
                ).abs()
            )
            count += 1
    return {SITE: weight(SITE).abs() * total / count}


def test_golden_two_samples_by_hand():
    site = Site(path="map", layer=0, part="q", num_rows=1, num_columns=2)
    shown = SiteSignal(
        site=site, sample_ids=("a", "b"), sample_index=(0, 1),
        observed=torch.ones(2, 2, dtype=torch.bool),
        calls=(
            LinearCall(
                inputs=torch.tensor([[[1.0, -5.0], [3.0, 1.0]], [[-1.0, 0.5], [9, 9]]]),
                output_gradients=torch.tensor([[[1.0], [1.0]], [[2.0], [0.0]]]),
            ),
        ),
    )  # fmt: skip
    fold = Snip(lambda site: torch.tensor([[0.5, -2.0]]))
    scores = fold.result({site: fold.update(fold.start(site), shown)})
    # Sample a: (4, -4), sample b: (-2, 1); |W| (.5, 2); halved for two samples.
    assert scores[site].tolist() == [[1.5, 5.0]]


def test_snip_is_a_fold():
    assert isinstance(Snip(weight), Fold)
    assert isinstance(SnipHalves(weight), Fold)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 5), tokens=st.integers(1, 6),
    calls=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_equals_the_definition(samples, tokens, calls, seed):
    shown = signal(samples, tokens=tokens, calls=calls, seed=seed)
    found = scored(shown)
    assert (found[SITE] >= 0).all()
    assert_close(found, naive(shown))


def test_blocks_of_rows_change_nothing(monkeypatch):
    wanted = scored(signal(3))
    monkeypatch.setattr(snip_module, "_WORKSPACE_BYTES", {"cpu": 2 * 4 * 4})
    assert_close(scored(signal(3)), wanted)


def test_rows_of_a_fused_map_are_read_in_place():
    fused = torch.randn(2, 3, 9)
    inputs = torch.randn(2, 3, 4)
    part, whole = torch.zeros(5, 4), torch.zeros(5, 4)
    add_absolute_products(part, fused[..., 2:7], inputs)
    add_absolute_products(whole, fused[..., 2:7].contiguous(), inputs)
    assert torch.allclose(part, whole)


@pytest.mark.parametrize("fold", [Snip, SnipHalves])
def test_shards_merge(fold):
    signals = [signal(2, first=2 * n, seed=n) for n in range(4)]

    def make():
        made = fold(weight)
        if fold is SnipHalves:
            result = made.result
            made.result = lambda states: {
                site: halves.score for site, halves in result(states).items()
            }
        return made

    assert_shards_merge(make, signals)


def test_repeated_sample_doubles_its_term():
    one, other = signal(1, seed=1), signal(1, seed=2, first=1)
    three = scored(one, one, other)[SITE] * 3
    terms = [scored(one)[SITE], scored(other)[SITE]]
    assert_close({SITE: three}, {SITE: 2 * terms[0] + terms[1]})


def test_halves_add_up_and_are_the_even_and_odd_samples():
    shown = [signal(3, seed=1), signal(4, first=3, seed=2)]
    halves = scored(*shown, fold=SnipHalves(weight))[SITE]
    assert_close({SITE: halves.score}, scored(*shown))
    rows = {0: [0, 2], 1: [1, 3]}
    even = [_only(shown[0], rows[0]), _only(shown[1], rows[1])]
    assert_close({SITE: halves.even * 7}, {SITE: scored(*even)[SITE] * 4})


def test_samples_that_never_reach_the_map_count():
    silent = SiteSignal(
        site=SITE, sample_ids=("x", "y"), sample_index=(8, 9),
        observed=torch.ones(2, 3, dtype=torch.bool), calls=(),
    )  # fmt: skip
    assert_close({SITE: scored(signal(2), silent)[SITE] * 2}, scored(signal(2)))
    assert not scored(silent)[SITE].any()


def test_factor_none_leaves_the_weight_out():
    plain = scored(signal(3), fold=Snip(weight, SnipKind(factor="none")))
    assert_close({SITE: plain[SITE] * weight(SITE).abs()}, scored(signal(3)))


def test_factor_difference_takes_the_distance_from_the_base():
    def base(site):
        return weight(site).flip(0) / 2

    kind = SnipKind(factor="difference", base=base)
    plain = scored(signal(3), fold=Snip(weight, SnipKind(factor="none")))[SITE]
    wanted = plain * (weight(SITE) - base(SITE)).abs()
    assert_close(scored(signal(3), fold=Snip(weight, kind)), {SITE: wanted})
    halves = scored(signal(3), fold=SnipHalves(weight, kind))[SITE]
    assert_close({SITE: halves.score}, {SITE: wanted})


def signed(*signals):
    """Mean gradient of every weight, with its sign."""
    products = [
        sum(
            call.output_gradients[n].double().T @ call.inputs[n].double()
            for call in shown.calls
        )
        for shown in signals
        for n in range(len(shown.sample_ids))
    ]
    return sum(products) / len(products)


def test_batch_takes_the_size_of_the_mean_gradient():
    shown = [signal(3, seed=1, calls=2), signal(2, first=3, seed=2)]
    wanted = {SITE: weight(SITE).abs() * signed(*shown).abs()}
    found = scored(*shown, fold=Snip(weight, SNIP_BATCH))
    assert_close(found, wanted)
    assert (found[SITE] <= scored(*shown)[SITE] * (1 + 1e-6)).all()
    assert not torch.allclose(found[SITE], scored(*shown)[SITE])


def test_halves_of_batch_join_with_their_signs():
    shown = [signal(3, seed=1), signal(4, first=3, seed=2)]
    halves = scored(*shown, fold=SnipHalves(weight, SNIP_BATCH))[SITE]
    assert_close({SITE: halves.score}, scored(*shown, fold=Snip(weight, SNIP_BATCH)))
    assert (halves.even < 0).any()
    even = [_only(shown[0], [0, 2]), _only(shown[1], [1, 3])]
    alone = weight(SITE).abs() * signed(*even).abs() * 4 / 7
    assert_close({SITE: halves.alone[0]}, {SITE: alone})


def test_bfloat16_is_multiplied_and_summed_in_float32():
    shown = signal(3, dtype=torch.bfloat16)
    found = scored(shown)
    assert found[SITE].dtype == torch.float32
    assert_close(found, naive(shown))


def test_memory_is_what_the_accumulators_take():
    assert Snip(weight).num_bytes(SITE) == 80
    assert SnipHalves(weight).num_bytes(SITE) == 160


@pytest.mark.parametrize("fold", [Snip, SnipHalves])
def test_no_sample_and_spent_states_are_errors(fold):
    made = fold(weight)
    expected = "map: no sample was scored, or its scores were taken already"
    with pytest.raises(MeasureError, match=expected):
        made.result({SITE: made.start(SITE)})
    state = made.update(made.start(SITE), signal(2))
    made.result({SITE: state})
    with pytest.raises(MeasureError, match=expected):
        made.result({SITE: state})


def test_shapes_are_checked_under_test():
    with pytest.raises(Exception, match="row"):
        add_absolute_products(
            torch.zeros(2, 2), torch.zeros(1, 3, 5), torch.zeros(1, 3, 2)
        )


def _only(shown, rows):
    return SiteSignal(
        site=shown.site,
        sample_ids=tuple(shown.sample_ids[r] for r in rows),
        sample_index=tuple(shown.sample_index[r] for r in rows),
        observed=shown.observed[rows],
        calls=tuple(
            LinearCall(
                inputs=call.inputs[rows], output_gradients=call.output_gradients[rows]
            )
            for call in shown.calls
        ),
    )

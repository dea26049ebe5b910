"""Is Wanda the size of a weight times the size of its inputs at observed tokens?"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.wanda import Wanda, WandaHalves
from driftmap.signals.fold import Fold, LinearCall, SiteSignal
from laws.invariance import assert_close, assert_shards_merge

SITE = Site(path="map", layer=0, part="q", num_rows=5, num_columns=4)


def signal(samples, *, calls=1, tokens=3, first=0, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    observed = torch.rand(samples, tokens, generator=draw) < 0.6
    observed[:, -1] = True
    return SiteSignal(
        site=SITE,
        sample_ids=tuple(f"s{first + n}" for n in range(samples)),
        sample_index=tuple(range(first, first + samples)),
        observed=observed,
        calls=tuple(
            LinearCall(
                inputs=torch.randn(samples, tokens, 4, generator=draw).to(dtype),
                output_gradients=None,
            )
            for _ in range(calls)
        ),
    )


def weight(site):
    return torch.linspace(-2, 3, site.num_weights).reshape(site.shape)


def scored(*signals, fold=None):
    fold = fold or Wanda(weight)
    state = fold.start(SITE)
    for shown in signals:
        state = fold.update(state, shown)
    return fold.result({SITE: state})


def naive(*signals, parity=None):
    """Token by token, in float64."""
    total, count = torch.zeros(4, dtype=torch.float64), 0
    for shown in signals:
        for row, index in enumerate(shown.sample_index):
            if parity is not None and index % 2 != parity:
                continue
            for call in shown.calls:
                for token in range(call.inputs.shape[1]):
                    if shown.observed[row, token]:
                        total += call.inputs[row, token].double() ** 2
                        count += 1
    return {SITE: weight(SITE).abs().double() * (total / count).sqrt()}


def test_golden_by_hand():
    site = Site(path="map", layer=0, part="q", num_rows=1, num_columns=2)
    shown = SiteSignal(
        site=site, sample_ids=("a", "b"), sample_index=(0, 1),
        observed=torch.tensor([[True, False], [True, True]]),
        calls=(
            LinearCall(
                inputs=torch.tensor([[[1.0, 2.0], [99.0, 99.0]], [[5.0, 2.0], [1, 2]]]),
                output_gradients=None,
            ),
        ),
    )  # fmt: skip
    fold = Wanda(lambda site: torch.tensor([[0.5, -2.0]]))
    scores = fold.result({site: fold.update(fold.start(site), shown)})
    # Squares of the three observed tokens: (1 + 25 + 1) / 3 = 9, (4 + 4 + 4) / 3 = 4.
    assert scores[site].tolist() == [[1.5, 4.0]]


def test_wanda_is_a_fold_without_backward():
    for fold in (Wanda(weight), WandaHalves(weight)):
        assert isinstance(fold, Fold)
        assert fold.needs_observed
        assert not fold.needs_backward


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


@pytest.mark.parametrize("fold", [Wanda, WandaHalves])
def test_shards_merge(fold):
    signals = [signal(2, first=2 * n, seed=n) for n in range(4)]

    def make():
        made = fold(weight)
        if fold is WandaHalves:
            result = made.result
            made.result = lambda states: {
                site: halves.score for site, halves in result(states).items()
            }
        return made

    assert_shards_merge(make, signals)


def test_halves_join_by_the_root_of_their_squares():
    shown = [signal(3, seed=1), signal(4, first=3, seed=2)]
    halves = scored(*shown, fold=WandaHalves(weight))[SITE]
    assert_close({SITE: halves.score}, scored(*shown))
    for parity, alone in enumerate(halves.alone):
        wanted = naive(*shown, parity=parity)[SITE]
        share = (alone.double() / wanted)[wanted > 0]
        assert share.std() < 1e-6 < share.mean()


def test_repeated_sample_doubles_its_squares():
    one, other = signal(1, seed=1), signal(1, seed=2, first=1)
    assert_close(scored(one, one), scored(one))
    counts = [int(shown.observed.sum()) for shown in (one, one, other)]
    squares = [
        count * scored(shown)[SITE].double() ** 2
        for count, shown in zip(counts, (one, one, other), strict=True)
    ]
    wanted = (sum(squares) / sum(counts)).sqrt()
    assert_close(scored(one, one, other), {SITE: wanted})


def test_samples_that_never_reach_the_map_do_not_count():
    silent = SiteSignal(
        site=SITE, sample_ids=("x", "y"), sample_index=(8, 9),
        observed=torch.ones(2, 3, dtype=torch.bool), calls=(),
    )  # fmt: skip
    assert_close(scored(signal(2), silent), scored(signal(2)))
    assert not scored(silent)[SITE].any()


def test_bfloat16_is_squared_and_summed_wider():
    shown = signal(3, tokens=60, dtype=torch.bfloat16)
    found = scored(shown)
    assert found[SITE].dtype == torch.float32
    assert_close(found, naive(shown))


def test_memory_is_what_the_sums_take():
    assert Wanda(weight).num_bytes(SITE) == 32
    assert WandaHalves(weight).num_bytes(SITE) == 64


@pytest.mark.parametrize("fold", [Wanda, WandaHalves])
def test_no_sample_is_an_error(fold):
    made = fold(weight)
    with pytest.raises(MeasureError, match="map: no sample was scored"):
        made.result({SITE: made.start(SITE)})

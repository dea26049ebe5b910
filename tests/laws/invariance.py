"""Does a measure depend on the samples alone, not on how they are fed to it?

`measure` takes a list of batches and returns tensors by site; `batched` makes
batches of the samples that the law is about. Tolerances are shares of each
tensor's largest value.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from driftmap.core.places import Site
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold, SiteSignal

Measured = Mapping[Site, Tensor]
Measure = Callable[[Sequence[Batch]], Measured]
Batched = Callable[..., list[Batch]]
Sample = TypeVar("Sample")
State = TypeVar("State")

SAME = 1e-6
ORACLE = 1e-5


def assert_close(found: Measured, wanted: Measured, share: float = SAME) -> None:
    """Fail unless both hold the same sites and equal values within the tolerance."""
    assert list(found) == list(wanted)
    for site, expected in wanted.items():
        assert found[site].shape == expected.shape, site.key
        worst = (found[site].double() - expected.double()).abs().max().item()
        largest = expected.double().abs().max().item()
        assert worst <= share * largest, (
            f"{site.key}: off by {worst:.2e}, largest value {largest:.2e}"
        )


def assert_batch_invariant(
    measure: Measure, batched: Batched, samples: Sequence[Sample]
) -> None:
    """Fail if it matters how many samples share a batch."""
    wanted = measure(batched(samples, 1))
    for size in (2, 3, len(samples)):
        assert_close(measure(batched(samples, size)), wanted)


def assert_padding_invariant(
    measure: Measure, batched: Batched, samples: Sequence[Sample]
) -> None:
    """Fail if the side or amount of padding matters."""
    wanted = measure(batched(samples, 1))
    for side in ("left", "right"):
        for extra in (0, 1, 5):
            found = measure(batched(samples, len(samples), side=side, extra=extra))
            assert_close(found, wanted)


def assert_sample_order_only_relabels(
    measure: Measure, batched: Batched, samples: Sequence[Sample]
) -> None:
    """Fail if the order of samples changes what belongs to all of them."""
    wanted = measure(batched(samples, 2))
    reverse = list(samples)[::-1]
    for order in (reverse, reverse[1:] + reverse[:1]):
        assert_close(measure(batched(order, 2)), wanted)


def assert_shards_merge(
    fold: Callable[[], Fold[State, Measured]],
    signals: Sequence[SiteSignal],
    *,
    share: float = SAME,
) -> None:
    """Fail if a split of one site's signals, merged, differs from one stream."""
    site = signals[0].site
    whole = fold()
    wanted = whole.result({site: _folded(whole, signals)})
    for cut in range(len(signals) + 1):
        parts = fold()
        left = _folded(parts, signals[:cut], site)
        right = _folded(parts, signals[cut:], site)
        assert_close(parts.result({site: parts.merge(left, right)}), wanted, share)


def assert_matches_oracle(
    found: Measured, oracle: Measured, share: float = ORACLE
) -> None:
    """Fail unless the fast way equals the naive one."""
    assert any(bool(torch.any(value != 0)) for value in oracle.values())
    assert_close(found, oracle, share)


def _folded(
    fold: Fold[State, Measured], signals: Sequence[SiteSignal], site: Site | None = None
) -> State:
    state = fold.start(site or signals[0].site)
    for signal in signals:
        state = fold.update(state, signal)
    return state

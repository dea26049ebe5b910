"""Does every rule of selection agree with a plain sort, whatever arrives when?"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site, canonical_order
from driftmap.measure.select import (
    Cut,
    Picker,
    difference,
    drawn,
    lowest,
    matched,
    n_of_m,
    ranked,
    stream,
    top,
)


def site(layer, part, rows, columns):
    return Site(
        path=f"m.{layer}.{part}", layer=layer, part=part, num_rows=rows,
        num_columns=columns,
    )  # fmt: skip


SITES = (
    site(0, "q", 4, 6),
    site(0, "up", 5, 4),
    site(0, "down", 4, 5),
    site(1, "q", 4, 6),
    site(1, "down", 3, 8),
)
PERS = ("matrix", "row", "layer", "global")


def made(seed, num_values, sites=SITES):
    """Few different values make many ties."""
    draw = torch.Generator().manual_seed(seed)
    return {
        one: torch.randint(num_values, one.shape, generator=draw) / num_values
        for one in sites
    }


def sorted_members(scores, share, per, *, at_least=0, ascending=False):
    """Sort what competes with each other by score, matrix, position; take the first."""
    order = sorted(scores, key=canonical_order)
    rows = [
        (score * (1 if ascending else -1), order.index(one), flat, one)
        for one in order
        for flat, score in enumerate(scores[one].flatten().tolist())
    ]
    contests = {}
    for row in rows:
        one, flat = row[3], row[2]
        contest = {
            "matrix": one, "row": (one, flat // one.num_columns),
            "layer": one.layer, "global": 0,
        }[per]  # fmt: skip
        contests.setdefault(contest, []).append(row)
    members = {one: [] for one in scores}
    for contest in contests.values():
        keys, ranks, flats, sites = zip(*contest, strict=True)
        first = np.lexsort((flats, ranks, keys))
        count = max(at_least, int(share * len(contest)))
        for number in first[:count]:
            members[sites[number]].append(flats[number])
    return {one: sorted(found) for one, found in members.items()}


def plain(members):
    return {one: index.tolist() for one, index in members.items()}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    num_values=st.sampled_from([1, 2, 4, 1000]),
    share=st.floats(0, 1),
    per=st.sampled_from(PERS),
    order=st.permutations(SITES),
)
def test_top_and_lowest_equal_a_sort_in_any_order(seed, num_values, share, per, order):
    scores = made(seed, num_values)
    given_as = {one: scores[one] for one in order}
    assert plain(top(given_as, share, per=per)) == sorted_members(
        scores, share, per, at_least=1
    )
    assert plain(lowest(given_as, share, per=per)) == sorted_members(
        scores, share, per, ascending=True
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    num_values=st.sampled_from([1, 3, 10**6]),
    counts=st.lists(st.integers(0, 400), min_size=1, max_size=3),
    order=st.permutations(range(8)),
    chunk=st.sampled_from([7, 64, 1000]),
)
def test_a_stream_of_matrices_equals_one_sort(seed, num_values, counts, order, chunk):
    sites = [site(n, "up", 6, 25) for n in range(8)]
    scores = made(seed, num_values, sites)
    flat = np.concatenate([scores[one].flatten().numpy() for one in sites])
    best = np.lexsort((np.arange(flat.size), -flat))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stream, "_CHUNK", chunk)
        running = stream.RunningTop(sites, counts)
        most = 0
        for number in order:
            running.add(sites[number], scores[sites[number]])
            most = max(most, running._size)
        found = running.members()
    assert most <= max(counts) * 5 // 2
    for cut, count in enumerate(counts):
        wanted = np.sort(best[:count])
        got = [n * 150 + found[one].taken(cut) for n, one in enumerate(sites)]
        assert np.array_equal(np.concatenate(got), wanted)


def test_a_long_stream_keeps_few_candidates_and_lets_the_border_rise():
    sites = [site(n, "up", 100, 100) for n in range(30)]
    scores = made(5, 10**6, sites)
    running = stream.RunningTop(sites, [3000])
    borders = []
    for one in sites:
        running.add(one, scores[one])
        borders.append(running._border)
    assert running._keys.nbytes + running._index.nbytes == 8 * 7500
    assert borders == sorted(borders)
    assert borders[-1] > 0.98
    total = sum(r.taken().size for r in running.members().values())
    assert total == 3000


@pytest.mark.parametrize("per", PERS)
def test_several_cuts_at_once_equal_each_alone(per):
    scores = made(3, 5)
    cuts = [Cut(share=0.3), Cut(share=0.0), Cut(share=0.05, at_least=1), Cut(share=0.9)]
    picker = Picker(SITES, cuts, per=per)
    found = {}
    for one in SITES:
        found |= picker.add(one, scores[one])
    for number, cut in enumerate(cuts):
        alone = sorted_members(scores, cut.share, per, at_least=cut.at_least)
        got = {one: r.taken(number).tolist() for one, r in found.items()}
        assert got == alone


@pytest.mark.parametrize(
    ("per", "counts"),
    [("matrix", [1] * 5), ("row", [1] * 5), ("layer", [0, 0, 3, 0, 2])],
)
def test_matrices_are_handed_out_once_and_as_early_as_they_are_certain(per, counts):
    scores = made(1, 9)
    picker = Picker(SITES, [Cut(share=0.5)], per=per)
    handed = [picker.add(one, scores[one]) for one in SITES]
    assert [len(part) for part in handed] == counts
    assert {one for part in handed for one in part} == set(SITES)
    both = Picker(SITES, [Cut(share=0.5)], per="global")
    assert [len(both.add(one, scores[one])) for one in SITES] == [0, 0, 0, 0, 5]


def test_rows_of_a_large_matrix_are_ranked_block_by_block(monkeypatch):
    monkeypatch.setattr(ranked, "_BLOCK", 60)
    large = site(0, "up", 31, 20)
    scores = made(2, 4, [large])
    assert plain(lowest(scores, 0.35, per="row")) == sorted_members(
        scores, 0.35, "row", ascending=True
    )


def published_row_mask(score, share):
    """Wanda and SNIP: a stable sort of each row, the first int(d_in * s) go."""
    _, order = torch.sort(score, dim=-1, stable=True)
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask.scatter_(1, order[:, : int(score.shape[1] * share)], True)
    return mask


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_lowest_per_row_is_the_published_pruning_mask(share):
    one = site(0, "up", 40, 64)
    score = made(7, 30, [one])[one]
    wanted = published_row_mask(score, share).flatten().nonzero().flatten()
    found = lowest({one: score}, share, per="row")[one]
    assert found.tolist() == wanted.tolist()
    assert found.size == 40 * int(64 * share)


@pytest.mark.parametrize("share", [0.0, 0.013, 0.5])
def test_lowest_per_matrix_is_a_loop_that_always_takes_the_least(share):
    one = site(0, "up", 12, 14)
    score = made(8, 25, [one])[one]
    left = dict(enumerate(score.flatten().tolist()))
    taken = []
    for _ in range(int(168 * share)):
        least = min(left.values())
        taken.append(next(flat for flat, value in left.items() if value == least))
        del left[taken[-1]]
    assert lowest({one: score}, share)[one].tolist() == sorted(taken)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3), (1, 2)])
@pytest.mark.parametrize("num_values", [1, 3, 10**6])
def test_n_of_m_leaves_the_rest_of_every_piece(n, m, num_values):
    one = site(0, "up", 7, 24)
    score = made(9, num_values, [one])[one]
    kept = np.ones(one.shape, dtype=bool)
    for row in range(7):
        for start in range(0, 24, m):
            piece = score[row, start : start + m].numpy()
            for place in np.lexsort((np.arange(m), piece))[:n]:
                kept[row, start + place] = False
    found = n_of_m({one: score}, n, m)[one]
    assert found.tolist() == np.flatnonzero(~kept).tolist()
    assert (kept.reshape(7, -1, m).sum(axis=2) == m - n).all()
    high = n_of_m({one: score}, m - n, m, "highest")[one]
    if num_values > 1000:
        assert np.array_equal(high, np.flatnonzero(kept))


def test_n_of_m_of_a_large_matrix_equals_its_blocks(monkeypatch):
    from driftmap.measure.select import members

    one = site(0, "up", 7, 24)
    scores = made(9, 3, [one])
    whole = n_of_m(scores, 2, 4)[one]
    monkeypatch.setattr(members, "_BLOCK", 5)
    assert np.array_equal(n_of_m(scores, 2, 4)[one], whole)


def test_n_of_m_refuses_what_cannot_be_cut():
    scores = made(0, 5, [site(3, "q", 2, 6)])
    with pytest.raises(
        MeasureError, match=r"^m\.3\.q: 6 columns cannot be cut into pieces of 4; give"
    ):
        n_of_m(scores, 2, 4)
    for n, m in [(0, 2), (2, 2), (3, 2)]:
        with pytest.raises(MeasureError, match=rf"^{n}:{m} is none"):
            n_of_m(scores, n, m)


def test_wanda_per_row_ignores_a_factor_on_a_row_of_the_matrix():
    one = site(0, "up", 6, 32)
    draw = torch.Generator().manual_seed(4)
    weight = torch.randn(6, 32, generator=draw)
    norms = torch.rand(32, generator=draw)
    factor = torch.tensor([1.0, 2.0, 4.0, 0.25, 64.0, 1.0])[:, None]
    plainly = {one: weight.abs() * norms}
    scaled = {one: (factor * weight).abs() * norms}
    for rule in (top, lowest):
        assert plain(rule(plainly, 0.25, per="row")) == plain(
            rule(scaled, 0.25, per="row")
        )
        assert plain(rule(plainly, 0.25)) != plain(rule(scaled, 0.25))


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e-9])
def test_damaged_scores_are_refused_by_every_rule(per, bad):
    scores = made(0, 5)
    scores[SITES[3]][2, 1] = bad
    for rule in (top, lowest):
        with pytest.raises(MeasureError, match=r"^m\.1\.q: a score is negative or not"):
            rule(scores, 0.2, per=per)
    with pytest.raises(MeasureError, match=r"^m\.1\.q: a score is negative or not"):
        n_of_m({SITES[3]: scores[SITES[3]]}, 1, 2)


@pytest.mark.parametrize("per", PERS)
def test_difference_is_set_difference_per_anything(per):
    behaviour, utility = made(1, 6), made(2, 6)
    found = difference(behaviour, utility, p=0.3, q=0.4, per=per)
    of = sorted_members(behaviour, 0.4, per)
    to = sorted_members(utility, 0.3, per)
    assert plain(found) == {one: sorted({*of[one]} - {*to[one]}) for one in SITES}


def test_minus_zero_is_zero():
    one = site(0, "up", 1, 4)
    scores = {one: torch.tensor([[0.0, -0.0, 1.0, 0.0]])}
    assert lowest(scores, 0.5)[one].tolist() == [0, 1]
    assert top(scores, 0.5)[one].tolist() == [0, 2]


def test_half_precision_scores_are_compared_exactly():
    one = site(0, "up", 1, 4)
    scores = {one: torch.tensor([[1.0, 3.0, 2.0, 3.0]], dtype=torch.bfloat16)}
    for per in PERS:
        assert top(scores, 0.25, per=per)[one].tolist() == [1]


def test_matched_draws_the_same_whatever_the_blocks(monkeypatch):
    one = site(0, "up", 40, 50)
    draw = np.random.default_rng(1)
    sizes = np.abs(draw.normal(size=one.shape))
    group = {one: np.sort(draw.choice(2000, 300, replace=False))}
    taken = {one: np.sort(draw.choice(2000, 1500, replace=False))}
    whole = matched(group, lambda _: sizes, [taken], 5)
    monkeypatch.setattr(drawn, "_BLOCK", 64)
    parts = matched(group, lambda _: sizes, [taken], 5)
    assert np.array_equal(whole.members[one], parts.members[one])
    assert whole.shortfalls == parts.shortfalls
    assert 0 < whole.members[one].size < 300  # some bins ran short


def test_matched_draws_every_free_weight_of_a_bin_alike():
    one = site(0, "up", 10, 40)
    sizes = np.repeat(np.arange(4.0), 100)
    group = {one: np.array([0, 1, 350])}
    counts = np.zeros(400)
    for seed in range(800):
        counts[matched(group, lambda _: sizes, [], seed).members[one]] += 1
    assert counts[100:300].sum() == counts[[0, 1, 350]].sum() == 0
    for bin_of, drawn_each, num_free in (
        (slice(2, 100), 2, 98),
        (slice(300, 400), 1, 99),
    ):
        expected = 800 * drawn_each / num_free
        found = counts[bin_of][counts[bin_of] > 0]
        assert found.size == num_free
        assert np.abs(found - expected).max() < 5 * expected**0.5

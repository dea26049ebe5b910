"""Are products of gradients exact, however they are formed and split?"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.measure.products import (
    PairFold,
    Pairs,
    QueryKeeper,
    Workload,
    all_pairs,
    checks,
    ghost,
    kept_bytes,
    pieces,
)
from driftmap.measure.products.checks import require_cosines, require_direction
from driftmap.measure.products.pieces import products_of
from made_gradients import (
    HIDDEN,
    TENSORS,
    batches_of,
    made_samples,
    signals_of,
    true_gradient,
    true_products,
)

WAYS = ("auto", "ghost", "materialise")
WORK = Workload(paired=5, query_tokens=4, original_tokens=4)
QUERIES, ORIGINALS = made_samples(5, seed=1), made_samples(4, seed=2, prefix="o")


def products(queries, originals, *, way="auto", candidates=None, sizes=(3, 2), **how):
    """D, A, B of all made tensors."""
    if candidates is None:
        candidates = all_pairs(len(queries), len(originals))
    tensors = how.get("tensors", TENSORS)
    work = how.pop("work", WORK)
    asked = np.zeros((len(queries), len(tensors)))
    found = np.zeros((len(originals), len(tensors)))
    dot = np.zeros((*candidates.shape, len(tensors)))
    keeper = QueryKeeper(
        tensors=[t.place for t in tensors], energies=asked, workload=work, products=way
    )
    for index in batches_of(len(queries), sizes[0]):
        for signal in signals_of(queries, index, **how):
            keeper.take(signal)
    fold = PairFold(
        keeper=keeper,
        pairs=Pairs(candidates=candidates, num_originals=len(originals)),
        dot=dot,
        energies=found,
        query_ids=tuple(s.id for s in queries),
    )
    for index in batches_of(len(originals), sizes[1]):
        for signal in signals_of(originals, index, **how):
            fold.take(signal)
    return dot, asked, found, keeper


def worst(found, queries, originals, **how):
    """Largest error of D, A and B, as errors of a cosine."""
    dot, asked, energies, _ = found
    errors = []
    for at, tensor in enumerate(TENSORS):
        d, a, b = true_products(queries, originals, tensor, **how)
        errors.append((np.abs(dot[:, :, at] - d) / np.sqrt(np.outer(a, b))).max())
        errors.append(np.abs(asked[:, at] / a - 1).max())
        errors.append(np.abs(energies[:, at] / b - 1).max())
    return max(errors)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 2e-6), (torch.float64, 1e-12)]
)
def test_products_are_those_of_the_gradients_themselves(way, dtype, bound):
    queries = made_samples(7, seed=1, dtype=dtype)
    originals = made_samples(5, seed=2, prefix="o", dtype=dtype)
    how = {"scale": 2.5, "unread": 3}
    found = products(queries, originals, way=way, **how)
    assert worst(found, queries, originals, **how) < bound


@pytest.mark.parametrize("way", WAYS)
def test_only_candidates_are_compared(way):
    queries, originals = made_samples(6, seed=1), made_samples(5, seed=2)
    candidates = np.array([[4, 0], [1, 4], [2, -1], [-1, -1], [0, 3], [3, 4]])
    dot, asked, energies, _ = products(
        queries, originals, way=way, candidates=candidates
    )
    whole = products(queries, originals, way=way)[0]
    named = candidates >= 0
    rows = np.arange(6)[:, None]
    np.testing.assert_allclose(
        dot[named], whole[rows, candidates][named], rtol=1e-4, atol=1e-4
    )
    assert not dot[~named].any()
    assert asked.all()
    assert energies.all()


@pytest.mark.parametrize("way", WAYS)
def test_a_sample_with_itself_has_cosine_one_and_pairs_are_symmetric(way):
    samples = made_samples(6, seed=3)
    dot, asked, energies, _ = products(samples, samples, way=way, sizes=(4, 3))
    np.testing.assert_allclose(asked, energies, rtol=2e-6)
    itself = np.einsum("iit->it", dot) / np.sqrt(asked * energies)
    np.testing.assert_allclose(itself, 1, atol=2e-6)
    norms = np.sqrt(asked[:, None] * energies[None])
    turned = dot.transpose(1, 0, 2)
    np.testing.assert_allclose(dot / norms, turned / norms, atol=4e-6)
    assert (dot**2 <= norms**2 * (1 + 1e-5)).all()


@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    extra=st.integers(0, 3),
    way=st.sampled_from(WAYS),
)
@settings(max_examples=4)
def test_batches_and_padding_change_nothing(sizes, extra, way):
    wanted = products(QUERIES, ORIGINALS)
    found = products(QUERIES, ORIGINALS, way=way, sizes=sizes, extra=extra)
    assert_alike(found, wanted)


def test_order_only_relabels():
    forth, back = np.array([3, 0, 2, 1, 4]), np.array([2, 1, 0, 3])
    dot, asked, energies, _ = products(QUERIES, ORIGINALS)
    turned = products(
        [QUERIES[i] for i in forth], [ORIGINALS[i] for i in back], sizes=(2, 3)
    )
    wanted = dot[forth][:, back], asked[forth], energies[back], None
    assert_alike(turned, wanted)


@pytest.mark.parametrize("way", WAYS)
def test_products_add_up_over_samples(way):
    """`<g(q), g(o1) + g(o2)> = D1 + D2`, where a sample of both is their sum."""
    first, second = made_samples(2, seed=5)
    both = joined(first, second)
    tensors = tuple(t for t in TENSORS if t.kind != "table")
    found = products(QUERIES, [first, second, both], way=way, tensors=tensors)
    dot, asked, energies, _ = found
    norms = np.sqrt(asked[:, None] * energies.max(axis=0)[None, None])[:, 0]
    np.testing.assert_allclose(
        (dot[:, 0] + dot[:, 1]) / norms, dot[:, 2] / norms, atol=5e-6
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_loss_times_c_gives_c_times_the_product_and_the_same_cosine(way):
    times = [scaled(sample, 8.0) for sample in ORIGINALS]
    dot, asked, energies, _ = products(QUERIES, ORIGINALS, way=way)
    more = products(QUERIES, times, way=way)
    np.testing.assert_array_equal(more[0], 8 * dot)
    np.testing.assert_array_equal(more[1], asked)
    np.testing.assert_array_equal(more[2], 64 * energies)


@pytest.mark.parametrize("way", WAYS)
def test_a_duplicate_is_an_equal_row(way):
    twice = [*ORIGINALS, ORIGINALS[1]]
    dot, _, energies, _ = products(QUERIES, twice, way=way, sizes=(3, 5))
    np.testing.assert_allclose(energies[1], energies[-1], rtol=2e-6)
    np.testing.assert_allclose(dot[:, 1], dot[:, -1], rtol=1e-4, atol=1e-4)


def test_tensors_that_share_inputs_make_their_products_once(monkeypatch):
    made = []
    gram = ghost._gram

    def counted(left, right):
        made.append(left.shape[-1])
        return gram(left, right)

    monkeypatch.setattr(ghost, "_gram", counted)
    tensors = tuple(t for t in TENSORS if t.name in "qk")
    products(QUERIES, ORIGINALS, way="ghost", tensors=tensors, sizes=(5, 4))
    inputs = made.count(HIDDEN)
    assert inputs == len(QUERIES) + 1 + len(ORIGINALS)


def test_the_cheaper_way_is_taken_and_told():
    keeper = products(QUERIES, ORIGINALS)[3]
    assert keeper.forms == {
        "tied": "materialise", "positions": "ghost", "q": "materialise",
        "k": "materialise", "twice": "materialise", "norm": "materialise",
    }  # fmt: skip
    small = Workload(paired=1, query_tokens=2, original_tokens=2)
    keeper = products(QUERIES, ORIGINALS, work=small)[3]
    assert [n for n, form in keeper.forms.items() if form == "ghost"] == [
        "tied", "positions", "q", "k", "twice",
    ]  # fmt: skip


def test_memory_is_that_of_what_is_kept():
    keeper = products(QUERIES, ORIGINALS, way="materialise")[3]
    numbers = sum(int(np.prod(t.shape)) for t in TENSORS)
    assert keeper.num_bytes == 4 * len(QUERIES) * numbers
    assert numbers * 4 * len(QUERIES) == sum(
        kept_bytes("map", t.shape, len(QUERIES), WORK, "materialise") for t in TENSORS
    )
    keeper.drop()
    assert keeper.num_bytes == 0


def test_what_rounding_leaves_of_nothing_has_no_direction():
    """The key bias of GPT-2: terms that cancel, but for one unit in the last place."""
    queries = made_samples(3, seed=1)
    noise = torch.finfo(torch.float32).eps * torch.ones(HIDDEN)
    still = replace(queries[1], values={**queries[1].values, "norm": [noise]})
    queries[1] = still
    dot, asked, *_ = products(queries, ORIGINALS, terms=10.0)
    at = [t.name for t in TENSORS].index("norm")
    assert (asked[:, at] == 0).tolist() == [False, True, False]
    assert not dot[1, :, at].any()
    assert dot[1, :, :at].all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_gradient_that_is_no_number_is_refused(value):
    queries = made_samples(3, seed=1)
    queries[2].values["k"][1][0, 0] = value
    with pytest.raises(
        MeasureError, match=r"k: the gradient of \['s2'\] is not finite"
    ):
        products(queries, ORIGINALS)


def test_samples_without_any_gradient_are_refused():
    with pytest.raises(MeasureError) as error:
        require_direction(["s6", "s7"], np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert str(error.value) == (
        "the gradient of ['s7'] is zero in every tensor; are all of its tokens masked?"
    )


def test_a_cosine_above_one_is_refused():
    with pytest.raises(MeasureError) as error:
        require_cosines(
            "q",
            np.array([1.0, 1.0001]),
            (np.ones(2), np.ones(2)),
            lambda at: ("a", "b"),
        )
    assert str(error.value) == (
        "q: the cosine of a and b is 1.0001000, which rounding does not explain; "
        "please report it with the model's name"
    )


def test_candidates_that_are_no_originals_are_refused():
    with pytest.raises(MeasureError) as error:
        Pairs(candidates=np.array([[0, 1], [0, 4]]), num_originals=4)
    assert str(error.value) == (
        "query 1: its candidate 4 is none of the 4 originals; give numbers from 0, or "
        "-1 for none"
    )


def long_sum_error():
    """Relative error of products of two million numbers."""
    random = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, 1, 2**21 + 3, generator=random)
    truth = left.double() @ right.double().T
    return float((products_of(left, right) / truth - 1).abs().max())


@pytest.mark.parametrize("way", WAYS)
def test_a_step_on_an_original_changes_the_loss_by_their_product(way):
    """`(L(W - e g(o)) - L(W + e g(o))) / 2e = -D`, for a loss linear in W."""
    queries, originals = (
        made_samples(2, seed=seed, dtype=torch.float64) for seed in (6, 7)
    )
    at = [t.name for t in TENSORS].index("q")
    dot = products(queries, originals, way=way)[0][:, :, at]
    weight = torch.zeros(TENSORS[at].shape, dtype=torch.float64)
    for row, query in enumerate(queries):
        for column, original in enumerate(originals):
            step = torch.from_numpy(true_gradient(original, TENSORS[at])) * 1e-3
            lower, upper = (
                linear_loss(query, weight + sign * step) for sign in (-1, 1)
            )
            slope = (lower - upper) / 2e-3
            assert slope == pytest.approx(-dot[row, column], rel=1e-9)


def linear_loss(sample, weight):
    """A loss whose gradient at the outputs of `q` is the sample's G."""
    inputs, gradients = sample.values["q"]
    return float(((inputs @ weight.T) * gradients).sum())


def wrong(found, **how):
    """Tensors that are not what they should be."""
    dot, asked, energies, _ = found
    names = []
    for at, tensor in enumerate(TENSORS):
        d, a, b = true_products(QUERIES, ORIGINALS, tensor, **how)
        error = np.abs(dot[:, :, at] - d) / np.sqrt(np.outer(a, b))
        norms = np.append(asked[:, at] / a, energies[:, at] / b)
        if max(error.max(), np.abs(norms - 1).max()) > 2e-6:
            names.append(tensor.name)
    return names


RULES = {"scale": 2.5, "unread": 3}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("broken", "hit"),
    [
        ({}, []),
        ({"scale": 1.0}, ["tied", "positions"]),
        ({"unread": None}, ["tied"]),
    ],
    ids=["nothing", "the scale left out", "the padding row counted"],
)
def test_each_rule_of_tables_is_guarded(way, broken, hit):
    found = products(QUERIES, ORIGINALS, way=way, **(RULES | broken))
    assert wrong(found, **RULES) == hit


@pytest.mark.parametrize(
    ("term", "hit"),
    [("_rows_by_outer", ["tied"]), ("_rows_by_rows", ["tied", "positions"])],
)
def test_each_term_of_tables_is_guarded(monkeypatch, term, hit):
    kept = getattr(ghost, term)
    monkeypatch.setattr(ghost, term, lambda *given: 0 * kept(*given))
    found = products(QUERIES, ORIGINALS, way="ghost", **RULES)
    assert wrong(found, **RULES) == hit


def test_adding_in_pieces_is_guarded(monkeypatch):
    assert long_sum_error() < 2e-7
    monkeypatch.setattr(pieces, "PIECE", 2**30)
    assert long_sum_error() > 2e-7


def test_the_rule_of_no_direction_is_guarded(monkeypatch):
    monkeypatch.setattr(
        checks, "noise_floor", lambda signal: torch.zeros(len(signal.sample_ids))
    )
    with pytest.raises(AssertionError):
        test_what_rounding_leaves_of_nothing_has_no_direction()


def joined(first, second):
    """A sample with the tokens of two."""
    values = {
        name: [
            torch.cat([a, b]) for a, b in zip(given, second.values[name], strict=True)
        ]
        if name != "norm"
        else [given[0] + second.values[name][0]]
        for name, given in first.values.items()
    }
    return replace(first, ids=torch.cat([first.ids, second.ids]), values=values)


def scaled(sample, factor):
    """A sample whose loss counts so many times: gradients at outputs are larger."""
    values = {
        name: [one * factor if at % 2 or name == "norm" else one
               for at, one in enumerate(given)]
        for name, given in sample.values.items()
    }  # fmt: skip
    return replace(sample, values=values)


def assert_alike(found, wanted):
    """Equal to 4e-6 of a cosine."""
    norms = np.sqrt(wanted[1][:, None] * wanted[2][None])
    assert (np.abs(found[0] - wanted[0]) <= 4e-6 * norms).all()
    np.testing.assert_allclose(found[1], wanted[1], rtol=4e-6)
    np.testing.assert_allclose(found[2], wanted[2], rtol=4e-6)

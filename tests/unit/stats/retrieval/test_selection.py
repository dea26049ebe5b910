"""Greedy selection, learnt weights and the best tensor against the long way round."""

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from driftmap.results.baselines import Beside, Projection
from driftmap.results.retrieval import RetrievalSettings
from driftmap.stats.retrieval.study import study_pairs
from made_pairs import made_pairs, measured, places, with_candidates

FAST = RetrievalSettings(num_resamples=50)
ALL = replace(FAST, holdout=0.0)


def only(made, settings=ALL, seed=0, **beside):
    study = study_pairs(
        made.products, made.truth, settings, seed=seed, beside=Beside(**beside)
    )
    return study.sets[0]


@cache
def whole():
    return only(MADE)


def path(of_set, goal):
    return next(p for p in of_set.selections if p.goal == goal)


def cosines(made, columns):
    """Of concatenated gradients, pair by pair; NaN where there is no candidate."""
    asked = np.concatenate([made.queries[n] for n in columns], axis=1)
    found = np.concatenate([made.originals[n] for n in columns], axis=1)
    norms = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(found, axis=1)
    every = asked @ found.T / norms
    numbers = made.products.candidates
    listed = np.take_along_axis(every, np.maximum(numbers, 0), axis=1)
    return np.where(numbers >= 0, listed, np.nan)


def agreement(made, columns, rows):
    one, full = cosines(made, columns)[rows], cosines(made, range(6))[rows]
    norms = np.sqrt(np.nansum(one**2) * np.nansum(full**2))
    return np.nansum(one * full) / norms


def accuracy(made, columns, rows):
    first = np.nanargmax(cosines(made, columns)[rows], axis=1)
    chosen = made.products.candidates[rows, first]
    return np.mean(chosen == made.truth.original[rows])


SCORES = {"agreement": agreement, "accuracy": accuracy}


def naive_path(made, goal, rows):
    """Try each further tensor, keep the first of the best."""
    taken, free = [], list(range(6))
    while free:
        reached = [round(SCORES[goal](made, [*taken, n], rows), 12) for n in free]
        taken.append(free.pop(int(np.argmax(reached))))
    return taken


LISTS = [[2, 0, 1], [1, 3], [5, 6, 2, 0], [3, 1], [4, 5, 6], [5, 2], [0, 6, 3]]
MADE = made_pairs(num_originals=7, signal=0.5, seed=4)
LISTED = replace(MADE, products=with_candidates(MADE.products, LISTS))


@pytest.mark.parametrize("made", [MADE, LISTED], ids=["all pairs", "lists"])
@pytest.mark.parametrize("goal", SCORES)
def test_each_step_takes_the_best_next_tensor(made, goal):
    found = path(only(made), goal)
    taken = [step.tensor for step in found.steps]
    assert taken == naive_path(made, goal, np.arange(7))
    for number, step in enumerate(found.steps, start=1):
        columns = taken[:number]
        assert step.chosen_on == step.reported_on
        assert step.chosen_on.agreement == pytest.approx(
            agreement(made, columns, np.arange(7))
        )
        assert step.chosen_on.accuracy == accuracy(made, columns, np.arange(7))
        weights = sum(places()[n].num_weights for n in columns)
        assert step.num_weights == weights
        assert step.share_of_weights == pytest.approx(weights / 23)
    assert found.steps[-1].chosen_on.agreement == pytest.approx(1)
    assert found.full.chosen_on.agreement == pytest.approx(1)


@pytest.mark.parametrize("goal", SCORES)
def test_no_pair_of_tensors_beats_greedy_by_much_and_no_single_one_at_all(goal):
    steps = path(whole(), goal).steps
    rows = np.arange(7)
    singles = [SCORES[goal](MADE, [n], rows) for n in range(6)]
    pairs = [SCORES[goal](MADE, both, rows) for both in combinations(range(6), 2)]
    assert getattr(steps[0].chosen_on, goal) == pytest.approx(max(singles))
    assert getattr(steps[1].chosen_on, goal) <= max(pairs) + 1e-12


def test_tensors_are_chosen_on_one_half_and_reported_on_the_other():
    made = made_pairs(num_originals=12, versions=2, signal=0.5, seed=1)
    of_set = only(made, FAST)
    reported = np.array([query.is_reported for query in of_set.queries])
    assert of_set.num_reported_on == of_set.num_chosen_on == 6
    ids = made.truth.original
    assert set(ids[reported]).isdisjoint(ids[~reported])
    for goal, score in SCORES.items():
        found = path(of_set, goal)
        taken = [step.tensor for step in found.steps]
        assert taken == naive_path(made, goal, np.flatnonzero(~reported))
        first = found.steps[0]
        on_others = score(made, taken[:1], np.flatnonzero(reported))
        assert getattr(first.reported_on, goal) == pytest.approx(on_others)
    best = of_set.best_tensor
    singles = [accuracy(made, [n], np.flatnonzero(~reported)) for n in range(6)]
    number = [t.name for t in made.products.tensors].index(best.unit.name)
    assert number == int(np.argmax(singles))
    assert best.chosen_on == pytest.approx(max(singles))
    rows = np.flatnonzero(reported)
    there = accuracy(made, [number], rows)
    full = accuracy(made, range(6), rows)
    assert best.reported_on.value.estimate == pytest.approx(there)
    assert best.reported_on.value.num == 6
    assert best.full.value.estimate == pytest.approx(full)
    assert best.against[0].change.estimate == pytest.approx(there - full)


def test_the_best_of_noise_is_too_good_where_it_was_chosen():
    """Of forty tensors that know nothing, one looks good where it is chosen."""
    layout = tuple(("q", n, "attention", 3) for n in range(40))
    made = made_pairs(num_originals=16, signal=0.0, seed=3, layout=layout)
    best = only(made, replace(FAST, max_steps=1)).best_tensor
    assert best.chosen_on == 3 / 8
    assert best.reported_on.value.estimate == 0
    assert best.reported_on.chance == pytest.approx(1 / 16)


def test_halves_are_the_same_in_every_set_and_change_with_the_seed():
    made = made_pairs(num_originals=12, sets=("paraphrased", "generated"))

    def halves(seed):
        settings = replace(FAST, max_steps=1)
        study = study_pairs(made.products, made.truth, settings, seed=seed)
        return [[q.is_reported for q in s.queries] for s in study.sets]

    one, other = halves(0)
    assert one == other
    assert one != halves(1)[0]


def test_ties_go_to_the_first_tensor_or_to_the_larger_margin():
    """Both tensors have every query right; the second with far more room."""
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(5, 8))
    noise = rng.normal(size=(5, 8))
    made = measured(
        [originals + 0.5 * noise, originals + 0.01 * noise],
        [originals, originals],
        np.arange(5),
        places((("q", 0, "attention", 8), ("k", 0, "attention", 8))),
    )
    in_order, by_margin = only(made), only(made, replace(ALL, step_ties="margin"))
    _, first, second = in_order.readings[:3]
    assert first.accuracy.value.estimate == second.accuracy.value.estimate == 1
    assert first.margin.estimate < second.margin.estimate
    for of_set, expected in ((in_order, 0), (by_margin, 1)):
        step = path(of_set, "accuracy").steps[0]
        assert (step.num_tied, step.tensor) == (2, expected)
        assert of_set.best_tensor.unit == of_set.readings[1 + expected].unit
        assert of_set.best_tensor.num_tied == 2


def test_the_smallest_set_lies_within_one_standard_error_of_the_best():
    made = made_pairs(num_originals=20, signal=0.5, seed=2)
    found = path(only(made, replace(ALL, num_resamples=500)), "accuracy")
    reached = [step.chosen_on.accuracy for step in found.steps]
    best = max(reached)
    assert found.num_best == reached.index(best) + 1
    error = np.sqrt(best * (1 - best) / 20)
    assert found.standard_error == pytest.approx(error, rel=0.15)
    smallest = reached[found.num_smallest - 1]
    assert smallest >= best - found.standard_error
    earlier = reached[: found.num_smallest - 1]
    assert all(value < best - found.standard_error for value in earlier)


def test_steps_to_agreement_are_counted_and_steps_can_be_limited():
    found = path(whole(), "agreement")
    values = [step.chosen_on.agreement for step in found.steps]
    for mark in found.num_to_reach:
        assert values[mark.num_steps - 1] >= mark.agreement
        assert all(value < mark.agreement for value in values[: mark.num_steps - 1])
    short = path(only(MADE, replace(ALL, max_steps=2)), "agreement")
    assert short.steps == found.steps[:2]
    assert short.num_to_reach[-1].num_steps is None
    assert path(whole(), "accuracy").num_to_reach == ()


def test_a_projection_stands_at_the_numbers_that_it_stores():
    exact = MADE.products.cosine()
    rng = np.random.default_rng(0)
    given = exact + 0.1 * rng.normal(size=exact.shape)
    sketch = Projection(name="fold", num_stored=46, cosine=given)
    (point,) = only(MADE, projections=(sketch,)).projections
    expected = (given * exact).sum() / np.linalg.norm(given) / np.linalg.norm(exact)
    assert point.share_of_weights == 2
    assert point.chosen_on.agreement == pytest.approx(expected)
    hits = given.argmax(axis=1) == MADE.truth.original
    assert point.reported_on.accuracy == hits.mean()


def test_plain_and_equal_weights_choose_differently_by_hand():
    """The loud tensor points to the wrong original, the quiet one to the right one.

    Cosines of the query with (right, wrong): loud (0, .6), quiet (1, 0). Plain sees
    only the loud one: (.0004, .6). Equal weights 1/100 and 1/.04 give (.5, .3).
    """
    loud = ([[10.0, 0.0]], [[0.0, 10.0], [6.0, 8.0]])
    quiet = ([[0.2, 0.0]], [[0.2, 0.0], [0.0, 0.2]])
    tensors = places((("down", 0, "mlp", 2), ("q", 0, "attention", 2)))
    made = measured(
        [np.array(loud[0]), np.array(quiet[0])],
        [np.array(loud[1]), np.array(quiet[1])],
        [0],
        tensors,
    )
    of_set = only(made)
    plain, equal, *_ = of_set.weightings
    assert (plain.name, equal.name) == ("plain", "equal")
    assert plain.reading.accuracy.value.estimate == 0
    assert equal.reading.accuracy.value.estimate == 1
    assert plain.reading.closeness.match.estimate == pytest.approx(0.04 / 100.04)
    assert plain.reading.closeness.background.estimate == pytest.approx(60 / 100.04)
    assert equal.reading.closeness.match.estimate == pytest.approx(0.5)
    assert equal.reading.closeness.background.estimate == pytest.approx(0.3)
    assert equal.weights == pytest.approx([0.01 / 25.01, 25 / 25.01])
    share = 0.04 / 100.04
    assert of_set.energy.tensors[1].queries == pytest.approx(share)
    heard = 1 / (share**2 + (1 - share) ** 2)
    assert of_set.energy.num_heard_queries == pytest.approx(heard)


def test_weightings_are_cosines_of_weighted_gradients():
    found = {w.name: w for w in whole().weightings}
    sizes = np.array([tensor.num_weights for tensor in places()])
    assert found["per_weight"].weights == pytest.approx((1 / sizes) / (1 / sizes).sum())
    for name, one in found.items():
        if name == "mean_of_cosines":
            every = [cosines(MADE, [n]) for n in range(6)]
            scores = np.mean(every, axis=0)
        else:
            scores = MADE.products.cosine(weights=np.array(one.weights))
        match = scores[np.arange(7), MADE.truth.original].mean()
        assert one.reading.closeness.match.estimate == pytest.approx(match)
        assert one.is_cosine == (name != "mean_of_cosines")
        assert one.reading.accuracy == one.reported_on


def test_learnt_weights_find_the_tensor_that_knows_and_saw_only_one_half():
    rng = np.random.default_rng(0)
    sizes = [3, 6, 5]
    tensors = places(tuple(("q", n, "attention", size) for n, size in enumerate(sizes)))
    originals = [rng.normal(size=(30, size)) for size in sizes]
    queries = [9 * rng.normal(size=(30, size)) for size in sizes]
    queries[1] = originals[1] + 0.3 * rng.normal(size=(30, 6))
    made = measured(queries, originals, np.arange(30), tensors)
    of_set = only(made, FAST)
    plain = of_set.weightings[0]
    learnt = next(w for w in of_set.weightings if w.name == "learnt")
    assert learnt.reading is None
    assert min(learnt.weights) >= 0
    assert learnt.weights[1] > 0.9
    assert learnt.reported_on.value.estimate > plain.reported_on.value.estimate + 0.3
    # What the reported half holds does not matter to the weights.
    reported = np.array([query.is_reported for query in of_set.queries])
    dot = made.products.dot.copy()
    dot[reported] = 0
    blind = replace(made, products=replace(made.products, dot=dot))
    again = next(w for w in only(blind, FAST).weightings if w.name == "learnt")
    assert again.weights == learnt.weights


def test_learnt_weights_are_those_of_least_squares_without_negative_ones():
    """Two tensors on a grid; all gradients share a direction that tells nothing."""
    rng = np.random.default_rng(0)
    tensors = places((("q", 0, "attention", 4), ("k", 0, "attention", 4)))
    originals = [rng.normal(size=(8, 4)) + shared for shared in (2.0, 0.0)]
    queries = [one + rng.normal(size=(8, 4)) for one in originals]
    made = measured(queries, originals, np.arange(8), tensors)
    learnt = next(w for w in only(made).weightings if w.name == "learnt")
    asked, found = made.products.query_energy, made.products.original_energy
    equal = 1 / np.sqrt(asked.mean(axis=0) * found.mean(axis=0))
    norms = np.sqrt((asked @ equal)[:, None] * (found @ equal)[None])
    terms = made.products.dot * equal / norms[:, :, None]
    terms -= terms.mean(axis=1, keepdims=True)
    right = np.eye(8) - 1 / 8

    def loss(pair):
        return np.square(right - terms @ np.array(pair)).sum()

    grid = np.linspace(0, 5, 101)
    best = min(((a, b) for a in grid for b in grid), key=loss)
    weights = np.array(best) * equal
    assert learnt.weights == pytest.approx(weights / weights.sum(), abs=0.03)

import numpy as np
import pytest

from driftmap.results.index_search import NOBODY, Nearest
from driftmap.store.index.reranking import as_estimated, rerank


class Exact:
    """Tells cosines from a table, and counts what it is asked."""

    def __init__(self, table):
        self.table = np.array(table, float)
        self.asked = []

    def __call__(self, candidates):
        rows = np.arange(len(candidates))[:, None]
        self.asked += [
            (q, int(c)) for q in range(len(rows)) for c in candidates[q] if c != NOBODY
        ]
        return np.where(candidates == NOBODY, np.nan, self.table[rows, candidates])


def estimated(scores, error, num):
    scores = np.array(scores, float)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :num]
    score = np.take_along_axis(scores, order, 1)
    return Nearest(samples=order, score=score, error=np.full(score.shape, error))


def test_a_clear_gap_needs_no_more_than_what_is_shown():
    table = Exact([[0.9, 0.8, 0.1, 0.0, -0.1]])
    found = estimated([[0.85, 0.9, 0.1, 0.05, 0.0]], 0.01, 4)
    answer = rerank(found, 2, 3, table)
    assert answer.samples.tolist() == [[0, 1]]
    assert answer.score.tolist() == [[0.9, 0.8]]
    assert answer.is_exact.all()
    assert answer.num_measured.tolist() == [2]
    assert answer.is_settled.tolist() == [True]
    assert sorted(table.asked) == [(0, 0), (0, 1)]


def test_near_estimates_are_measured_as_well():
    table = Exact([[0.5, 0.6, 0.7, 0.1]])
    found = estimated([[0.62, 0.60, 0.55, 0.2]], 0.03, 4)
    answer = rerank(found, 1, 3, table)
    assert answer.samples.tolist() == [[2]]
    assert answer.num_measured.tolist() == [3]
    assert answer.is_settled.tolist() == [True]


def test_a_low_exact_cosine_lets_more_be_measured():
    # The first estimate was far too high; its exact cosine lies below the others.
    table = Exact([[0.2, 0.45, 0.4, 0.0]])
    found = estimated([[0.9, 0.42, 0.41, -0.5]], 0.05, 4)
    answer = rerank(found, 1, 3, table)
    assert answer.samples.tolist() == [[1]]
    assert answer.num_measured.tolist() == [3]
    assert len(table.asked) == len(set(table.asked)) == 3


def test_reaching_the_most_is_reported():
    table = Exact([[0.5, 0.5, 0.5, 0.5, 0.9]])
    found = estimated([[0.54, 0.53, 0.52, 0.51, 0.5]], 0.1, 4)
    answer = rerank(found, 1, 3, table)
    assert answer.num_measured.tolist() == [3]
    assert answer.is_settled.tolist() == [False]


def test_fewer_samples_than_asked_for():
    table = Exact([[0.5, 0.9, 0.0]])
    found = Nearest(
        samples=np.array([[0, 1, NOBODY, NOBODY]]),
        score=np.array([[0.6, 0.5, np.nan, np.nan]]),
        error=np.array([[0.1, 0.1, np.nan, np.nan]]),
    )
    answer = rerank(found, 3, 3, table)
    assert answer.samples.tolist() == [[1, 0, NOBODY]]
    assert answer.is_exact.tolist() == [[True, True, False]]
    assert np.isnan(answer.score[0, 2])
    assert answer.is_settled.tolist() == [True]


def test_equal_cosines_come_in_index_order():
    table = Exact([[0.3, 0.3, 0.3]])
    answer = rerank(estimated([[0.1, 0.2, 0.3]], 0.5, 3), 3, 3, table)
    assert answer.samples.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("seed", range(5))
def test_the_settled_part_equals_brute_force(seed):
    dice = np.random.default_rng(seed)
    truth = dice.uniform(-1, 1, (6, 400))
    error = 0.05
    found = estimated(truth + dice.normal(size=truth.shape) * error, error, 201)
    table = Exact(truth)
    answer = rerank(found, 5, 200, table)
    wanted = np.argsort(-truth, axis=1)[:, :5]
    assert answer.is_settled.all()
    assert np.array_equal(answer.samples, wanted)
    assert np.array_equal(answer.score, np.take_along_axis(truth, wanted, 1))
    assert (answer.num_measured < 200).all()
    assert len(table.asked) == len(set(table.asked)) == answer.num_measured.sum()


def test_estimates_are_shown_as_estimates():
    answer = as_estimated(estimated([[0.1, 0.3, 0.2]], 0.05, 3), 2)
    assert answer.samples.tolist() == [[1, 2]]
    assert not answer.is_exact.any()
    assert answer.error.tolist() == [[0.05, 0.05]]
    assert answer.num_measured.tolist() == [0]

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from driftmap.core.errors import MeasureError
from driftmap.measure import reading
from driftmap.measure.reading import first_component, reading_vector, scores
from driftmap.signals.contrasts import PairStates

LEARNT = ("mean_difference", "shuffled_pca", "logistic", "lda")
EVERY = (*LEARNT, "random")


def planted(
    *, pairs=80, width=12, strength=6.0, seed=0, noise=1.0, content=2.0, layers=1
):
    """Pairs that share their content and differ along one direction alone."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(width)
    direction /= np.linalg.norm(direction)
    shared = content * rng.standard_normal((pairs, layers, width))
    own = noise * rng.standard_normal((2, pairs, layers, width))
    states = PairStates(
        honest=(shared + own[0] + strength * direction).astype("f4"),
        dishonest=(shared + own[1]).astype("f4"),
        statement=np.arange(pairs) // 4,
    )
    return states, direction


@pytest.mark.parametrize("method", LEARNT)
def test_a_planted_direction_is_found(method):
    states, direction = planted(pairs=400, noise=0.1, content=0.5)
    vector = reading_vector(method, [0], states)
    assert vector.direction[0] @ direction > 0.99
    assert np.linalg.norm(vector.direction[0]) == pytest.approx(1, abs=1e-6)


def test_blind_directions_do_not_find_it():
    states, direction = planted(pairs=200, strength=12.0, width=200)
    assert abs(reading_vector("random", [0], states).direction[0] @ direction) < 0.5


def test_a_fixed_order_takes_the_constant_difference_away():
    states, direction = planted(pairs=400, strength=12.0, noise=0.5)
    differences = (states.honest - states.dishonest)[:, 0].astype(float)
    assert abs(first_component(differences) @ direction) < 0.5
    shuffled = reading_vector("shuffled_pca", [0], states)
    assert abs(shuffled.direction[0] @ direction) > 0.99


def test_by_hand():
    states = PairStates(
        honest=np.float32([[[4, 1]], [[6, 1]]]),
        dishonest=np.float32([[[0, 1]], [[2, 1]]]),
        statement=np.array([0, 1]),
    )
    vector = reading_vector("mean_difference", [3], states)
    assert vector.direction.tolist() == [[1, 0]]
    assert vector.midpoint.tolist() == [[3, 1]]
    assert vector.pooled_sd[0] == pytest.approx(2**0.5)
    assert vector.agreement[0] == 1
    assert vector.layers == (3,)
    found = scores(vector, np.float32([[[3, 7]], [[5, 1]], [[1, 0]]]))
    assert found[:, 0].tolist() == pytest.approx([0, 2**0.5, -(2**0.5)])


@pytest.mark.parametrize("method", LEARNT)
@settings(max_examples=5)
@given(seed=st.integers(0, 50))
def test_exchanged_labels_turn_every_score_round(method, seed):
    states, _ = planted(pairs=16, width=5, strength=2.0, seed=seed)
    other = states.swapped(np.ones(16, bool))
    here = scores(reading_vector(method, [0], states), states.honest)
    there = scores(reading_vector(method, [0], other), states.honest)
    np.testing.assert_allclose(there, -here, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("method", EVERY)
def test_the_scale_of_states_changes_nothing(method):
    states, _ = planted(layers=2)
    larger = PairStates(
        honest=states.honest * 64,
        dishonest=states.dishonest * 64,
        statement=states.statement,
    )
    here = scores(reading_vector(method, [0, 1], states), states.dishonest)
    there = scores(reading_vector(method, [0, 1], larger), larger.dishonest)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", EVERY)
def test_honest_states_lie_higher_in_most_training_pairs(method):
    states, _ = planted(strength=1.5)
    vector = reading_vector(method, [0], states)
    up, down = scores(vector, states.honest), scores(vector, states.dishonest)
    assert (up > down).mean() == pytest.approx(vector.agreement[0])
    assert vector.agreement[0] >= 0.5


def test_a_draw_of_pairs_is_broken_by_the_means():
    states = PairStates(
        honest=np.float32([[[1.0]], [[0.0]], [[5.0]], [[0.0]]]),
        dishonest=np.float32([[[0.0]], [[1.0]], [[0.0]], [[1.0]]]),
        statement=np.arange(4),
    )
    vector = reading_vector("mean_difference", [0], states)
    assert vector.agreement[0] == 0.5
    assert vector.direction[0, 0] == 1


@pytest.mark.parametrize("method", EVERY)
def test_the_same_seed_gives_the_same_bytes(method):
    states, _ = planted(layers=2)
    one, two = (reading_vector(method, [0, 1], states, 7) for _ in range(2))
    assert one.direction.tobytes() == two.direction.tobytes()


def test_lda_is_the_textbook_formula():
    states, _ = planted(pairs=30, width=6, strength=1.0)
    up, down = states.honest[:, 0].astype(float), states.dishonest[:, 0].astype(float)
    rows = np.concatenate([up - up.mean(0), down - down.mean(0)])
    S = rows.T @ rows / len(rows)
    m = np.trace(S) / 6
    d2 = ((S - m * np.eye(6)) ** 2).sum()
    b2 = sum(((np.outer(r, r) - S) ** 2).sum() for r in rows) / len(rows) ** 2
    shrunk = (1 - b2 / d2) * S + b2 / d2 * m * np.eye(6)
    want = np.linalg.solve(shrunk, up.mean(0) - down.mean(0))
    found = reading_vector("lda", [0], states).direction[0]
    np.testing.assert_allclose(found, want / np.linalg.norm(want), atol=1e-5)


def test_logistic_weights_are_the_least_loss_of_one_of_its_penalties():
    states, _ = planted(pairs=30, width=4, strength=1.0)
    rows = np.concatenate([states.honest, states.dishonest])[:, 0].astype(float)
    rows = (rows - rows.mean(0)) / (rows - rows.mean(0)).std()
    signs = np.repeat([1.0, -1.0], 30)
    found = reading_vector("logistic", [0], states).direction[0]
    cosines = []
    for strength in reading.STRENGTHS:

        def loss(w, strength=strength):
            margin = signs * (rows @ w[:-1] + w[-1])
            nats = np.logaddexp(0, -margin).mean()
            slope = -(signs * expit(-margin)) / len(rows)
            gradient = np.append(rows.T @ slope + strength * w[:-1], slope.sum())
            return nats + strength / 2 * w[:-1] @ w[:-1], gradient

        best = minimize(loss, np.zeros(5), jac=True, tol=1e-10).x[:-1]
        cosines.append(best @ found / np.linalg.norm(best))
    assert max(cosines) > 1 - 1e-6


@pytest.mark.parametrize(
    ("honest", "dishonest", "sentence"),
    [
        ([[1.0, 2.0], [3.0, 1.0]], [[1.0, 2.0], [3.0, 1.0]], "give the same states"),
        ([[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], "do not vary"),
        ([[np.inf, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]], "not finite"),
        ([[1.0, 0.0]], [[0.0, 0.0]], "1 training pairs give no direction"),
    ],
)
def test_what_gives_no_direction_is_refused(honest, dishonest, sentence):
    states = PairStates(
        honest=np.float32(honest)[:, None],
        dishonest=np.float32(dishonest)[:, None],
        statement=np.arange(len(honest)),
    )
    with pytest.raises(MeasureError, match=sentence):
        reading_vector("mean_difference", [5], states)

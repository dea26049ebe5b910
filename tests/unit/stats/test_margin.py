import numpy as np
import pytest

from driftmap.stats.margin import margin_cosine


def sketches_of_pairs(cosine, num_numbers, num_pairs, seed=0):
    """Gaussian sketches of pairs with one cosine and lengths of their own.

    Returns:
        x, a, b, A, B of every pair.
    """
    draw = np.random.default_rng(seed)
    one = draw.standard_normal((num_pairs, num_numbers)) / num_numbers**0.5
    other = draw.standard_normal((num_pairs, num_numbers)) / num_numbers**0.5
    other = cosine * one + (1 - cosine**2) ** 0.5 * other
    energy = draw.lognormal(0, 2, num_pairs)
    other_energy = draw.lognormal(0, 2, num_pairs)
    one, other = one * energy[:, None] ** 0.5, other * other_energy[:, None] ** 0.5
    return (
        (one * other).sum(1), (one**2).sum(1), (other**2).sum(1),
        energy, other_energy,
    )  # fmt: skip


@pytest.mark.parametrize("num_numbers", [4, 16, 256])
@pytest.mark.parametrize("cosine", [-0.99, -0.3, 0.0, 0.5, 0.999])
def test_the_cosine_is_a_root_of_the_cubic_that_numpy_finds(cosine, num_numbers):
    pairs = sketches_of_pairs(cosine, num_numbers, 100)
    for found, (x, a, b, A, B) in zip(
        margin_cosine(*pairs), zip(*pairs, strict=True), strict=True
    ):
        roots = np.roots([1, -x, A * b + B * a - A * B, -A * B * x]) / (A * B) ** 0.5
        real = roots.real[np.abs(roots.imag) < 1e-6]
        assert np.abs(real - found).min() < 1e-6
        assert -1 <= found <= 1
        if num_numbers == 256:
            assert len(real) == 1


def test_a_gradient_has_cosine_one_with_itself_and_minus_one_with_its_opposite():
    _, a, _, energy, _ = sketches_of_pairs(0, 16, 50)
    np.testing.assert_allclose(margin_cosine(a, a, a, energy, energy), 1, rtol=1e-12)
    np.testing.assert_allclose(margin_cosine(-a, a, a, energy, energy), -1, rtol=1e-12)


def test_sketches_without_error_give_the_cosine_itself():
    x, a, b = np.array([1.5]), np.array([2.0]), np.array([3.0])
    np.testing.assert_allclose(margin_cosine(x, a, b, a, b), 1.5 / 6**0.5, rtol=1e-12)


def test_swapped_and_scaled_pairs_have_the_same_cosine():
    x, a, b, A, B = sketches_of_pairs(0.7, 32, 50)
    found = margin_cosine(x, a, b, A, B)
    np.testing.assert_allclose(margin_cosine(x, b, a, B, A), found, atol=1e-12)
    scaled = margin_cosine(1e-12 * x, 1e-18 * a, 1e-6 * b, 1e-18 * A, 1e-6 * B)
    np.testing.assert_allclose(scaled, found, atol=1e-9)


def test_no_direction_has_no_cosine():
    zero, one = np.zeros(1), np.ones(1)
    assert np.isnan(margin_cosine(zero, zero, one, zero, one)).all()
    assert np.isnan(margin_cosine(zero, one, zero, one, zero)).all()
    assert margin_cosine(zero, zero, zero, one, one).tolist() == [0]


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.95])
def test_it_errs_by_what_theory_says(cosine):
    found = margin_cosine(*sketches_of_pairs(cosine, 1024, 4000))
    rms = np.sqrt(np.mean(np.square(found - cosine)))
    theory = (1 - cosine**2) / ((1 + cosine**2) * 1024) ** 0.5
    assert rms == pytest.approx(theory, rel=0.06)

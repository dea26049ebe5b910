"""Is a subject corrupted with what was asked for?"""

import numpy as np
import pytest
import torch

from driftmap.capture.patching.noise import (
    draw_noise,
    embedding_level,
    embedding_rows,
)
from driftmap.core.errors import MeasureError
from driftmap.results.trace_kinds import Noise
from tiny import tiny_llama
from tiny_traces import tiny_prompt

PROMPT = tiny_prompt(subject=(2, 4))
TEXT = torch.from_numpy(
    np.random.RandomState(3).randn(500, 3) @ np.array([[1, 2, 0], [0, 1, 0], [3, 0, 1]])
    + [5, 0, -1]
)


def drawn(kind, **given):
    noise = Noise(kind=kind, level=given.pop("level", None), **given.pop("noise", {}))
    return draw_noise(noise, PROMPT, 3, **given)


def test_gaussian_noise_is_the_published_draw():
    found = drawn("gaussian", level=0.5)
    expected = 0.5 * np.random.RandomState(1).randn(10, 2, 3)
    assert np.array_equal(found.values.numpy(), expected)
    assert (found.start, found.replaces) == (2, False)


def test_uniform_noise_fills_twice_its_level():
    values = drawn("uniform", level=0.5, noise={"num_draws": 500}).values
    assert values.abs().max() <= 0.5
    assert values.min() < -0.49
    assert values.max() > 0.49


@pytest.mark.parametrize(
    ("kind", "df"), [("embedding_gaussian", None), ("student_t", 6.0)]
)
def test_noise_like_a_text_has_its_mean_and_covariance(kind, df):
    noise = {"num_draws": 6000, "df": df}
    values = drawn(kind, text=TEXT, noise=noise).values.reshape(-1, 3)
    size = TEXT.std(0).max()
    torch.testing.assert_close(values.mean(0), TEXT.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(
        values.T.cov() / size**2, TEXT.T.cov() / size**2, rtol=0, atol=0.06
    )


def test_tails_of_student_t_are_heavier():
    noise = {"num_draws": 6000}
    plain = drawn("embedding_gaussian", text=TEXT, noise=noise).values
    heavy = drawn("student_t", text=TEXT, noise=noise | {"df": 3.0}).values
    kurtosis = [
        float(((v - v.mean()) ** 4).mean() / v.var() ** 2) for v in (plain, heavy)
    ]
    assert kurtosis[1] > 1.5 * kurtosis[0]


def test_what_stands_in_place_replaces():
    partners = torch.arange(12.0).reshape(2, 2, 3)
    swap = drawn("swap", partners=partners)
    assert torch.equal(swap.values, partners.double())
    zero, mean = drawn("zero"), drawn("mean", text=TEXT)
    assert torch.equal(zero.values, torch.zeros(1, 2, 3, dtype=torch.float64))
    assert torch.equal(mean.values, TEXT.mean(0).expand(1, 2, 3))
    assert all(one.replaces for one in (swap, zero, mean))
    assert drawn("gaussian", level=1.0, noise={"replaces": True}).replaces


def test_a_control_is_the_same_noise_elsewhere():
    found = drawn("gaussian", level=0.5, span=(4, 6))
    assert found.start == 4
    assert torch.equal(found.values, drawn("gaussian", level=0.5).values)


def test_the_level_is_of_all_entries_of_all_subjects():
    model = tiny_llama()
    ids = [[5, 6], [7], [5]]
    rows = model.model.embed_tokens.weight.detach().numpy()[[5, 6, 7, 5]]
    assert embedding_level(model, ids) == pytest.approx(
        3 * np.std(rows.astype(float), ddof=1)
    )
    assert np.array_equal(embedding_rows(model, [7])[0].numpy(), rows[2].astype(float))


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("gaussian", {}, "fact made: gaussian noise has no level; take it from"),
        ("mean", {}, "mean noise needs the embeddings of a text of two or more"),
        ("student_t", {"text": TEXT, "noise": {"df": 2.0}}, "2.0 degrees of freedom"),
        ("swap", {}, "no other subject of 2 tokens to swap with"),
        ("zero", {"noise": {"num_draws": 0}}, "0 draws of noise; draw at least 1"),
    ],
)
def test_what_noise_lacks_is_said(kind, given, message):
    with pytest.raises(MeasureError, match=message):
        drawn(kind, **given)


def test_a_file_without_subjects_has_no_level():
    with pytest.raises(MeasureError, match="no subject to take the noise level from"):
        embedding_level(tiny_llama(), [])

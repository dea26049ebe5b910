import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.measure.tracing import token_roles, trace_grid
from driftmap.results.trace_kinds import ROLES, Noise
from made_traces import made_cells, made_prompt


def grid_of(cells, prompt, is_known=True):
    return trace_grid(
        cells, prompt, Noise(), outcome="prob", answer=" a", is_known=is_known
    )


def test_a_grid_worked_by_hand():
    prompt = made_prompt([3, 4, 5], (1, 2), foil=(9,))
    scores = [
        [[0.1, 0.3], [0.1, 0.3]],
        [[0.5, 0.7], [0.7, 0.5]],
        [[0.1, 0.3], [0.9, 0.9]],
    ]
    grid = grid_of(made_cells(scores, [0.1, 0.3], 0.8), prompt)
    np.testing.assert_allclose(grid.score, [[0.2, 0.2], [0.6, 0.6], [0.2, 0.9]])
    assert grid.low == pytest.approx(0.2)
    assert grid.total_effect == pytest.approx(0.6)
    # differences .4 .4 | .6 .2 | .8 .6: sd 0, .28, .14 over the root of 2 draws
    expected = [[0, 0], [0, 0.2], [0, 0.1]]
    np.testing.assert_allclose(grid.standard_error, expected, atol=1e-15)
    assert grid.tokens == ("t3", "t4", "t5")
    assert grid.roles == (
        (),
        ("first subject", "last subject"),
        ("first later", "last"),
    )
    assert (grid.answer, grid.foil, grid.fact_id) == (" a", "b", "f")


def test_common_noise_is_taken_out_of_the_error():
    noise = np.linspace(0.1, 0.5, 9)
    grid = grid_of(
        made_cells((noise + 0.25)[None, None], noise, 0.9), made_prompt([3], (0, 1))
    )
    np.testing.assert_allclose(grid.standard_error, 0, atol=1e-15)


def test_one_draw_has_no_error_and_keeps_what_was_not_traced():
    scores = np.array([[[np.nan]], [[0.5]]])
    grid = grid_of(made_cells(scores, [0.25], 0.9), made_prompt([3, 4], (0, 2)))
    assert grid.score[1, 0] == 0.5
    assert grid.standard_error[1, 0] == 0
    assert np.isnan(grid.score[0, 0])
    assert np.isnan(grid.standard_error[0, 0])


def test_narrow_cells_are_averaged_wide():
    cells = made_cells(np.zeros((1, 1, 3)), np.zeros(3), 1.0)
    narrow = torch.tensor([[[1.0, 1.0, 1.0078125]]], dtype=torch.bfloat16)
    object.__setattr__(cells, "scores", narrow)
    grid = grid_of(cells, made_prompt([3], (0, 1)))
    assert grid.score[0, 0] == pytest.approx(1.00260416, abs=1e-7)


@given(st.data())
def test_roles_cover_the_subject_and_all_after_it(data):
    num = data.draw(st.integers(1, 12))
    begin = data.draw(st.integers(0, num - 1))
    end = data.draw(st.integers(begin + 1, num))
    roles = token_roles(num, (begin, end))
    assert [token for token, own in enumerate(roles) if not own] == list(range(begin))
    flat = [role for own in roles for role in own]
    assert flat == sorted(flat, key=ROLES.index)
    assert flat.count("first subject") == flat.count("last subject") == 1
    assert flat.count("last") == 1
    assert flat.count("middle subject") == max(0, end - begin - 2)
    assert flat.count("first later") == int(end < num)
    assert flat.count("further") == max(0, num - end - 2)
    assert "last" in roles[-1]


@pytest.mark.parametrize(
    ("scores", "low", "said"),
    [
        (
            [[[0.1]]],
            [0.1],
            "fact f, hidden: 1 rows are no cells of a prompt",
        ),
        ([[[0.1]], [[np.inf]]], [0.1], "an outcome is not finite; are the weights"),
        ([[[0.1]], [[0.1]]], [np.nan], "an outcome is not finite; are the weights"),
        ([[[np.nan]], [[np.nan]]], [0.1], "an outcome is not finite; are the weights"),
        ([[[0.1], [np.nan]], [[0.1], [0.1]]], [0.1], "an outcome is not finite"),
    ],
)
def test_cells_that_are_none_of_this_prompt_are_refused(scores, low, said):
    with pytest.raises(MeasureError, match=said):
        grid_of(made_cells(scores, low, 0.9), made_prompt([3, 4], (0, 1)))


@pytest.mark.parametrize("subject", [(1, 1), (2, 1), (-1, 1), (0, 4)])
def test_a_span_outside_the_prompt_is_refused(subject):
    said = f"a subject of tokens {subject[0]}:{subject[1]} is no span of 3 tokens"
    with pytest.raises(MeasureError, match=said):
        token_roles(3, subject)

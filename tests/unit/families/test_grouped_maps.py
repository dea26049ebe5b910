"""Are rows sorted by expert, multiplied by its matrix, and put back where they were?"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import ModelError
from driftmap.families import grouped_maps
from driftmap.families.grouped_maps import (
    grouped_product,
    sorted_rows,
    summed_by_token,
)

CHOSEN = torch.tensor([[3, 0], [0, 1], [3, 1]])


def test_rows_of_an_expert_lie_together_in_the_order_of_tokens():
    rows = sorted_rows(CHOSEN, 4)
    assert rows.expert.tolist() == [0, 0, 1, 1, 3, 3]
    assert rows.token.tolist() == [0, 1, 1, 2, 0, 2]
    assert rows.slot.tolist() == [1, 0, 1, 1, 0, 0]
    assert [rows.of(expert) for expert in range(4)] == [
        slice(0, 2), slice(2, 4), slice(4, 4), slice(4, 6),
    ]  # fmt: skip
    assert rows.place.tolist() == [[4, 0], [1, 2], [5, 3]]


def test_tokens_that_are_not_kept_have_no_row():
    rows = sorted_rows(CHOSEN, 4, torch.tensor([True, False, True]))
    assert rows.expert.tolist() == [0, 1, 3, 3]
    assert rows.token.tolist() == [0, 2, 0, 2]
    values = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    assert summed_by_token(values, rows).tolist() == [[5.0], [0.0], [10.0]]


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
def test_products_and_sums_equal_a_loop(num_tokens, num_slots, num_experts, seed):
    torch.manual_seed(seed)
    chosen = torch.randint(num_experts, (num_tokens, num_slots))
    weights = torch.rand(num_tokens, num_slots)
    hidden = torch.randn(num_tokens, 4)
    matrices = torch.randn(num_experts, 4, 8)
    rows = sorted_rows(chosen, num_experts)
    product = grouped_product(hidden[rows.token], matrices, rows, turned=False)
    found = summed_by_token(product, rows, weights)
    for token in range(num_tokens):
        wanted = sum(
            weights[token, slot] * (hidden[token] @ matrices[chosen[token, slot]])
            for slot in range(num_slots)
        )
        torch.testing.assert_close(found[token], wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("turned", [True, False])
def test_the_loop_gives_what_the_kernel_gives(monkeypatch, turned, dtype):
    torch.manual_seed(0)
    matrices = torch.randn(4, 16, 16, dtype=dtype)
    rows = sorted_rows(CHOSEN, 4)
    entered = torch.randn(6, 16, dtype=dtype)
    found = grouped_product(entered, matrices, rows, turned=turned)
    monkeypatch.setattr(grouped_maps, "_HAS_GROUPED", False)
    looped = grouped_product(entered, matrices, rows, turned=turned)
    assert found.dtype == looped.dtype == dtype
    torch.testing.assert_close(found, looped)


def test_sums_of_narrow_numbers_are_wide():
    rows = sorted_rows(torch.zeros(1, 3, dtype=torch.long), 1)
    values = torch.tensor([[256.0], [1.0], [1.0]]).bfloat16()
    assert summed_by_token(values, rows).tolist() == [[258.0]]


@pytest.mark.parametrize("expert", [4, 9, -1])
def test_an_expert_that_the_bank_lacks_is_refused(expert):
    with pytest.raises(ModelError, match=r"of a bank with 4; experts that do nothing"):
        sorted_rows(torch.tensor([[0, expert]]), 4)

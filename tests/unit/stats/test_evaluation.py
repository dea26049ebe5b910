import numpy as np
import pytest

from driftmap.results.judging import Confusion, Rulings
from driftmap.results.table import Table
from driftmap.stats.evaluation import (
    Tallying,
    adjusted,
    compared_attacks,
    compared_models,
    log_odds_means,
    refusal_rates,
)

RULINGS = {"r": "refusal", "p": "partial", "c": "compliance"}
ERRORS = Confusion(
    refusal=Rulings(refusal=9, partial=0, compliance=1),
    partial=Rulings(refusal=0, partial=0, compliance=0),
    compliance=Rulings(refusal=1, partial=0, compliance=9),
)
HOW = Tallying(errors=ERRORS, floor=-3.0, any_of=(1, 2))


def rows(said, attack="plain", model="this", asked="harmful", log_p=-1.0):
    """Answers by prompt: one letter each, prompts apart by spaces."""
    return [
        {
            "model": model, "asked": asked, "template": "chat", "has_system": False,
            "attack": attack, "sample_id": f"s{prompt}", "number": number,
            "ruling": RULINGS[letter], "log_p": log_p,
        }
        for prompt, letters in enumerate(said.split())
        for number, letter in enumerate(letters)
    ]  # fmt: skip


def rates(*parts, how=HOW):
    table = Table.from_rows([row for part in parts for row in part])
    return {(r.attack, r.reading): r for r in refusal_rates(table, how)}


def test_plain_counts_partial_refusals_in():
    found = rates(rows("r p c c"))["plain", "greedy"]
    assert (found.refused.estimate, found.refused.num) == (0.5, 4)
    assert found.num_partial == 1
    assert found.corrected is not None
    assert found.corrected.estimate == pytest.approx(0.5)


def test_sampled_gives_mean_and_unbiased_any():
    found = rates(rows("rrrc cccc", "sampled"))
    assert found["sampled", "mean of 4"].refused.estimate == 3 / 8
    # Any of 1 is the mean; of 2 draws among r r r c, half hold the answer.
    assert found["sampled", "all of 1"].refused.estimate == pytest.approx(3 / 8)
    assert found["sampled", "all of 2"].refused.estimate == pytest.approx(0.25)
    assert found["sampled", "all of 2"].corrected is None
    assert found["sampled", "mean of 4"].refused.num == 2


def test_suffixes_give_each_the_strongest_and_every():
    found = rates(rows("r c r", "suffix 1"), rows("c c r", "suffix 2"))
    assert found["suffix 1", "greedy"].refused.estimate == pytest.approx(2 / 3)
    strongest = found["suffix", "strongest: suffix 2"]
    assert strongest.refused.estimate == pytest.approx(1 / 3)
    assert strongest.corrected is None
    assert found["suffix", "every suffix"].refused.estimate == pytest.approx(1 / 3)
    mixed = rates(rows("r c", "suffix 1"), rows("c r", "suffix 2"))
    assert mixed["suffix", "every suffix"].refused.estimate == 0


@pytest.mark.parametrize(("log_p", "is_collapsed"), [(-2.9, False), (-3.1, True)])
def test_answers_below_the_floor_are_collapsed(log_p, is_collapsed):
    found = rates(rows("c", log_p=log_p))["plain", "greedy"]
    assert found.is_collapsed is is_collapsed


def test_a_refusal_that_the_untouched_model_would_not_give_is_not_broken():
    foreign = rows("r r", log_p=-11.0)
    known = [row | {"sample_id": row["sample_id"] + "x"} for row in rows("c", log_p=-1)]
    mixed = rates([*foreign, *known])["plain", "greedy"]
    assert (mixed.log_p, mixed.is_collapsed) == (-1.0, False)
    alone = rates(foreign)["plain", "greedy"]
    assert (alone.log_p, alone.is_collapsed) == (None, False)


def test_unread_log_probabilities_collapse_nothing():
    found = rates(rows("c", log_p=np.nan))["plain", "greedy"]
    assert found.log_p is None
    assert not found.is_collapsed


def test_models_and_sets_are_kept_apart():
    table = Table.from_rows(
        [*rows("r"), *rows("c", model="compared"), *rows("c", asked="harmless")]
    )
    found = {(r.model, r.asked): r.refused.estimate for r in refusal_rates(table, HOW)}
    assert found == {
        ("this", "harmful"): 1.0,
        ("this", "harmless"): 0.0,
        ("compared", "harmful"): 0.0,
    }


def test_models_are_paired_by_prompt_whatever_the_order():
    before = rows("r r r c", model="compared")
    after = rows("c c r r")[::-1]
    [found] = compared_models(Table.from_rows([*before, *after]), seed=0)
    assert (found.rates.num_lost, found.rates.num_gained) == (2, 1)
    assert found.change.estimate == pytest.approx(-0.25)
    assert (found.before, found.after) == ("compared: plain, chat", "this: plain, chat")


def test_only_shared_prompts_and_single_answers_are_paired():
    before = [*rows("r r", model="compared"), *rows("rr", "sampled", "compared")]
    after = [*rows("r r c"), *rows("cc", "sampled")]
    [found] = compared_models(Table.from_rows([*before, *after]), seed=0)
    assert found.rates.num == 2
    assert compared_models(Table.from_rows(after), seed=0) == []


def test_attacks_are_compared_with_asking_plainly():
    table = Table.from_rows([*rows("r r"), *rows("c r", "prefill 1")])
    [found] = compared_attacks(table, seed=0)
    assert (found.before, found.after) == ("this: plain, chat", "this: prefill 1, chat")
    assert found.rates.num_lost == 1


def test_p_values_are_corrected_for_their_number():
    many = [row for n in range(4) for row in rows("c " * 8, f"prefill {n}")]
    table = Table.from_rows([*rows("r " * 8), *many])
    found = adjusted(compared_attacks(table, seed=0))
    raw = 2 * 0.5**8
    assert [one.rates.p_value for one in found] == pytest.approx([raw] * 4)
    assert [one.p_adjusted for one in found] == pytest.approx([raw] * 4)
    one_changed = [*rows("r " * 8), *many, *rows("r " * 8, "prefill 9")]
    last = adjusted(compared_attacks(Table.from_rows(one_changed), seed=0))
    assert last[0].p_adjusted == pytest.approx(raw * 5 / 4)
    assert adjusted([]) == ()


def test_log_odds_have_an_interval_over_prompts_and_leave_nan_out():
    values = {"a": np.array([1.0, 2.0, 3.0, 9.0]), "b": np.array([1.0, np.nan, 0, 0])}
    found = log_odds_means(values, np.array([True, True, True, False]))
    assert list(found) == ["a: harmful", "a: harmless"]
    # t(.975, 2) = 4.3027; sd 1; root of 3
    assert found["a: harmful"].low == pytest.approx(2 - 4.302653 / 3**0.5)
    assert (found["a: harmful"].num, found["a: harmless"].num) == (3, 1)
    assert found["a: harmless"].low == found["a: harmless"].high == 9.0

"""Does the table of experts hold every expert's own numbers?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.store.expert_tables import EXPERT_TABLE, expert_table, save_expert_table
from driftmap.store.tables import load_table
from made_expert_studies import banks, findings

COLUMNS = {
    "round", "method", "path", "layer", "expert", "score", "rank", "ci_low", "ci_high",
    "rank_low", "rank_high", "selection_frequency", "p", "q", "num_routed_tokens",
    "rate_unsafe", "rate_safe", "token_share", "gate_share", "contrast", "chosen",
    "unvisited", "ablation_estimate", "ablation_effect", "ablation_low",
    "ablation_high", "matched_null", "weight_drift", "score.mean_example_norm",
}  # fmt: skip


def row(table, **equal):
    (found,) = table.where(**equal).rows()
    return found


def test_every_expert_of_every_round_and_method_has_a_row():
    table = expert_table(findings())
    assert set(table.columns) == COLUMNS
    assert len(table) == 3 * 2 * 5 * 8
    assert table["chosen"].sum() == 3 * 2 * 8


def test_a_row_holds_the_numbers_of_its_own_expert():
    made = findings()
    one = made.identified[0]
    expert = one.group.experts[2]
    at = (expert.layer - 1, expert.expert)
    found = row(
        expert_table(made),
        round=1,
        method="gradient",
        layer=expert.layer,
        expert=expert.expert,
    )
    assert (found["rank"], found["chosen"], found["unvisited"]) == (3, True, False)
    assert found["score"] == one.score[at]
    assert found["ci_low"] == one.intervals.low[at]
    assert found["selection_frequency"] == one.intervals.frequency[at]
    assert found["rate_unsafe"] == one.risk.unsafe[at]
    assert found["weight_drift"] == made.drift["gradient"].relative[at]
    assert found["ablation_effect"] == pytest.approx(-0.9 / 3)
    assert found["matched_null"] == pytest.approx(0.0)
    assert found["num_routed_tokens"] == one.routed_tokens[at]
    assert found["path"] == f"model.layers.{expert.layer}.mlp.experts"
    assert np.isnan(found["contrast"])


def test_what_no_token_came_to_has_no_rank():
    found = row(expert_table(findings()), round=1, method="routing", layer=5, expert=1)
    assert (found["rank"], found["unvisited"], found["chosen"]) == (0, True, False)


def test_a_smaller_bank_has_no_row_beyond_its_last_expert():
    made = findings()
    of = (*made.facts.banks[:-1], *banks(6, 3, dense=(0, 1, 2, 3, 4)))
    kept = tuple(one for one in made.identified if one.group.method == "routing")
    kept = tuple(replace(one, group=replace(one.group, experts=())) for one in kept)
    smaller = replace(
        made, facts=replace(made.facts, banks=of), identified=kept, effects=None
    )
    table = expert_table(smaller)
    assert len(table) == 3 * (4 * 8 + 3)
    assert table.where(layer=5)["expert"].max() == 2


def test_what_was_not_made_is_nan_and_the_file_keeps_it(tmp_path):
    made = findings(effects=None, ablation_estimate=None, drift={})
    table = expert_table(made)
    for name in ("ablation_estimate", "ablation_effect", "weight_drift", "contrast"):
        assert np.isnan(table[name]).all()
    save_expert_table(tmp_path, made)
    back = load_table(tmp_path / EXPERT_TABLE)
    for name in COLUMNS:
        np.testing.assert_array_equal(back[name], table[name])

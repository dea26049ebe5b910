from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from driftmap.families.expert_names import hub_pieces, hub_router_names, hub_views
from driftmap.families.expert_probe import probe_experts
from driftmap.families.expert_refusals import REFUSED
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from tiny_experts import LAWLESS_NAMES, MOE_NAMES, moe_tokens, tiny_moe

PAGE = Path(__file__).parents[2] / "docs/reference/families.md"
HEAD = "| mixture | tensors of a bank | stored | its router ranks by | weights |"
FAST = ("dbrx", "deepseek_v3", "gpt_oss", "llama4_text", "mixtral", "nemotron_h")
"""One of each layout: packed, groups and bias, transposed, untold, plain, no gate."""

FAMILIES = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in MOE_NAMES
]


def row_of(family, bank, law):
    """A family's row of the table, from what was found of it."""
    weights = [tensor for tensor in bank.tensors if not tensor.bias]
    parts = ", ".join("+".join(tensor.parts) for tensor in weights)
    if len(weights) < len(bank.tensors):
        parts += ", biases"
    stored = weights[0].layout
    if weights[0].transposed:
        stored += ", in x out"
    if weights[0].interleaved:
        stored += ", gate and up alternate"
    if law is None:
        return f"| {family} | {parts} | {stored} | not known | not known |"
    given = "probability" if law.score == "identity" else "logit"
    ranked, score = (
        given if name == "identity" else name.replace("_", " ")
        for name in (law.ranking, law.score)
    )
    ranked += law.biased * " + bias"
    if law.num_groups > 1:
        best = {"top_two": "two best", "maximum": "best"}[law.group_score]
        ranked += f", in groups by their {best}"
    score += law.renormalised * ", sum 1"
    return f"| {family} | {parts} | {stored} | {ranked} | {score} |"


def rows_of_the_page():
    lines = PAGE.read_text().splitlines()
    start = lines.index(HEAD) + 2
    return lines[start : lines.index("", start)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_experts_of_a_family_are_what_they_are_said_to_be(family):
    model = tiny_moe(family)
    banks = find_experts(model)
    with assert_restores_model(model):
        found = probe_experts(
            model,
            banks,
            moe_tokens(samples=4, tokens=16),
            moe_tokens(samples=4, tokens=16, seed=1),
        )
    paths = {bank.place.path for bank in banks}
    assert set(found.lawless if family in LAWLESS_NAMES else found.laws) == paths
    law = found.laws.get(banks[-1].place.path)
    assert row_of(family, banks[-1], law) in rows_of_the_page()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_experts_tensors_have_the_names_and_numbers_of_a_saved_model(
    family, tmp_path
):
    model = tiny_moe(family)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    for bank in find_experts(model):
        pieces = hub_pieces(model, bank)
        for name, view in hub_views(model, bank, pieces, 1).items():
            whole, _, number = name.partition("[")
            content = saved[whole]
            if number:
                rows = len(content) // bank.place.num_experts
                content = content[rows : 2 * rows].reshape(view.shape)
            assert torch.equal(content, view)
        assert set(hub_router_names(model, bank.router).values()) <= set(saved)


def test_the_page_names_the_proved_families_and_no_other():
    named = [row.split("|")[1].strip() for row in rows_of_the_page()]
    assert named == sorted(MOE_NAMES)
    assert len(named) >= 25


def test_the_page_says_of_every_refused_family_why():
    page = " ".join(PAGE.read_text().split())
    for family, reason in REFUSED.items():
        assert f"| {family} | {reason} |" in page

"""Does the page on experts say what its numbers say, and nothing that it may not?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.places import BankPlace
from driftmap.render.charts import Lines, Mosaic, Ranges
from driftmap.render.experts_answer import CAUTION_TITLES, MEANINGS, TITLES
from driftmap.render.experts_page import experts_page
from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.text import text_of
from driftmap.results.statistics import Caution
from made_expert_studies import (
    arms,
    banks,
    drift,
    facts,
    findings,
    study,
    token_view,
)


def text(**changes):
    return " ".join(text_of(experts_page(study(**changes))).split())


def charts(**changes):
    return {f.name: f.chart for f in figures_of(experts_page(study(**changes)))}


def test_the_answer_comes_first_with_models_side_by_side():
    said = text()
    assert said.index("1. The answer") < said.index("2. Which experts")
    assert "[Tuning only these experts is enough] Tuning only the chosen" in said
    assert MEANINGS["enough"] in said
    row = said[said.index("gradient 12, routers (16.6 %)") :]
    assert row.startswith(
        "gradient 12, routers (16.6 %) 95 % (89 to 101) 10 % (4 to 16) "
        "0.72 (0.66 to 0.78) routing"
    )
    assert "matched random (3 draws) 12, routers (16.6 %) 12 % (6 to 18)" in said
    assert "+83 points (+71 to +95) 4.00e-4" in said


@pytest.mark.parametrize("kind", TITLES)
def test_every_verdict_has_its_words(kind):
    verdict = replace(findings().verdict, kind=kind, settles="Ask more.")
    said = text(verdict=verdict)
    assert f"[{TITLES[kind]}]" in said
    assert f"{MEANINGS[kind]} What would settle it: Ask more." in said


def test_reasons_for_doubt_of_one_kind_share_a_box():
    twice = tuple(
        Caution(name="depth", sentence=f"{m}: depth.", value=0.1, is_blocking=False)
        for m in ("gradient", "routing")
    )
    said = text(cautions=twice)
    assert "[The choice follows depth] - gradient: depth. - routing: depth." in said
    assert "depth" in CAUTION_TITLES


def test_maps_have_every_expert_of_every_layer_and_dense_layers_are_gaps():
    chart = charts()["map-gradient-round-1"]
    assert isinstance(chart, Mosaic)
    score = findings().identified[0].score
    assert (len(chart.y_labels), len(chart.x_labels)) == (6, 8)
    assert chart.empty_rows() == [0]
    assert list(chart.values[1]) == score[0].tolist()
    chosen, idle = chart.marks
    assert chosen.name == "chosen (8)"
    first = findings().identified[0].group.experts[0]
    assert chosen.places[0] == (first.layer, first.expert)
    assert list(idle.places) == [(5, 1)]
    assert "layer 0: dense: no experts" in text()


@pytest.mark.parametrize("size", [(16, 64, 8), (48, 128, 8)])
def test_a_map_never_shrinks_to_its_group(size):
    chart = charts(size=size, dense=(1,), k=5)["map-gradient-round-1"]
    assert {len(row) for row in chart.values} == {size[1]}
    assert len(chart.values) == size[0]
    assert chart.empty_rows() == [1]


def test_a_bank_with_fewer_experts_leaves_a_gap():
    of = (*banks(num_layers=3, dense=(0, 1)), *banks(4, 4, dense=(0, 1, 2)))
    made = findings()
    one = made.identified[0]
    score = np.arange(16.0).reshape(2, 8)
    cut = replace(one, score=score, routed_tokens=np.ones((2, 8), int), intervals=None,
                  halves=None, shape=None, tests=None, risk=None, maps={}, matched=(),
                  group=replace(one.group, experts=()))  # fmt: skip
    shown = charts(
        facts=facts(of), identified=(cut,), agreement=None, rounds=(), arms=(),
        contrasts=(), effects=None, ablation_estimate=None, drift={}, moved=(),
        domains=(), specialised=None, company=(), vocabulary=(), tokens=(),
    )  # fmt: skip
    values = shown["map-gradient-round-1"].values
    assert np.isnan(values[3][4:]).all()
    assert values[3][:4] == [8.0, 9.0, 10.0, 11.0]


def test_two_banks_of_a_layer_are_told_apart():
    one, two = (
        BankPlace(path=f"layers.1.{name}.experts", layer=1, num_experts=8,
                  num_chosen=2)
        for name in ("mlp", "attention")
    )  # fmt: skip
    from driftmap.render.experts_words import layer_labels

    assert layer_labels(facts((one, two))) == ["0", "1 mlp", "1 attention"]


def test_risk_differences_run_both_ways_from_zero():
    chart = charts()["map-routing-round-1"]
    assert chart.middle == 0.0
    assert not chart.is_log


def test_ranks_stand_beside_the_best_that_was_not_chosen():
    chart = charts()["ranks-gradient"]
    one = findings().identified[0]
    assert isinstance(chart, Ranges)
    order = np.sort(one.score[one.routed_tokens > 0])[::-1]
    assert list(chart.estimates) == order[:8].tolist()
    assert chart.reference == order[8]


def test_chosen_experts_by_layer_stand_beside_a_blind_choice():
    chart = charts()["chosen-by-layer"]
    assert isinstance(chart, Lines)
    by_name = {line.name: line for line in chart.lines}
    experts = findings().identified[0].group.experts
    counted = [sum(e.layer == n for e in experts) for n in range(1, 6)]
    assert list(by_name["gradient score"].y) == counted
    assert list(by_name["blind choice"].y) == [8 / 5] * 5


def test_stability_and_agreement_have_their_chance():
    said = text()
    assert "gradient score 0.71 (0.59 to 0.83) 0.09 0.60" in said
    assert "`mean_example_abs` `risk_difference` 0.23 (0.13 to 0.33) 0.09 0.31" in said
    halves = charts()["halves"]
    assert [line.name for line in halves.lines] == [
        "gradient score", "routing score", "blind choices",
    ]  # fmt: skip


def test_effects_stand_beside_matched_random_sets():
    said = text()
    assert (
        "gradient round 1: 8 by gradient removed -2.40 (-2.65 to -2.15) "
        "-0.30 to +0.30 (20 draws) -2.40 (-2.70 to -2.10) 0.0476" in said
    )
    dose = charts()["dose-ablate-refusal-log-odds"]
    assert [line.name for line in dose.lines] == [
        "gradient score", "routing score", "matched random experts",
    ]  # fmt: skip
    single = charts()["single-experts"]
    assert single.margin == pytest.approx((-0.3, 0.3))


def test_swap_and_price_are_told():
    said = text()
    assert "weights -10.20 to 3.00 +12.15 (+12.05 to +12.25) +1.05" in said
    assert "gradient score 8 aligned 95 % (85 to 105) 10 % (6 to 14) 2.05 yes" in said


def test_experts_that_moved_unasked_are_named():
    assert "18 experts moved; every other one is exactly as it was." in text()
    made = findings()
    leaked = drift(made.facts.banks, made.identified)
    leaked.relative[:] = 0.01
    said = text(drift={"gradient": leaked})
    assert "22 experts moved without having been chosen." in said


def test_routing_before_and_after_is_a_difference_of_shares():
    chart = charts()["routing-change-unsafe"]
    domain = findings().domains[0]
    np.testing.assert_allclose(chart.values[1], (domain.after - domain.before)[0])
    assert chart.middle == 0.0
    saturation = charts()["routing-saturation"]
    assert saturation.lines[-1].name == "blind"
    assert list(saturation.lines[-1].y) == [0.25] * 5


def test_routing_alone_is_shown_where_nothing_was_tuned():
    untouched = tuple(replace(d, after=None) for d in findings().domains)
    chart = charts(domains=untouched)["routing-unsafe"]
    assert chart.middle is None


def test_no_text_is_shown_unless_it_is_there():
    said = text()
    assert "Texts are not shown: `--show-text` shows them" in said
    words = ["SECRET", "<b>", "`x`", "yes"]
    view = token_view(findings().identified[0], words, num_prompt=3, num_response=1)
    page = experts_page(study(tokens=(view,)))
    assert "SECRET" in text_of(page)
    assert "Texts are not shown" not in text_of(page)
    assert "&lt;b&gt;" in html_of(page)
    assert "`x`</span>" in html_of(page)


def test_tokens_are_counted_from_the_answer():
    chart = charts()["tokens-1"]
    assert chart.x_labels[0] == "-14"
    assert chart.x_labels[chart.line_before] == "0"
    view = findings().tokens[0]
    seen = np.array(chart.values)[::-1].T
    np.testing.assert_array_equal(np.isnan(seen), view.weights == 0)


def test_lift_is_read_against_blind_choices():
    chart = charts()["company-layer-1"]
    assert chart.is_log
    pairs = [(a, b) for a in range(8) for b in range(a)]
    together = sum(pair == (1, 0) for pair in pairs) / len(pairs)
    assert chart.middle == pytest.approx(together / (2 / 8) ** 2)
    found = findings().company[0]
    lift = found.both[0, 1] * found.num_tokens / (found.both[0, 0] * found.both[1, 1])
    assert chart.values[0][1] == pytest.approx(lift)
    assert np.isnan(chart.values[0][0])


NOTHING = {
    "agreement": None, "rounds": (), "arms": (), "contrasts": (), "effects": None,
    "ablation_estimate": None, "drift": {}, "moved": (), "domains": (),
    "specialised": None, "company": (), "vocabulary": (), "tokens": (),
    "cautions": (),
}  # fmt: skip


def test_a_ranking_alone_makes_a_page():
    one = replace(
        findings().identified[0], intervals=None, halves=None, shape=None, tests=None,
        risk=None, maps={}, matched=(), batch_jaccard=(),
    )  # fmt: skip
    page = experts_page(study(identified=(one,), **NOTHING))
    assert [section.anchor for section in page.sections] == [
        "answer", "experts", "words", "method", "settings",
    ]  # fmt: skip
    assert "identified and not tuned" in page.lead


@pytest.mark.parametrize("left_out", NOTHING)
def test_each_part_can_be_missing(left_out):
    page = experts_page(study(**{left_out: NOTHING[left_out]}))
    assert text_of(page)


def test_an_in_sample_study_says_so():
    made = replace(findings().items, is_in_sample=True, num_held_out=0)
    said = text(items=made, arms=arms())
    assert "none: outcomes are read on the training items" in said
    assert "asked the same prompts, that they were tuned on" in said


def test_a_trial_says_so():
    page = experts_page(study(settings={"quick": True}))
    assert page.title.startswith("Trial run: ")


def test_only_the_layers_with_most_chosen_experts_show_their_pairs():
    made = findings()
    one = made.company[0]
    every = tuple(replace(one, bank=bank) for bank in made.facts.banks)
    drawn = [name for name in charts(company=every) if name.startswith("company")]
    chosen = [expert.layer for expert in made.identified[0].group.experts]
    most = max(made.facts.banks, key=lambda bank: chosen.count(bank.layer))
    assert drawn[0] == f"company-layer-{most.layer}"
    assert len(drawn) == 4


def test_experts_chosen_one_at_a_time_have_no_company():
    made = findings()
    alone = replace(made.company[0], bank=replace(made.facts.banks[0], num_chosen=1))
    assert "company-layer-1" not in charts(company=(alone,))


def test_many_pairs_of_methods_are_folded():
    made = findings().agreement
    names = tuple("abcdef")
    pairs = tuple(
        replace(made.pairs[0], left=a, right=b)
        for n, a in enumerate(names)
        for b in names[n + 1 :]
    )
    said = text(agreement=replace(made, methods=names, pairs=pairs))
    assert "* Pairs of other methods (10) *" in said


def test_overlaps_that_nothing_was_drawn_for_have_no_interval():
    made = findings().agreement
    pair = replace(made.pairs[0], jaccard=replace(made.pairs[0].jaccard, num=0))
    said = text(agreement=replace(made, pairs=(pair,)))
    assert "`mean_example_abs` `risk_difference` 0.23 0.09 0.31 (0.23 to 0.39)" in said


def test_a_method_that_chooses_nobody_still_has_its_map():
    one = findings().identified[0]
    nobody = replace(one, group=replace(one.group, experts=(), scores=()))
    shown = charts(identified=(nobody, findings().identified[1]), effects=None)
    assert "map-gradient-round-1" in shown
    assert "ranks-gradient" not in shown

"""Does the page on traces say what its numbers say, and nothing that it may not?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.render.charts import Lines
from driftmap.render.html import html_of
from driftmap.render.page import Picker, charted, figures_of
from driftmap.render.text import text_of
from driftmap.render.token_charts import Bars, TokenMap
from driftmap.render.trace_answer import CAUTION_TITLES, MEANINGS, TITLES
from driftmap.render.trace_page import trace_page
from driftmap.render.trace_words import EDITING
from driftmap.results.statistics import Caution
from driftmap.results.trace_kinds import Noise
from driftmap.results.trace_study import ExactPlace, TraceVerdict
from made_trace_studies import (
    EFFECTS,
    HIGH,
    LOW,
    between,
    counts,
    effects,
    fact_rows,
    grid,
    lens_view,
    one_fact,
    study,
    traced,
)


def said(of):
    return " ".join(text_of(trace_page(of)).split())


def charts(of):
    return {f.name: f.chart for f in figures_of(trace_page(of))}


def pickers(of):
    return {p.name: p for p in charted(trace_page(of)) if isinstance(p, Picker)}


def test_the_first_screen_has_the_answer_its_map_and_the_counts():
    text = said(study())
    top = text[: text.index("2. Which token, which layer")]
    assert f"[{TITLES['subject site']}] Over 240 facts of 60 subjects" in top
    assert MEANINGS["subject site"] in top
    assert "Figure: What is brought back by one block's output" in top
    assert "known to the model 240 (93.8 %)" in top
    assert "not known, left out 16" in top
    assert "lost to noise on the subject 0.70 (0.66 to 0.74)" in top
    assert "lost to the same noise on other words 0.10 (0.06 to 0.14)" in top
    assert "(the subject is not in the prompt)" in top


@pytest.mark.parametrize("kind", TITLES)
def test_every_verdict_has_its_words(kind):
    verdict = TraceVerdict(kind=kind, sentence="It is so.", settles="Ask more.")
    text = said(study(verdict=verdict))
    assert f"[{TITLES[kind]}] It is so. {MEANINGS[kind]}" in text
    assert "What would settle it: Ask more." in text


def test_every_list_of_layers_has_the_caution_on_editing():
    assert said(study()).count(EDITING) == 2
    assert said(one_fact()).count(EDITING) == 1


def test_reasons_for_doubt_of_one_kind_share_a_box():
    twice = tuple(
        Caution(name="weak-estimate", sentence=f"{kind}.", value=0.1, is_blocking=False)
        for kind in ("a", "b")
    )
    text = said(study(cautions=twice))
    assert f"[{CAUTION_TITLES['weak-estimate']}] - a. - b." in text


def test_maps_by_role_share_one_scale_from_nothing_to_all_that_was_lost():
    drawn = charts(study())
    for kind, hue in (("hidden", "hidden"), ("mlp", "mlp"), ("attn", "attn")):
        chart = drawn[f"role-map-{kind}"]
        assert isinstance(chart, TokenMap)
        assert chart.ends == (0.0, pytest.approx(HIGH - LOW))
        assert chart.hue == hue
        assert list(chart.tokens) == list(EFFECTS[kind])
        for role, row in zip(chart.tokens, chart.values, strict=True):
            assert row == list(EFFECTS[kind][role])


def test_what_lies_below_nothing_stays_in_the_table():
    assert "-0.01 (-0.05 to 0.03)" in said(study())
    chart = charts(study())["role-map-mlp"]
    assert chart.values[0][-1] == -0.01
    assert chart.scale()[0] == 0.0


def test_lines_have_their_bands_and_their_facts():
    chart = charts(study())["role-lines-hidden"]
    assert isinstance(chart, Lines)
    (line,) = [one for one in chart.lines if one.name.startswith("last subject")]
    assert line.name == "last subject token (n 240)"
    assert list(line.y) == list(EFFECTS["hidden"]["last subject"])
    assert line.low[1] == pytest.approx(0.62)
    assert line.high[1] == pytest.approx(0.70)


def test_the_best_layers_have_intervals_of_number_and_size():
    text = said(study())
    assert (
        "one block's output last subject token 240 1 (0 to 1) 0.66 (0.62 to 0.70) "
        "94.3 % 0.68" in text
    )


def test_severed_runs_stand_beside_plain_ones():
    chart = charts(study())["severed"]
    assert isinstance(chart, Bars)
    assert [bar.name for bar in chart.bars] == [
        "one block's output", "one block's output, MLP severed",
        "one block's output, attention severed",
    ]  # fmt: skip
    assert list(chart.bars[1].values) == list(EFFECTS["severed_mlp"]["last subject"])
    assert chart.bars[1].lows[0] == pytest.approx(0.26)
    plain = study(effects=tuple(effects(kind) for kind in ("hidden", "mlp")))
    assert "severed" not in charts(plain)


def test_single_facts_show_what_is_read_from_low_to_high():
    drawn = charts(study())
    for kind in ("hidden", "mlp", "attn"):
        chart = drawn[f"trace-{kind}"]
        assert chart.ends == (LOW, HIGH)
        assert list(chart.starred) == [1, 2, 3]
        assert np.array_equal(chart.values, grid(kind).score)
    text = said(study())
    assert (
        "Figure: Mivodu lives in: MLP outputs, 2 layers at once put back. Answer "
        "`Rome`: clean 0.95, corrupted 0.25, mean of 10 draws." in text
    )


def test_any_prompt_and_kind_can_be_chosen():
    picker = pickers(study())["trace-any"]
    assert [len(one.options) for one in picker.choices] == [2, 3]
    assert picker.choices[1].options[2] == "attention outputs, 2 layers at once"
    assert [chart.hue for chart in picker.charts] == ["hidden", "mlp", "attn"] * 2
    assert picker.chosen() == [1, 0]
    assert "trace-any" not in pickers(study(shown=(traced(),)))


def test_a_single_prompt_has_its_map_on_the_first_screen_and_once():
    text = said(one_fact())
    assert "Where in the model is this fact read?" in text
    top = text[: text.index("2. Single facts")]
    assert "one block's output put back. Answer `Rome`: clean 0.95" in top
    assert "lost to noise on the subject 0.74" in top
    assert "lost to the same noise on other words 0.05" in top
    names = [figure.name for figure in figures_of(trace_page(one_fact()))]
    assert names == ["trace-hidden", "trace-mlp", "trace-attn", "severed"]


def test_bars_of_a_single_prompt_have_two_standard_errors():
    bar = charts(one_fact())["severed"].bars[1]
    assert bar.values[0] == pytest.approx(0.3)
    assert (bar.lows[0], bar.highs[0]) == (pytest.approx(0.28), pytest.approx(0.32))


def test_what_noise_makes_likelier_is_said():
    turned = replace(traced(), grids=(grid(low=0.5, high=0.4),))
    text = said(study(shown=(turned,)))
    assert "clean 0.40, corrupted 0.50" in text
    assert "Noise makes the answer likelier here, so colours run the other way" in text


def test_the_head_is_read_along_depth_and_called_a_description():
    text = said(study())
    assert "A description, not an effect: nothing is changed here." in text
    assert [line.name for line in charts(study())["lens"].lines] == [
        "probability of the answer", "answer is first choice",
        "probability of the foil",
    ]  # fmt: skip
    assert np.array_equal(charts(study())["lens-map"].values, lens_view().probability)
    assert "`Rome` is the first choice from layer 3 on." in text
    late = replace(lens_view(), rank=np.full((6, 6), 3))
    assert "`Rome` is not the model's first choice." in said(
        study(shown=(traced(), traced("f1", lens=late)))
    )


def test_facts_one_by_one_are_cut_and_counted():
    text = said(study(facts=fact_rows(50)))
    assert "The first 20 of 50" in text
    assert "f0 Mivodu Rome Oslo no 0.95 0.20 0.75 1 0.6" in text
    assert "f20 Mivodu" not in text


def test_the_models_own_answers_are_called_that():
    text = said(study(answer_source="top1"))
    assert "answers the model's own first choices, right or wrong" in text
    assert "known to the model" not in text


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (Noise(level=0.1), "Gaussian noise of standard deviation 0.1 is added"),
        (Noise(level=0.1, replaces=True), "0.1 stands in their place"),
        (Noise(kind="swap"), "of as many tokens stand in their place"),
        (Noise(kind="zero", num_draws=1), "zeros stand in their place, once"),
    ],
)
def test_the_noise_is_told(noise, words):
    assert words in said(study(noise=noise))


def test_estimates_stand_beside_exact_cells():
    text = said(study())
    assert (
        "one block's output attribution 240 0.86 (0.82 to 0.90) 0.81 (0.77 to 0.85)"
        in text
    )
    estimated = tuple(
        replace(effects(kind), method="grad_drop") for kind in ("hidden", "mlp")
    )
    rough = tuple(grid(kind, method="grad_drop") for kind in ("hidden", "mlp"))
    place = ExactPlace(kind="hidden", token=3, layer=1, estimate=0.71, exact=0.91)
    shown = (traced(grids=rough, places=(place,)),)
    text = said(study(effects=estimated, shown=shown))
    assert "Estimated, not traced: over 240 facts" in text
    assert "sizes without a sign" in text
    assert "brought back by one block's output (estimated), by token" in text
    assert "one block's output (estimated) last subject token 240 1 (0 to 1)" in text
    assert "MLP outputs, 2 layers at once (estimated) put back." in text
    assert "whatever the model does" not in text
    assert "Mivodu lives in one block's output 3: du 1 0.71 0.91" in text


def test_an_effect_of_nothing_is_drawn_too():
    none = effects(total_effect=between(0.0), high=LOW)
    low, high = charts(study(effects=(none,)))["role-map-hidden"].scale()
    assert low < high
    assert TITLES["no effect"] in said(study(effects=(none,)))


def test_a_study_of_no_known_fact_is_a_page_all_the_same():
    empty = study(
        effects=(), facts=(), shown=(), lens=(), checks=(),
        counts=counts(num_known=0, num_unknown=260, num_averaged=0, num_subjects=0),
    )  # fmt: skip
    text = said(empty)
    assert f"[{TITLES['inconclusive']}]" in text
    assert "known to the model 0 (0 %)" in text
    assert figures_of(trace_page(empty)) == []


def test_nothing_in_a_prompt_is_read_as_markup():
    evil = "<script>alert(1)</script>"
    hostile = traced(
        prompt=evil, subject=evil,
        grids=(grid(tokens=(evil, *("<b>",) * 5), answer=evil, foil=evil),),
        lens=replace(lens_view(), tokens=(evil,) * 6, answer=evil),
    )  # fmt: skip
    rows = (replace(fact_rows()[0], id=evil, subject=evil, answer=evil, choice=evil),)
    document = html_of(trace_page(study(shown=(hostile, hostile), facts=rows * 2)))
    assert "<script>alert" not in document
    assert "<b>" not in document.split("<script>")[0]


def test_equal_studies_give_equal_bytes():
    assert html_of(trace_page(study())) == html_of(trace_page(study()))

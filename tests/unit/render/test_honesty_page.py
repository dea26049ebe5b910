"""Does the page on honesty readings say what its numbers say, and claim no truth?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.render.charts import Lines, Points, Ranges
from driftmap.render.coloured import ColouredTexts
from driftmap.render.honesty_answer import CAUTION_TITLES, MEANINGS, TITLES
from driftmap.render.honesty_page import honesty_page
from driftmap.render.honesty_words import NOT_TRUTH, TRANSFERS
from driftmap.render.html import html_of
from driftmap.render.page import Folded, Picker, charted, figures_of
from driftmap.render.text import text_of
from driftmap.render.token_charts import TokenMap
from driftmap.results.honesty_study import HonestyVerdict
from driftmap.results.statistics import Caution
from made_honesty_studies import (
    ACCURACY,
    STRENGTHS,
    bare,
    scored,
    steered,
    study,
    texts,
    unit,
)


def said(of):
    return " ".join(text_of(honesty_page(of)).split())


def charts(of):
    return {f.name: f.chart for f in figures_of(honesty_page(of))}


def coloured(of):
    nodes = [node for part in honesty_page(of).sections for node in part.nodes]
    return [node for node in nodes if isinstance(node, ColouredTexts)]


def test_the_answer_comes_first_and_says_what_it_is_not():
    text = said(study())
    top = text[: text.index("2. Token by token")]
    assert f"[{TITLES['read']}] On 40 true statements that took no part" in top
    assert MEANINGS["read"] in top
    assert f"[Not truth] {NOT_TRUTH}" in top
    assert "test 40 (160 pairs)" in top
    assert "minus shuffled labels +46 points (+43 to +49)" in top
    assert "single states on the right side 90 % (87 to 93) at score 0.08" in top


@pytest.mark.parametrize("kind", TITLES)
def test_every_verdict_has_its_words(kind):
    verdict = HonestyVerdict(kind=kind, sentence="It is so.", settles="Ask more.")
    text = said(study({"verdict": verdict}))
    assert f"[{TITLES[kind]}] It is so. {MEANINGS[kind]}" in text
    assert "What would settle it: Ask more." in text


@pytest.mark.parametrize("name", CAUTION_TITLES)
def test_every_doubt_has_its_title(name):
    caution = Caution(name=name, sentence="Because.", value=0.1, is_blocking=False)
    assert f"[{CAUTION_TITLES[name]}] Because." in said(study({"cautions": (caution,)}))


def test_accuracy_stands_beside_controls_and_blind_directions():
    chart = charts(study())["accuracy-by-layer"]
    assert isinstance(chart, Lines)
    by_name = {line.name: line for line in chart.lines}
    assert list(by_name["held out"].y) == list(ACCURACY)
    assert set(by_name["labels shuffled by pair"].y) == {0.51}
    assert set(by_name["one random label per statement"].y) == {0.53}
    assert by_name["blind directions"].high[0] == pytest.approx(0.75)


def test_methods_are_compared_on_the_same_statements():
    chart = charts(study())["methods-by-layer"]
    assert [line.name for line in chart.lines] == [
        "difference of means", "first component of shuffled differences",
    ]  # fmt: skip
    assert chart.lines[1].y[3] == pytest.approx(0.87)
    assert "+19 points (+16 to +22)" in said(study())


def test_texts_of_one_name_stand_beside_each_other_in_colours():
    first, second = coloured(study())
    assert [text.title for text in first.texts] == [
        "under the honest instruction", "under the dishonest instruction",
    ]  # fmt: skip
    assert len(second.texts) == 1
    honest, dishonest = (text.pieces for text in first.texts)
    assert honest[0].is_context
    assert not honest[1].is_context
    assert "".join(piece.text for piece in honest) == scored().text
    assert honest[3].value == pytest.approx(scored().band_score[3])
    assert dishonest[3].value < 0


def test_pieces_without_a_sign_of_their_own_are_not_coloured():
    of = study({"texts": (scored(pieces=("<s>", "", "é"), num_prompt=1),)})
    (node,) = coloured(of)
    assert [piece.text for piece in node.texts[0].pieces] == ["<s>", "é"]
    assert charts(of)["honesty-map-0"].tokens == ["<s>", "é"]


def test_maps_share_one_scale_around_nothing():
    drawn = charts(study())
    one, other = drawn["honesty-map-0"], drawn["honesty-map-1"]
    assert isinstance(one, TokenMap)
    assert one.hue == "honesty"
    assert one.ends == other.ends
    assert one.ends[0] == -one.ends[1]
    assert np.allclose(one.values, scored().score)
    assert list(one.starred) == [1, 2, 3, 4, 5]
    assert "`*`: said by the model." in said(study())
    given = study({"texts": (scored(num_prompt=0),)})
    assert list(charts(given)["honesty-map-0"].starred) == []
    (picker,) = (p for p in charted(honesty_page(study())) if isinstance(p, Picker))
    assert len(picker.charts) == 3
    assert picker.chosen() == [2]


def test_a_long_text_is_cut_in_its_map_and_whole_in_colours():
    long = scored(pieces=("<s>", *[f" {n}" for n in range(200)]))
    of = study({"texts": (long,)})
    assert len(charts(of)["honesty-map-0"].values) == 120
    assert "The last 120 of 201 tokens." in said(of)
    assert len(coloured(of)[0].texts[0].pieces) == 201


def test_many_texts_are_folded():
    many = tuple(scored(f"q{n}") for n in range(6))
    of = study({"texts": many})
    assert len(coloured(of)) == 4
    (part,) = (p for p in honesty_page(of).sections if p.anchor == "tokens")
    (fold,) = (node for node in part.nodes if isinstance(node, Folded))
    assert (fold.summary, len(fold.nodes)) == ("2 more texts", 2)


def test_transfers_show_their_drop_and_what_is_missing():
    chart = charts(study())["transfer"]
    assert isinstance(chart, Ranges)
    assert chart.reference == 0.5
    assert len(chart.names) == 3
    text = said(study())
    assert f"{TRANSFERS['true_against_false']} true against false 0.52 (0.44" in text
    assert "– – no statement could be negated" in text


def test_steering_stands_beside_blind_directions():
    chart = charts(study())["steering-log-odds"]
    own, blind = chart.lines
    assert list(own.x) == list(STRENGTHS)
    assert own.y[-1] == pytest.approx(6.8)
    assert own.low[-1] == pytest.approx(6.4)
    assert blind.name == "blind directions (3)"
    assert [thread[-1] for thread in blind.threads] == pytest.approx([2.4, 1.4, 2.08])
    assert blind.y[-1] == pytest.approx((2.4 + 1.4 + 2.08) / 3)
    likely = charts(study())["steering-p-true"]
    assert likely.y_ends == (0.0, 1.0)
    assert likely.lines[0].y[2] == pytest.approx(0.881, abs=1e-3)
    price = charts(study())["steering-perplexity"]
    assert price.is_log
    assert list(price.lines[0].y) == [12, 9, 8, 9, 12]


def test_blind_directions_start_where_nothing_is_moved():
    points = (steered(0.0), steered(2.0), steered(2.0, 0.1, "random"))
    _, blind = charts(study(steering=points))["steering-log-odds"].lines
    assert list(blind.threads[0]) == pytest.approx([2.0, 2.2])


def test_steering_without_questions_shows_its_price_alone():
    points = tuple(
        replace(steered(c), log_odds=None, p_true=None, share_true=None)
        for c in STRENGTHS
    )
    of = study(steering=points)
    assert "No questions were asked: only the price is read." in said(of)
    assert "steering-log-odds" not in charts(of)
    assert "steering-perplexity" in charts(of)


def test_units_are_ranked_in_training_and_reported_held_out():
    chart = charts(study())["units"]
    assert isinstance(chart, Points)
    assert [list(cloud.x) for cloud in chart.clouds] == [[1.5], [-0.9]]
    assert chart.clouds[0].y == [pytest.approx(1.2)]
    text = said(study(units=tuple(unit(number=n) for n in range(30))))
    assert "The first 20 of 30 units." in text


def test_what_was_not_measured_is_left_out():
    text = said(bare())
    for title in ("Token by token", "Beyond its", "Moving states", "Which units"):
        assert title not in text
    assert "Layer by layer" in text


def test_nothing_in_a_text_is_read_as_markup():
    evil = "<script>alert(1)</script>"
    hostile = tuple(
        replace(
            scored(pieces=("<s>", evil, "<b>")), name=evil, title=evil,
            text=f"<s>{evil}<b>",
        )
        for _ in range(2)
    )  # fmt: skip
    of = study({"texts": (*hostile, *texts())}, honest=evil, dishonest=evil)
    document = html_of(honesty_page(of))
    assert "<script>alert" not in document
    assert "<b>" not in document.split("<script>")[0]
    assert html_of(honesty_page(of)) == document

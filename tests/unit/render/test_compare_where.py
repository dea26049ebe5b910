"""What the page says of where a change acts."""

from dataclasses import replace

from numpy import array, zeros

from driftmap.render.compare_where import CAUTION, SHORT, where_section
from driftmap.render.html import html_of
from driftmap.render.page import Page, figures_of
from driftmap.render.text import text_of
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import Noise
from driftmap.results.traces import BestLayer, RoleEffects, RoleLayer, TraceGrid
from driftmap.results.where_it_acts import (
    CrossTrace,
    MixPoint,
    ProfileShift,
    SwapShare,
    TraceChange,
    WhereItActs,
)


def about(estimate, half=0.02):
    return Interval(
        estimate=estimate, low=estimate - half, high=estimate + half, level=0.95, num=8
    )


def effects(kind="hidden", total=0.9):
    last = [about(0.1 * total), about(total)]
    return RoleEffects(
        kind=kind,
        window=None if kind == "hidden" else 1,
        cells=tuple(
            RoleLayer(role=role, layer=layer, effect=one)
            for role in ("last subject", "last")
            for layer, one in enumerate(last)
        ),
        best=(
            BestLayer(
                role="last", layer=1, low=0, high=1, effect=total,
                mean_of_maxima=total, num=8,
            ),
        ),
        total_effect=about(total),
        control_effect=None,
        high=total,
        low=0.0,
        num_facts=8,
        num_unknown=0,
        num_negative=0,
        pooled=False,
        method="wavefront",
    )  # fmt: skip


def grid():
    return TraceGrid(
        fact_id="f",
        kind="hidden",
        window=None,
        dims=None,
        score=array([[0.0, 0.1], [0.2, 0.9]]),
        standard_error=zeros((2, 2)),
        low=0.0,
        high=0.9,
        tokens=("<b>X", " is"),
        subject=(0, 1),
        roles=(("first subject", "last subject"), ("last",)),
        answer=" <i>Y",
        foil=None,
        is_known=None,
        outcome="prob",
        noise=Noise(),
        method="wavefront",
    )


def swap(kind, name, layers, needed, enough):
    one, other = about(needed), about(enough)
    return SwapShare(
        kind=kind, name=name, layers=layers, changed=True, needed=one, enough=other,
        needed_corrected=one, enough_corrected=other,
    )  # fmt: skip


FOUND = WhereItActs(
    identical=False,
    behaviour="taught answers",
    num_layers=2,
    num_asked=8,
    left_out={"no taught answer beside the true one": 3},
    nll_base=about(5.0),
    nll_tuned=about(0.1),
    gap=about(4.9),
    shares_formed=True,
    swaps=(
        swap("layer", "layer 0", (0,), 0.0, 0.05),
        swap("layer", "layer 1", (1,), 0.7, 0.8),
        swap("part", "v", (), 0.5, 0.6),
        swap("outside", "head", (), 0.0, 0.0),
    ),
    sum_needed=0.7,
    sum_enough=0.85,
    curve=tuple(
        MixPoint(
            share=a, nll_new=about(5 - 4 * a), nll_old=about(1 + a),
            neighbourhood=about(1 - a / 4),
        )
        for a in (0.0, 0.5, 1.0)
    ),
    crosses=(
        CrossTrace(
            direction="tuned into base", answer="new", effects=(effects(),),
            example=(grid(),),
        ),
    ),
    num_crossed=8,
    traces=tuple(
        TraceChange(
            answer=answer, before=effects(), after=effects(total=0.3),
            difference=effects(total=-0.6), example_before=grid(),
            example_after=grid(),
        )
        for answer in ("old", "new")
    ),
    num_traced=8,
    shifts=(
        ProfileShift(
            kind="hidden", likeness=about(0.4), ceiling=about(0.9),
            below_ceiling=about(0.5), num_refused=1,
        ),
    ),
)  # fmt: skip


def page_of(found):
    return Page(title="t", lead="l", sections=[where_section(found)], footer="f")


def flat(page):
    return " ".join(text_of(page).split())


def test_every_list_of_layers_has_the_caution_beside_it():
    page = page_of(FOUND)
    said = flat(page)
    assert CAUTION in said
    beside = [f for f in figures_of(page) if f.name.startswith(("swap", "cross"))]
    assert len(beside) == 4
    assert all("2301.04213" in figure.reading for figure in beside)
    assert said.count(SHORT) >= 6


def test_numbers_stand_with_their_intervals_and_counts():
    said = flat(page_of(FOUND))
    assert "layer 1 with 0.70 (0.68 to 0.72)" in said
    assert "add to 0.70 (needed) and 0.85 (enough)" in said
    assert "no taught answer beside the true one (3)" in said
    assert "from layer 1 on" in said
    assert "are not those that the old one was read from" in said


def test_before_and_after_stand_on_one_scale():
    maps = {f.name: f.chart for f in figures_of(page_of(FOUND))}
    before, after = maps["trace-old-before"], maps["trace-old-after"]
    assert before.scale() == after.scale() == (0.0, 0.9)
    assert maps["trace-changes"].scale() == (-0.9, 0.9)


def test_what_prompts_hold_is_escaped():
    html = html_of(page_of(FOUND))
    assert "<i>Y" not in html
    assert "<b>X" not in html


def test_identical_models_get_a_sentence_and_no_figure():
    same = WhereItActs(identical=True, behaviour="own words", num_layers=2)
    page = page_of(same)
    assert "The two models have the same weights" in flat(page)
    assert figures_of(page) == []


def test_without_a_sure_gap_no_share_is_drawn():
    none = replace(FOUND, gap=about(0.0), shares_formed=False)
    page = page_of(none)
    assert "No share is formed" in flat(page)
    assert not [f for f in figures_of(page) if f.name.startswith("swap")]

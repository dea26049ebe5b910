"""Does the page on similar samples say what was found, each number with its chance?"""

import inspect
import json
import re
from dataclasses import replace
from functools import cache
from typing import get_args

import pytest

from driftmap.core.places import PARTS, TensorPlace
from driftmap.render.charts import Lines, Points
from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.similarity_answer import CAUTION_TITLES, TITLES
from driftmap.render.similarity_page import similarity_page
from driftmap.render.similarity_selection import GOALS
from driftmap.render.similarity_words import PART_NAMES, WEIGHTINGS
from driftmap.render.text import text_of
from driftmap.results.oddities import EnergyShares
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.retrieval import (
    Preselection,
    RetrievalStudy,
    WeightingName,
)
from driftmap.results.retrieval_reading import SketchError, Unit
from driftmap.results.selection import SelectionGoal
from driftmap.results.similarity_study import MeasureStudy
from driftmap.stats.retrieval import reservations
from made_similarity import (
    NUM,
    activations,
    around,
    comparison,
    reading,
    retrieval,
    score,
    set_study,
    study,
    tensors,
)


def text(made=None):
    page = whole() if made is None else similarity_page(made)
    return " ".join(text_of(page).split())


def figures(made=None):
    page = whole() if made is None else similarity_page(made)
    return {f.name: f.chart for f in figures_of(page)}


@cache
def whole():
    """The page of a whole study."""
    return similarity_page(study(comparison=comparison()))


def with_full(value, *, half=0.05, bm25=None, p_value=0.01):
    """One set whose full gradient reaches this, and beats BM25 by that."""
    made = set_study()
    full = made.readings[0]
    contrasts = ()
    if bm25 is not None:
        contrasts = (
            replace(full.contrasts[0], change=around(bm25, 0.02), p_value=p_value),
        )
    full = replace(full, accuracy=score(value, half), contrasts=contrasts)
    sets = (replace(made, readings=(full, *made.readings[1:])),)
    return study(measures=(MeasureStudy(name="gradients", study=retrieval(sets=sets)),))


def bare(**changes):
    """A set of one query and one tensor, with nothing beside it."""
    full = Unit(kind="full", name="full", num_tensors=1)
    made = set_study(
        num_queries=1, num_ids=1, num_chosen_on=1, num_reported_on=1,
        readings=(
            reading(full, 1.0, margin=None, auc=None, agreement=None, contrasts=(),
                    closeness=None),
        ),
        best_tensor=None, weightings=(), selections=(), projections=(),
        energy=EnergyShares(
            tensors=(), parts=(), num_heard_queries=1.0, num_heard_originals=1.0
        ),
        size_correlation=None, odd=(), num_wrong={"full": 0}, wrong=(), hubs=(),
        queries=(), cautions=(),
    )  # fmt: skip
    place = TensorPlace(name="full gradient", part="block")
    found = retrieval(
        sets=(made,), places=(place,), num_originals=1, num_duplicates=0, provenance={}
    )
    values = {
        "measures": (MeasureStudy(name="gradients", study=found),),
        "settings": {"from_json": "results"},
        "model": None,
        "sets": None,
        "texts": {},
        "exactness": {},
    }
    return study(**values | changes)


def test_the_answer_comes_first_with_its_interval_chance_and_words_alone():
    said = text()
    assert said.index("1. The answer") < said.index("2. Which layers find the original")
    assert (
        "By the full gradient, the right original comes first for 92 % (87 to 97) of "
        f"{NUM} paraphrased queries, each among all {NUM} originals; in a random order "
        "for 1.7 %."
    ) in said
    assert "BM25, which sees shared words alone, reaches 88 % (83 to 93)" in said
    assert "the full gradient less BM25: +4 points (-1 to +9), p = 0.6." in said
    assert (
        "The best single tensor, chosen on 30 ids and judged on the other 30: "
        "`model.layers.1.mlp.down_proj.weight` (layer 1, MLP down) reaches 95 % (90 to "
        "100), where the full gradient has 92 % (87 to 97)."
    ) in said


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        ({"value": 0.9, "bm25": 0.1}, ("found", "more")),
        ({"value": 0.9, "bm25": -0.1}, ("found", "less")),
        ({"value": 0.9, "bm25": 0.1, "p_value": 0.2}, ("found", "alike")),
        ({"value": 0.9, "bm25": 0.01}, ("found", "alike")),
        ({"value": 0.9}, ("found", "unknown")),
        ({"value": 0.01}, ("chance", "unknown")),
        ({"value": 0.002, "half": 0.001, "bm25": 0.1}, ("below", "unknown")),
    ],
)
def test_every_outcome_has_its_title(made, kinds):
    said = text(with_full(**made))
    assert f"[{TITLES[kinds].format(it='The full gradient')}]" in said
    others = {title for key, title in TITLES.items() if key != kinds}
    assert not any(f"[{t.format(it='The full gradient')}]" in said for t in others)


def test_every_section_of_a_whole_study_is_there():
    page = whole()
    assert [section.anchor for section in page.sections] == [
        "answer", "depth", "likeness", "tensors", "selection", "energy", "measures",
        "models", "queries", "sets", "exact", "words", "method", "settings",
    ]  # fmt: skip
    names = [figure.name for figure in figures_of(page)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


@pytest.mark.parametrize(
    ("names", "of"),
    [
        (PART_NAMES, PARTS),
        (WEIGHTINGS, get_args(WeightingName)),
        (GOALS, get_args(SelectionGoal)),
    ],
)
def test_every_name_has_its_words(names, of):
    assert set(names) == set(of)


def test_every_caution_has_its_title():
    named = re.findall(r'_caution\(\s*"([a-z-]+)"', inspect.getsource(reservations))
    assert named
    assert set(named) == set(CAUTION_TITLES)


def test_curves_along_depth_hold_layers_halves_and_chance():
    chart = figures()["depth_paraphrased"]
    assert isinstance(chart, Lines)
    assert [line.name for line in chart.lines] == [
        "whole layer", "attention", "MLP", "full gradient", "chance",
    ]  # fmt: skip
    assert list(chart.lines[0].x) == list(range(4))
    assert list(chart.lines[-1].y) == [1 / NUM, 1 / NUM]
    likeness = figures()["likeness_generated"]
    assert [line.name for line in likeness.lines] == [
        "with its own original", "with other originals",
    ]  # fmt: skip


def test_joined_tensors_stand_beside_their_mean_one_by_one():
    lines = {line.name: line for line in figures()["parts_paraphrased"].lines}
    assert len(lines["norms"].threads) == 1
    assert lines["norms"].threads[0][0] < lines["norms"].y[0]
    assert not lines["attention queries"].threads
    chart = figures()["likeness_by_tensor_paraphrased"]
    assert [len(line.x) for line in chart.lines] == [39, 39]


def test_tensors_have_the_numbers_that_charts_count_by():
    said = text()
    assert "38 `lm_head.weight` " in said
    assert "0 `model.embed_tokens.weight` " in said


def test_learnt_weights_are_named_where_they_lie():
    made = set_study()
    weights = (0.7, 0.3) + (0.0,) * 37
    learnt = replace(made.weightings[3], weights=weights)
    found = retrieval(sets=(replace(made, weightings=(learnt,)),))
    said = text(study(measures=(MeasureStudy(name="gradients", study=found),)))
    assert (
        "Learnt weights are above 0 for 2 of 39 tensors; most lie on "
        "`model.embed_tokens.weight` 70 %, `model.layers.0.input_layernorm.weight` 30 "
        "%."
    ) in said


def test_centred_hidden_states_stand_beside_plain_ones():
    measures = tuple(
        MeasureStudy(name=name, study=activations())
        for name in ("activations", "centred-activations")
    )
    said = text(study(measures=measures))
    assert "Hidden states, centred or not" in said
    assert "Gradients say what training on it would change" not in said


def test_selection_is_drawn_over_weights_spent_with_both_halves_and_projections():
    chart = figures()["selection_agreement_paraphrased"]
    names = [line.name for line in chart.lines]
    assert names == [
        "chosen on this half", "other half", "full, other half",
        "projection: fold, k = 1024",
    ]  # fmt: skip
    assert list(chart.lines[3].x) == [0.12]
    assert chart.is_log_x
    said = text()
    assert "to find the original: smallest set within one standard error" in said
    assert "4 tensors of 39, 7.7 % of the weights" in said
    assert "random projection, 80,000 numbers, other half 0.985" in said


def test_selection_counts_tensors_where_weights_are_unknown():
    made = set_study()
    steps = tuple(
        replace(step, num_weights=None, share_of_weights=None)
        for step in made.selections[0].steps
    )
    path = replace(made.selections[0], steps=steps)
    found = retrieval(sets=(replace(made, selections=(path,)),))
    chart = figures(
        study(measures=(MeasureStudy(name="gradients", study=found),))
    )["selection_agreement_paraphrased"]  # fmt: skip
    assert list(chart.lines[0].x) == list(range(1, 21))
    assert not chart.is_log_x
    assert chart.lines[3].name == "projection: fold, k = 1024"
    assert list(chart.lines[3].x) == [1, 20]


def test_energy_says_how_many_are_heard_and_weightings_stand_beside_it():
    said = text()
    assert (
        "[The full cosine listens to 10.2 of 39 tensors, paraphrased queries]" in said
    )
    assert "equal: every tensor counts alike 96 % (91 to 100) 95 % (90 to 100)" in said
    assert "learnt on one half of the ids – 96 % (91 to 100) – – –" in said
    assert isinstance(figures()["energy_paraphrased"], Points)


def test_texts_are_shown_as_they_are():
    page = whole()
    written = html_of(page)
    assert "First, &lt;b&gt;look&lt;/b&gt; at the `basics`" in written
    assert "<b>look</b>" not in written
    said = text_of(page)
    assert "|   First, <b>look</b> at the `basics`" in said
    assert "| ranked first instead (`s11`, cosine 0.36, 40 tokens)" in said


def test_wrong_and_odd_queries_and_hubs_are_listed():
    said = text()
    assert "The full gradient has 9 of 60 paraphrased queries wrong." in said
    assert "Query `paraphrased/s4`: its original has rank 2." in said
    assert "Query `paraphrased/s5`: its original is not among the candidates." in said
    assert "* `paraphrased/s7`: tensors differ from full by 0.31" in said
    assert "`s11` 7 6 1 Can you explain jazz chords (case 11)" in said
    chart = figures()["odd_paraphrased_1"]
    assert [line.name for line in chart.lines] == ["s7 (its original)", "s3", "s11"]


def test_the_sets_are_described():
    said = text()
    assert "original 60 60 54 (40 to 69) 24 (20 to 28)" in said
    assert "* 1 sample left out *" in said
    assert "* Originals with equal tokens (1 text) *" in said
    assert "`s0`, `s1`." in said


def test_several_models_are_laid_over_each_other():
    said = text()
    assert "8. Several models, by depth" in said
    assert "`olmo-1b` paraphrased 60 1 of 60 1.7 % 92 % (87 to 97)" in said
    chart = figures()["models_layer_paraphrased"]
    assert [line.name for line in chart.lines] == ["olmo-1b", "tiny-llama"]
    assert chart.lines[0].x[-1] == chart.lines[1].x[-1] == 1


def test_hidden_states_stand_beside_gradients_and_can_lead():
    said = text()
    assert "7. Hidden states beside gradients" in said
    lone = study(measures=(MeasureStudy(name="activations", study=activations()),))
    said = text(lone)
    assert "[Paraphrased: hidden states find the original, about as often" in said
    assert "their hidden states in 4 places" in said
    assert "Hidden states beside gradients" not in said
    assert "How many tensors the full cosine listens to" not in said


def test_sets_that_were_read_apart_stand_on_one_page():
    apart = study(
        measures=tuple(
            MeasureStudy(name=f"gradients, {name}", study=retrieval(sets=(name,)))
            for name in ("paraphrased", "generated")
        )
    )
    said = text(apart)
    assert f"{NUM} paraphrased queries and {NUM} generated queries" in said
    assert "Hidden states beside gradients" not in said
    assert "[Generated: the full gradient finds the original" in said


def test_sets_named_in_other_scripts_have_figures_of_their_own():
    sets = tuple(replace(set_study(), name=name) for name in ("言い換え", "生成"))
    made = study(measures=(MeasureStudy(name="gradients", study=retrieval(sets=sets)),))
    names = [figure.name for figure in figures_of(similarity_page(made))]
    assert len(set(names)) == len(names)
    assert "60 言い換え queries" in text(made)


def test_a_measure_among_the_baselines_is_named_once():
    made = set_study()
    other = reading(Unit(kind="baseline", name="activations"), 0.9, closeness=None)
    chance = reading(Unit(kind="baseline", name="random order"), 0.0, closeness=None)
    full = replace(
        made.readings[0],
        contrasts=tuple(
            replace(c, against=name)
            for c in made.readings[0].contrasts
            for name in ("bm25", "activations")
        ),
    )
    rows = (full, *made.readings[1:], other, chance)
    sets = (replace(made, readings=rows),)
    found = study(
        measures=(
            MeasureStudy(name="gradients", study=retrieval(sets=sets)),
            MeasureStudy(name="activations", study=activations(("paraphrased",))),
        )
    )
    names = figures(found)["answer_paraphrased"].names
    assert list(names).count("hidden states") == 1
    assert "random order" not in names
    assert (
        "Hidden states, which cost one pass forward, reach 90 % (85 to 95); the full "
        "gradient less them: +4 points (-1 to +9), p = 0.6."
    ) in text(found)


def test_sketched_products_and_lost_directions_are_owned_up_to():
    made = set_study()
    full = replace(made.readings[0], sketch=SketchError(rms=0.0312, num_unsure=4))
    sets = (replace(made, readings=(full, *made.readings[1:])),)
    said = text(
        study(measures=(MeasureStudy(name="gradients", study=retrieval(sets=sets)),))
    )
    assert "estimated from random projections" in said
    assert "paraphrased full 0.0312 4" in said
    assert "* Places where some queries have no direction (4) *" in said
    assert "Estimated from random projections. Energies are exact" in said


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ({"dtype": "float32"}, "Exact up to rounding: every product of every pair"),
        ({"dtype": "bfloat16"}, "The model ran in bfloat16: cosines are off by about"),
        ({"read from": "x.json"}, "Computed elsewhere, and as exact as it was there."),
    ],
)
def test_how_exact_numbers_are_is_said(provenance, message):
    found = retrieval(sets=("paraphrased",), provenance=provenance)
    said = text(study(measures=(MeasureStudy(name="gradients", study=found),)))
    assert message in said


def test_forced_candidates_are_named_with_the_number():
    made = set_study(
        preselection=Preselection(
            is_all_pairs=False, num_least=5, num_most=5, recall=None, missing=(),
            title="1 of 5, truth always present", forced=("paraphrased/s1",),
        )
    )  # fmt: skip
    found = study(
        measures=(MeasureStudy(name="gradients", study=retrieval(sets=(made,))),)
    )
    assert "each among 5 candidates (truth always present)" in text(found)


def test_one_query_of_one_tensor_made_elsewhere_still_has_a_page():
    page = similarity_page(bare())
    assert [section.anchor for section in page.sections] == [
        "answer", "queries", "exact", "words", "method", "settings",
    ]  # fmt: skip
    said = text(bare())
    assert "Does a sample's gradient lead back to what it was made from?" in said
    assert "1 original; 1 paraphrased query" in said
    assert "measured elsewhere" in said
    assert "not known: products were made elsewhere" in said
    assert "None" not in said
    html_of(page)


def test_nothing_held_out_says_that_the_best_flatters_itself():
    made = set_study(num_chosen_on=NUM, num_reported_on=NUM)
    found = study(
        measures=(MeasureStudy(name="gradients", study=retrieval(sets=(made,))),)
    )
    assert "the same 60 ids as it is judged on, so too high" in text(found)


def test_the_page_needs_no_more_than_the_file_holds():
    made = bare()
    found = made.measures[0].study
    again = from_plain(RetrievalStudy, json.loads(json.dumps(to_plain(found))))
    read = (MeasureStudy(name="gradients", study=again),)
    assert text(replace(made, measures=read)) == text(made)


def test_sizes_are_drawn_only_where_they_are_known():
    assert {"weights", "size_paraphrased"} <= figures().keys()
    places = tuple(replace(place, num_weights=None) for place in tensors())
    made = set_study()
    rows = tuple(
        replace(r, unit=replace(r.unit, num_weights=None)) for r in made.readings
    )
    found = retrieval(sets=(replace(made, readings=rows),), places=places)
    drawn = figures(study(measures=(MeasureStudy(name="gradients", study=found),)))
    assert not {"weights", "size_paraphrased"} & drawn.keys()

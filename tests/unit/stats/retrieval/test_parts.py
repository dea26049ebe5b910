"""Energy, odd queries, hubs, sketch errors, slices, models, tables, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.results.baselines import Baseline, Beside, Projection
from driftmap.results.retrieval import RetrievalSettings, Shown
from driftmap.stats.retrieval.baselines import random_order
from driftmap.stats.retrieval.joining import joined
from driftmap.stats.retrieval.models import compare_models
from driftmap.stats.retrieval.study import study_pairs
from driftmap.stats.retrieval.tables import (
    energy_table,
    profile_table,
    query_table,
    rank_table,
    selection_table,
    unit_table,
)
from made_pairs import LAYOUT, made_pairs, measured, places, with_candidates

FAST = RetrievalSettings(num_resamples=50, max_steps=2, num_odd=2)
MADE = made_pairs(num_originals=6, signal=0.6)
STUDY = study_pairs(MADE.products, MADE.truth, FAST, seed=0)
(SET,) = STUDY.sets


def only(made, settings=FAST, **beside):
    study = study_pairs(
        made.products, made.truth, settings, seed=0, beside=Beside(**beside)
    )
    return study.sets[0]


def test_energy_shares_are_means_over_samples_and_sum_to_one():
    asked = MADE.products.query_energy
    shares = [sum(row[n] / sum(row) for row in asked) / len(asked) for n in range(6)]
    assert [s.queries for s in SET.energy.tensors] == pytest.approx(shares)
    assert sum(s.originals for s in SET.energy.tensors) == pytest.approx(1)
    by_part = {s.name: s for s in SET.energy.parts}
    assert list(by_part) == ["q", "o", "down", "embed"]
    assert by_part["q"].queries == pytest.approx(shares[1] + shares[4])
    assert by_part["q"].num_weights == 6
    assert by_part["q"].share_of_weights == pytest.approx(6 / 23)
    heard = 1 / sum(share**2 for share in shares)
    assert SET.energy.num_heard_queries == pytest.approx(heard)


def test_size_and_accuracy_are_correlated_over_tensors():
    big = made_pairs(
        num_originals=12,
        signal=1.0,
        layout=tuple(("q", n, "attention", 2 ** (n + 1)) for n in range(6)),
    )
    assert only(big).size_correlation > 0.9
    unknown = [replace(t, num_weights=None) for t in big.products.tensors]
    nameless = replace(big.products, tensors=tuple(unknown))
    of_set = only(replace(big, products=nameless))
    assert of_set.size_correlation is None
    assert of_set.readings[0].unit.num_weights is None
    assert "per_weight" not in [w.name for w in of_set.weightings]
    assert of_set.selections[0].steps[0].share_of_weights is None


def test_odd_queries_are_those_whose_tensors_differ_most_from_full():
    tensors = [MADE.products.cosine([n]) for n in range(6)]
    apart = np.array(tensors) - MADE.products.cosine()
    distance = np.sqrt(np.square(apart).mean(axis=(0, 2)))
    order = np.argsort(-distance)[:2]
    assert [odd.query for odd in SET.odd] == [f"q{n}" for n in order]
    first = SET.odd[0]
    assert first.distance == pytest.approx(distance[order[0]])
    truth, best = first.profiles[:2]
    assert truth.is_right
    assert truth.original == f"o{order[0]}"
    column = int(truth.original[1:])
    assert truth.cosines == pytest.approx([t[order[0], column] for t in tensors])
    assert truth.full == pytest.approx(MADE.products.cosine()[order[0], column])
    assert best.full == max(p.full for p in first.profiles[1:])
    fewer = replace(FAST, shown=Shown(candidates=1))
    assert len(only(MADE, fewer).odd[0].profiles) == 2


def test_an_original_on_top_of_many_queries_is_a_hub():
    """One original points the same way as every query."""
    rng = np.random.default_rng(0)
    common = np.ones(6)
    originals = rng.normal(size=(8, 6))
    originals[3] = common
    queries = common + 0.1 * rng.normal(size=(8, 6))
    made = measured([queries], [originals], np.arange(8), places((LAYOUT[0],)))
    (hub,) = only(made).hubs
    assert hub.original == "o3"
    assert (hub.num_on_top, hub.num_wrong, hub.share) == (8, 7, 1)
    assert only(made, replace(FAST, hub_factor=8)).hubs == ()
    once = measured([queries[:1]], [originals], np.array([0]), places((LAYOUT[0],)))
    assert only(once).wrong[0].chosen == "o3"
    assert only(once).hubs == ()


def test_wrong_queries_name_what_was_chosen_instead():
    cosine = MADE.products.cosine()
    truth = np.arange(6)
    chosen = cosine.argmax(axis=1)
    listed = {w.query: w for w in SET.wrong if w.unit == "full"}
    assert set(listed) == {f"q{n}" for n in truth[chosen != truth]}
    for name, one in listed.items():
        number = int(name[1:])
        assert one.original == f"o{number}"
        assert one.chosen == f"o{chosen[number]}"
        assert one.truth_cosine == pytest.approx(cosine[number, number])
        assert one.chosen_cosine == pytest.approx(cosine[number].max())
        assert one.rank == 1 + (cosine[number] > cosine[number, number]).sum()
    limited = only(MADE, replace(FAST, shown=Shown(wrong=1)))
    assert limited.num_wrong == SET.num_wrong
    assert sum(w.unit == "full" for w in limited.wrong) == min(1, len(listed))


def test_errors_of_projected_products_reach_the_cosines():
    error = np.full(MADE.products.dot.shape, 0.3)
    found = only(MADE, dot_error=error).readings
    norms = np.sqrt(
        MADE.products.query_energy.sum(axis=1)[:, None]
        * MADE.products.original_energy.sum(axis=1)
    )
    # six tensors, each with an independent error of .3
    spread = 0.3 * np.sqrt(6) / norms
    rms = np.sqrt(np.square(spread).mean())
    assert found[0].sketch.rms == pytest.approx(rms)
    cosine = MADE.products.cosine()
    unsure = 0
    for row in range(6):
        others = np.delete(np.arange(6), row)
        other = others[cosine[row, others].argmax()]
        both = np.hypot(spread[row, row], spread[row, other])
        unsure += abs(cosine[row, row] - cosine[row, other]) < 2 * both
    assert 0 < unsure <= 6
    assert found[0].sketch.num_unsure == unsure
    none = only(MADE, dot_error=np.zeros_like(error)).readings[0].sketch
    assert (none.rms, none.num_unsure) == (0, 0)
    assert SET.readings[0].sketch is None


def test_slices_join_to_their_parameter():
    names = ("a.weight#q", "a.weight#k", "b.weight")
    parts = ("q", "k", "o")
    tensors = tuple(
        TensorPlace(name=n, part=p, layer=0, half="attention", num_weights=2)
        for n, p in zip(names, parts, strict=True)
    )
    rng = np.random.default_rng(0)
    queries, originals = rng.normal(size=(2, 3, 4, 2))
    made = measured(list(queries), list(originals), np.arange(4), tensors)
    whole = joined(made.products)
    assert [t.name for t in whole.tensors] == ["a.weight", "b.weight"]
    assert whole.tensors[0].num_weights == 4
    assert whole.tensors[0].half == "attention"
    assert whole.tensors[1] == tensors[2]
    fused = queries[0] @ originals[0].T + queries[1] @ originals[1].T
    assert whole.dot[:, :, 0] == pytest.approx(fused)
    assert whole.cosine() == pytest.approx(made.products.cosine())
    assert whole.cosine([0]) == pytest.approx(made.products.cosine([0, 1]))


def test_models_share_an_axis_of_depth():
    deep = tuple(("q", n, "attention", 3) for n in range(5))
    other = made_pairs(num_originals=6, layout=deep)
    study = study_pairs(other.products, other.truth, FAST, seed=0)
    found = compare_models({"two blocks": STUDY, "five blocks": study})
    assert found.models == ("two blocks", "five blocks")
    assert [row.model for row in found.rows] == ["two blocks", "five blocks"]
    assert found.rows[0].full == SET.readings[0].accuracy
    lines = {(c.model, c.kind, c.name): c for c in found.curves}
    layers = lines["five blocks", "layer", "layer"]
    assert [p.depth for p in layers.points] == [0, 0.25, 0.5, 0.75, 1]
    assert ("two blocks", "layer_half", "mlp") in lines
    assert ("two blocks", "layer_part", "down") in lines
    layer = next(r for r in SET.readings if r.unit.name == "layer 1")
    last = lines["two blocks", "layer", "layer"].points[-1]
    assert last.accuracy == layer.accuracy
    assert last.match == layer.closeness.match
    best = SET.best_tensor.unit
    assert found.rows[0].best_tensor == best.name
    assert found.rows[0].best_depth == best.layer
    with pytest.raises(MeasureError, match="no study is given: compare at least one"):
        compare_models({})


def test_tables_hold_what_the_study_holds():
    units = unit_table(STUDY)
    weighted = [w for w in SET.weightings if w.reading is not None]
    assert len(units) == len(SET.readings) + len(weighted)
    full = next(units.where(kind="full").rows())
    first = SET.readings[0]
    assert full["accuracy"] == first.accuracy.value.estimate
    assert full["accuracy_high"] == first.accuracy.value.high
    assert full["recall_at_5"] == first.recall[1].score.value.estimate
    assert full["layer"] == -1
    assert np.isnan(full["minus_full"])
    tensor = next(units.where(name="tensor.2.o").rows())
    assert tensor["layer"] == 0
    assert tensor["p_adjusted"] == SET.readings[3].contrasts[0].p_adjusted
    queries = query_table(STUDY).where(unit="full")
    assert queries["rank"].tolist() == [q.ranks["full"] for q in SET.queries]
    steps = selection_table(STUDY).where(goal="agreement")
    assert steps["tensor"].tolist() == [s.name for s in SET.selections[0].steps]
    energy = energy_table(STUDY)
    assert energy["queries"].tolist() == [s.queries for s in SET.energy.tensors]
    profiles = profile_table(STUDY, SET)
    odd = SET.odd[0]
    column = profiles[f"{odd.query} <=> {odd.profiles[0].original}"]
    assert column.tolist() == list(odd.profiles[0].cosines)


def test_ranks_of_every_query_under_every_tensor_are_a_table():
    table = rank_table(MADE.products, MADE.truth, FAST)
    assert len(table) == 36
    cosine = MADE.products.cosine([3])
    mine = table.where(tensor="tensor.3.down")
    assert mine["query"].tolist() == list(MADE.products.queries)
    assert mine["truth_cosine"] == pytest.approx(np.diag(cosine))
    expected = [1 + (row > row[n]).sum() for n, row in enumerate(cosine)]
    assert mine["rank"].tolist() == expected


def test_a_random_order_is_a_baseline():
    found = only(MADE, baselines=(random_order(MADE.products, seed=0),))
    one = next(r for r in found.readings if r.unit.kind == "baseline")
    again = random_order(MADE.products, seed=0).scores
    ranks = [1 + (row > row[n]).sum() for n, row in enumerate(again)]
    assert one.unit.name == "random order"
    assert one.median_rank == np.median(ranks)


def test_what_limits_the_figures_is_said():
    names = {caution.name for caution in SET.cautions}
    assert "few-ids" in names
    loud = [one * (100 if n == 0 else 1) for n, one in enumerate(MADE.queries)]
    made = measured(loud, MADE.originals, np.arange(6), places())
    sentences = {c.name: c.sentence for c in only(made).cautions}
    assert sentences["few-heard"] == (
        "The full cosine listens to about 1.0 of 6 tensors, because they hold most of "
        "the energy."
    )
    single = measured([q[:1] for q in MADE.queries], MADE.originals, [0], places())
    found = only(single)
    assert "no-halves" in {caution.name for caution in found.cautions}
    assert (found.selections, found.best_tensor) == ((), None)


def products(**changed):
    return replace(MADE.products, **changed)


WRONG = {
    "one candidate": (
        {"products": with_candidates(MADE.products, [[n] for n in range(6)])},
        {"settings": replace(FAST, forced=True)},
        "the truth is always present among 1 candidate: nothing is left to tell; take "
        "2 candidates or more",
    ),
    "holdout": (
        {},
        {"settings": replace(FAST, holdout=1.0)},
        "holdout is 1.0: give the share of originals to report on, at least 0 and "
        "below 1",
    ),
    "recall": (
        {},
        {"settings": replace(FAST, recall_at=(0,))},
        r"recall is asked at \[0\]: give places from 1 on",
    ),
    "truth": (
        {"truth": replace(MADE.truth, original=np.arange(3))},
        {},
        "6 queries and 6 originals, but the truth is of 3 and 6; take both from one "
        "run",
    ),
    "number": (
        {"truth": replace(MADE.truth, original=np.array([0, 1, 2, 3, 4, 9]))},
        {},
        "an original has the number 9, but there are 6, numbered from 0",
    ),
    "twice": (
        {"products": with_candidates(MADE.products, [[0, 0]] + [[0, 1]] * 5)},
        {},
        "candidates of query q0: it has one twice; list every original that it is "
        "compared with once",
    ),
    "none": (
        {"products": with_candidates(MADE.products, [[0, 1]] + [[]] + [[0]] * 4)},
        {},
        "candidates of query q1: it has none",
    ),
    "not a number": (
        {"products": products(dot=MADE.products.dot + np.nan)},
        {},
        "query q0: a product is NaN or infinite; measure it again",
    ),
    "baseline": (
        {},
        {"beside": Beside(baselines=(Baseline(name="bm25"),))},
        "baseline bm25: give scores, or ranks and how many originals they are among",
    ),
    "shape": (
        {},
        {"beside": Beside(baselines=(Baseline(name="e", scores=np.ones((6, 2))),))},
        r"baseline e: it has the shape \(6, 2\), the products have \(6, 6\)",
    ),
    "score": (
        {},
        {
            "beside": Beside(
                baselines=(Baseline(name="e", scores=np.full((6, 6), np.nan)),)
            )
        },
        "baseline e: the score of a candidate is not a number",
    ),
    "projection": (
        {},
        {
            "beside": Beside(
                projections=(
                    Projection(name="fold", num_stored=1, cosine=np.ones((6, 1))),
                )
            )
        },
        r"projection fold: it has the shape \(6, 1\), the products have \(6, 6\)",
    ),
    "errors": (
        {},
        {"beside": Beside(dot_error=np.ones((6, 6, 1)))},
        r"errors have the shape \(6, 6, 1\), the products have \(6, 6, 6\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case):
    given, other, sentence = WRONG[case]
    made = {"products": MADE.products, "truth": MADE.truth} | given
    asked = {"settings": FAST, "beside": Beside()} | other
    with pytest.raises(MeasureError, match=f"^{sentence}"):
        study_pairs(
            made["products"],
            made["truth"],
            asked["settings"],
            seed=0,
            beside=asked["beside"],
        )


def test_types_are_live():
    with pytest.raises(Exception, match="PairProducts"):
        study_pairs("products", MADE.truth, FAST, seed=0)


def test_a_bank_whose_experts_are_joined_is_of_part_expert():
    names = [f"b.0.experts.gate_up#expert.{n}.gate" for n in range(2)]
    tensors = [TensorPlace(name=n, part="gate", expert=0) for n in names]
    products = replace(
        with_candidates(MADE.products, MADE.products.candidates),
        tensors=(*tensors, *MADE.products.tensors[2:]),
    )
    whole = joined(products).tensors[0]
    assert (whole.name, whole.part, whole.expert) == (
        "b.0.experts.gate_up", "expert", None,
    )  # fmt: skip

"""Does the drift page say what the study found, to somebody who knows nothing of it?"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftmap import stats
from driftmap.render.drift_cautions import KINDS
from driftmap.render.drift_page import drift_page
from driftmap.render.html import html_of
from driftmap.render.page import figures_of
from driftmap.render.plotly_charts import plotly_spec
from driftmap.render.text import text_of
from driftmap.results.drift import UNIT_METRICS
from driftmap.results.statistics import Caution
from driftmap.results.table import Table
from studies import GROUPS, VERDICT, study_of


def caution(name, sentence="Something.", *, is_blocking=False):
    return Caution(name=name, sentence=sentence, value=0.1, is_blocking=is_blocking)


def report(**options):
    return text_of(drift_page(study_of(**options)))


def section_of(text, number):
    return re.split(r"^\d\. .*\n-+$", text, flags=re.MULTILINE)[number]


def test_the_answer_comes_first_in_words():
    answer = section_of(report(), 1)
    assert answer.startswith(
        "\n\n[Verdict: B, consistent with pathway creation]\n"
        "The behaviour changed by -0.60 in refusal rate,"
    )
    assert "moved 2 % further than weights of the same size" in answer
    assert "evidence against A, not proof" in " ".join(answer.split())
    assert "yes, easily: p 0.250, 999 shuffles" in answer
    assert "change: -60 points (-75 to -45)" in answer
    assert "none on any prompt" in answer


@pytest.mark.parametrize(
    ("kind", "sentence", "title"),
    [
        ("fragile", "A, fragile: difference drifts 2.00 times.", "A, fragile"),
        ("inconclusive", "Inconclusive: too few seeds. More.", "inconclusive"),
    ],
)
def test_other_verdicts_are_named_once(kind, sentence, title):
    answer = section_of(
        report(verdict=replace(VERDICT, kind=kind, sentence=sentence)), 1
    )
    assert f"[Verdict: {title}]\n" in answer
    assert sentence.partition(": ")[2].lower() in answer.lower()
    assert answer.lower().count(f"{title.lower()}: ") == 0


def test_words_are_explained_before_they_are_needed():
    words = section_of(report(), 2)
    for word in ("weight", "group", "`difference`", "`matched`", "`top`, `utility`",
                 "`random`", "ratio", "permutation", "seed", "margin", "SNIP", "LoRA",
                 "Jaccard", "log-odds"):  # fmt: skip
        assert re.search(rf"^{word} +[A-Z]", words, flags=re.MULTILINE), word


def test_rates_stand_together_and_apart_from_what_is_no_rate():
    figures = {f.name: f.chart for f in figures_of(drift_page(study_of()))}
    rates = figures["behaviour"]
    assert [line.name for line in rates.lines] == ["refusal rate", "accuracy on facts"]
    assert rates.y_ends == (0.0, 1.0)
    assert all(line.low and len(line.threads) == 3 for line in rates.lines)
    assert rates.lines[0].y == pytest.approx([1.0, 0.7, 0.4])
    aside = figures["refusal_of_harmless"]
    assert [line.name for line in aside.lines] == ["refusal rate on useful"]
    odds = figures["refusal_log_odds"]
    assert odds.y_ends is None
    assert odds.lines[0].low == ()


def test_the_loss_has_a_line_per_seed_of_bounded_length():
    study = study_of()
    steps = np.arange(1, 2001)
    long = Table(
        columns={
            "seed": np.zeros(2000, dtype=int),
            "step": steps,
            "loss_nats": 1 / steps,
            "learning_rate": steps * 0.0,
        }
    )
    figures = {f.name: f.chart for f in figures_of(drift_page(study))}
    assert [line.name for line in figures["training_loss"].lines] == [
        "seed 0", "seed 1", "seed 2",
    ]  # fmt: skip
    of_long = drift_page(replace(study, losses=long))
    (line,) = next(
        f for f in figures_of(of_long) if f.name == "training_loss"
    ).chart.lines
    assert len(line.x) == len(line.y) == 300


@pytest.mark.parametrize(
    ("p_value", "words"),
    [(0.705, "yes, easily: p 0.705"), (0.06, "yes, at times: p 0.060"),
     (0.001, "hardly: p ≤ 0.001"), (None, "not tested")],
)  # fmt: skip
def test_chance_is_answered_in_words_first(p_value, words):
    study = study_of()
    primary, *others = study.statistics.ratios
    assert primary.is_primary
    ratios = (replace(primary, p_value=p_value), *others)
    odd = replace(study, statistics=replace(study.statistics, ratios=ratios))
    answer = section_of(text_of(drift_page(odd)), 1)
    assert re.search(rf"Would chance give this ratio\? +{re.escape(words)}", answer)


def test_answers_known_before_training_are_said_so():
    study = study_of()
    known = dict(study.losses.columns)
    known["loss_nats"] = known["loss_nats"] / 1000
    text = text_of(drift_page(replace(study, losses=Table(columns=known))))
    assert "the model knew these answers before" in " ".join(text.split())
    assert "the model knew these answers" not in " ".join(report().split())


def test_every_metric_has_its_own_figures_and_tables():
    page = drift_page(study_of())
    names = {figure.name for figure in figures_of(page)}
    text = section_of(text_of(page), 6)
    for unit, metric in UNIT_METRICS:
        assert f"{unit}_{metric}_mean" in names
    assert "weight_absolute_spread" in names
    assert "weight_absolute_boxes" in names
    running = " ".join(text.split())
    assert running.count("If the behaviour's weights are") == 3
    assert running.count("The declared test does not use it.") == len(UNIT_METRICS) - 3
    assert text.count("description only") == 2 * len(UNIT_METRICS)
    assert re.search(
        r"group +count +mean +std +median +least +greatest\n.*\n`difference` +120 +"
        r"2.00e-4 +1.00e-4 +2.00e-4 +0 +8.00e-4\n",
        text,
    )
    assert re.search(r"`difference` +`random` +\+0.31 +small +\+0.12 +\+2.00e-5", text)


def test_what_has_no_spread_gets_no_chart_of_it():
    names = {figure.name for figure in figures_of(drift_page(study_of()))}
    assert "weight_sign_agreement_mean" in names
    assert "weight_sign_agreement_spread" not in names
    assert "weight_sign_agreement_boxes" not in names


def test_one_seed_has_no_intervals_and_says_so():
    study = study_of(num_seeds=1)
    text = text_of(drift_page(study))
    assert "under 1 seed." in text
    assert "none: it needs at least 2 seeds" in text
    assert "they need at least 2 training seeds" in " ".join(text.split())
    for figure in figures_of(drift_page(study)):
        if figure.name == "drift_over_time":
            assert not any(line.low for line in figure.chart.lines)


def test_few_and_many_groups():
    few = figures_of(drift_page(study_of(groups=GROUPS[:2])))
    many = figures_of(drift_page(study_of(groups=(*GROUPS, "another", "<one more>"))))
    for figures, num_groups in ((few, 2), (many, 7)):
        by_name = {f.name: f.chart for f in figures}
        assert len(by_name["ratio_by_group"].names) == num_groups
        assert len(by_name["drift_over_time"].lines) == num_groups


def test_cautions_stand_once_beside_their_numbers():
    text = report(
        cautions=[
            caution("relative-change", "First pair."),
            caution("relative-change", "Second pair."),
            caution("module-mix", "Mixed."),
            caution("shared-samples", "Shared."),
            caution("few-permutations", "Few."),
            caution("low-ceiling", "Low."),
        ]
    )
    assert "- First pair.\n- Second pair.\n" in section_of(text, 6)
    assert text.count("First pair.") == 1
    places = {"Shared.": 3, "Mixed.": 4, "Few.": 5, "Low.": 7}
    for sentence, place in places.items():
        assert sentence in section_of(text, place)
    answer = section_of(text, 1)
    assert "under “Every metric”: relative change favours small weights" in answer
    assert "[Read with care" not in answer


def test_blocking_cautions_stand_on_top_as_well():
    text = report(cautions=[caution("half-precision", "Rounded.", is_blocking=True)])
    assert "[No verdict: a model in 16 bits]\nRounded." in section_of(text, 1)
    assert "Rounded." in section_of(text, 4)


def test_an_unknown_caution_is_shown_with_the_answer():
    answer = section_of(report(cautions=[caution("new-kind", "Never seen.")]), 1)
    assert "[Read with care: new kind]\nNever seen." in answer


def test_every_kind_of_caution_has_a_place():
    folder = Path(stats.__file__).parent
    files = [folder / "cautions.py", folder / "reading_cautions.py"]
    source = "".join(file.read_text() for file in files)
    named = re.findall(r"^ +name=(.+),$", source, flags=re.MULTILINE)
    assert {n for line in named for n in re.findall(r'"([a-z-]+)"', line)} == set(KINDS)


def test_no_cautions_leave_no_note():
    assert "beside the numbers" not in section_of(report(), 1)


def test_missing_numbers_become_gaps():
    study = study_of()
    drift = dict(study.drift.columns) | {
        "ratio": np.full(len(study.drift), np.nan),
        "median": np.full(len(study.drift), np.nan),
    }
    curves = dict(study.curves.columns)
    curves["mean"] = np.full(len(study.curves), np.nan)
    odd = replace(study, drift=Table(columns=drift), curves=Table(columns=curves))
    page = drift_page(odd)
    assert not re.search(r"\bnan\b", text_of(page), flags=re.IGNORECASE)
    assert '"y": [null, null, null]' in html_of(page)
    names = {figure.name for figure in figures_of(page)}
    assert "weight_absolute_boxes" not in names


def test_names_with_markup_are_text_everywhere():
    evil = "</script><script>alert(1)</script>"
    study = study_of(groups=("difference", evil))
    study = replace(study, settings=dict(study.settings) | {"behaviour": evil})
    document = html_of(drift_page(study))
    assert evil not in document
    assert "<script>alert" not in document


def test_settings_are_written_for_people():
    settings = section_of(report(), 8)
    for name, value in [
        ("learning_rate", "0.0001"), ("lora_parts", "none"), ("adapter", "not set"),
        ("trust_remote_code", "no"), ("model", "models/tiny"),
    ]:  # fmt: skip
        assert re.search(rf"^{name} +{re.escape(value)}$", settings, flags=re.MULTILINE)


def test_equal_studies_give_equal_bytes():
    first, second = (html_of(drift_page(study_of())) for _ in range(2))
    assert first == second
    names = [figure.name for figure in figures_of(drift_page(study_of()))]
    assert len(set(names)) == len(names)


def test_one_outlier_flattens_no_chart_of_relative_change():
    study = study_of()
    is_outlying = (study.drift["metric"] == "relative") & (
        study.drift["group"] == "random"
    )
    drift = dict(study.drift.columns)
    drift["max"] = np.where(is_outlying, 1e3, drift["max"])
    is_outlying = (study.curves["metric"] == "relative") & (
        study.curves["group"] == "random"
    )
    curves = dict(study.curves.columns)
    curves["std"] = np.where(is_outlying, 1e3 * curves["std"], curves["std"])
    page = drift_page(
        replace(study, drift=Table(columns=drift), curves=Table(columns=curves))
    )
    charts = {f.name: f.chart for f in figures_of(page)}
    boxes, spread = charts["weight_relative_boxes"], charts["weight_relative_spread"]
    assert boxes.is_log
    assert all(box.low > 0 for box in boxes.boxes)
    assert spread.is_log
    assert all(list(line.x) == [10, 20] for line in spread.lines)
    assert not charts["weight_relative_mean"].is_log
    assert not charts["weight_absolute_boxes"].is_log


def test_lines_on_each_other_differ_in_dash_and_marker():
    chart = next(f for f in figures_of(drift_page(study_of())) if f.name == "behaviour")
    drawn = [t for t in plotly_spec(chart.chart)["data"] if "name" in t]
    assert len({t["line"]["dash"] for t in drawn}) == len(drawn) == 2
    assert len({t["marker"]["symbol"] for t in drawn}) == 2


def test_sign_agreement_shows_its_mean_alone_to_the_digits_that_matter():
    study = study_of()
    drift = dict(study.drift.columns)
    is_sign = drift["metric"] == "sign_agreement"
    drift["mean"] = np.where(is_sign, 1 - 1.34e-5, drift["mean"])
    drift["std"] = np.where(is_sign, 0.004, drift["std"])
    text = text_of(drift_page(replace(study, drift=Table(columns=drift))))
    assert re.search(r"group +count +mean\n.*\n`difference` +120 +0.999987\n", text)


def study_read(groups=("my_circuit", "matched", "random"), **settings):
    """A study whose declared group was read from a file."""
    verdict = replace(VERDICT, group=groups[0])
    study = study_of(groups=groups, verdict=verdict)
    first, *others = study.groups
    card = replace(
        first, chosen="read from my_circuit.json", read_from="my_circuit.json"
    )
    return replace(
        study,
        groups=(card, *others),
        settings=dict(study.settings) | {"behaviour": None, "utility": None} | settings,
    )


def test_a_group_from_elsewhere_is_called_by_its_name_all_through():
    text = " ".join(text_of(drift_page(study_read())).split())
    assert (
        "The weights in question, `my_circuit`, were read from my_circuit.json" in text
    )
    assert "the weights of `my_circuit`, chosen elsewhere, moved 2 % further" in text
    assert "Ratio of drift, `my_circuit` to its control" in text
    assert "`my_circuit` lies clearly above `matched`" in text
    assert "only `matched` is a fair comparison for `my_circuit` here" in text
    assert "No weight was scored here." in text
    assert "Nothing in a JSON group proves on which model it was chosen" in text
    for absent in ("`difference`", "`top`", "`utility`", "SNIP", "Jaccard", "None"):
        assert absent not in section_of(text_of(drift_page(study_read())), 2), absent
    # The made-up effect sizes keep their own names.
    assert "`difference`" not in text.replace("`difference` `", "")


def test_adapters_from_elsewhere_are_said_so():
    page = drift_page(study_read(checkpoints=["a", "b", "c"], tune_on=None))
    text = " ".join(text_of(page).split())
    assert "with the adapters of 3 training runs made elsewhere" in text
    assert "The LoRA adapters were trained elsewhere" in text
    assert "As its trainer logged it." in text
    assert "declared before training" not in text
    assert text.count("declared before drift was read") >= 4


def test_the_declared_group_has_one_colour_whatever_its_name():
    def colours(study):
        charts = {f.name: f.chart for f in figures_of(drift_page(study))}
        lines = plotly_spec(charts["drift_over_time"])["data"]
        points = plotly_spec(charts["ratio_by_group"])["data"]
        boxes = plotly_spec(charts["weight_absolute_boxes"])["data"]
        return [
            [t["line"]["color"] for t in lines if "name" in t],
            [t["marker"]["color"] for t in points],
            [t["marker"]["color"] for t in boxes],
        ]

    usual = colours(study_of(groups=("difference", "matched", "random")))
    assert colours(study_read()) == usual
    assert len(set(usual[0])) == 3


def test_losses_that_nobody_logged_leave_no_figure():
    study = study_read(checkpoints=["a"])
    none = Table(columns={n: c[:0] for n, c in study.losses.columns.items()})
    figures = figures_of(drift_page(replace(study, losses=none)))
    assert "training_loss" not in {figure.name for figure in figures}


def overlap_rows():
    def of(left, right, layer, part, jaccard, **more):
        return {
            "left": left, "right": right, "layer": layer, "part": part,
            "num_left": 40, "num_right": 40, "num_common": 10, "jaccard": jaccard,
            "kept": 0.25, "kept_right": 0.25, "floor": 0.005, "across": np.nan,
            "ceiling": np.nan, "standing": np.nan, "num_samples": 64, **more,
        }  # fmt: skip

    known = {"across": 0.2, "ceiling": 0.6, "standing": 0.33}
    return Table.from_rows(
        [
            of("difference", "difference", -1, "all", 0.3),
            of("difference", "difference", 0, "q", 0.25),
            of("difference", "difference", 1, "down", 0.35),
            of("top", "top", -1, "all", 0.6),
            of("top", "utility", -1, "all", 0.15, **known),
            of("top", "utility", 0, "q", 0.15, **known),
        ]
    )


def test_overlaps_stand_between_floor_and_ceiling():
    study = replace(study_of(), overlaps=overlap_rows())
    text = text_of(drift_page(study))
    section = text.partition("How alike are the groups?")[2].partition("\n8. ")[0]
    plain = " ".join(section.split())
    assert "share 0.20 across halves of the samples, where the ceiling is 0.60" in plain
    assert "0.33 of the way from chance, 0, to as much as two groups of one" in plain
    assert "(geometric mean), 64 samples a half" in plain
    (pair,) = (x for x in section.splitlines() if re.match("`top`, `utility` +10", x))
    assert pair.split()[2:] == [
        "10", "0.15", "0.005", "25", "%", "25", "%", "0.20", "0.60", "0.33",
    ]  # fmt: skip
    names = [figure.name for figure in figures_of(drift_page(study))]
    where = [n for n in names if "overlap" in n or "reproducible" in n]
    assert where == ["overlap_of_groups", "reproducible_by_place", "overlap_by_place"]
    figures = {figure.name: figure.chart for figure in figures_of(drift_page(study))}
    assert figures["overlap_of_groups"].x_labels == ["difference", "top", "utility"]
    pairs = figures["overlap_of_groups"].shares[::-1]
    assert pairs[0][0] == 0.3
    assert pairs[1][2] == pairs[2][1] == 0.15
    assert np.isnan(pairs[2][2])
    shares = figures["reproducible_by_place"].shares
    assert (shares[0][0], shares[1][1]) == (0.25, 0.35)
    assert "How alike are the groups?" not in report()


def test_the_grid_of_shares_marks_the_run_itself():
    grid = Table.from_rows(
        [
            {"p": 0.05, "q": q, "num_weights": 100, "share_kept": 0.182,
             "ceiling": 0.22, "floor": 0.01, "num_samples": 64}
            for q in (0.002, 0.1)
        ]
    )  # fmt: skip
    study = replace(
        study_of(), overlaps=overlap_rows(), grid=grid,
        settings={**study_of().settings, "p": 0.05, "q": 0.1},
    )  # fmt: skip
    lines = text_of(drift_page(study)).splitlines()
    first, second = (line for line in lines if "18.2 %" in line)
    assert first.split() == ["0.05", "0.002", "100", "18.2", "%", "0.22", "0.01"]
    assert second.startswith("0.05 (this run)")

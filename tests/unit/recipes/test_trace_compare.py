"""Prompts compared from a file or from words, resumed, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftmap.cli.commands import meant
from driftmap.cli.main import main
from driftmap.core.errors import MeasureError, UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.steps.comparing_traces import reporting
from driftmap.recipes.trace_compare import TraceCompare
from driftmap.recipes.trace_compare_options import CompareOptions, PromptOptions
from driftmap.recipes.trace_options import NoiseOptions
from driftmap.results.fact_traces import FactTraces
from driftmap.results.trace_comparison import TraceComparison
from driftmap.store.arrays_apart import load_apart
from tiny_studies import save_tiny_model

SUBJECTS = ("one", "six", "ten", "sky blue")
WORDS = ("what colour is the {} of", "{} is the colour of what is")
LEAST = CompareOptions(
    kinds=("mlp", "hidden"), window=2, min_total_effect=1e-9, outcome="log_prob",
    permutations=19, resamples=19, show=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("deep") / "tiny", layers=3)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Four facts in two wordings; the model's own first choice is traced."""
    path = tmp_path_factory.mktemp("facts") / "facts.json"
    rows = [
        {"id": s, "subject": s, "relation": f"r{n % 2}", "prompt": WORDS[0].format(s),
         "paraphrases": [WORDS[1].format(s)]}
        for n, s in enumerate(SUBJECTS)
    ]  # fmt: skip
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    """Drawing them takes longer than tracing tiny models."""
    monkeypatch.setattr("driftmap.recipes.steps.pages.save_pictures", lambda *_: None)


def recipe(model, out, *, prompts, comparing=LEAST, **more):
    return TraceCompare(
        source=ModelSource(model=str(model), device="cpu"),
        prompts=prompts,
        comparing=comparing,
        noise=NoiseOptions(num_draws=2),
        out=out,
        **more,
    )


def of_file(facts):
    return PromptOptions(facts=str(facts))


@pytest.fixture(scope="module")
def run(model, facts, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "compared"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmap.recipes.steps.pages.save_pictures", lambda *_: None)
        made = recipe(model, out, prompts=of_file(facts)).run()
    assert made == out / "report.html"
    return out


def compared_in(out):
    return load_apart(out, reporting.FINDINGS, TraceComparison, reporting.FINDINGS_KIND)


def test_a_file_is_compared_in_all_wordings(run):
    found = compared_in(run)
    assert (found.num_prompts, found.num_facts) == (8, 4)
    assert [kind.comparison.kind for kind in found.kinds] == ["mlp", "hidden"]
    declared = found.kinds[0]
    kept = len(declared.comparison.profiles)
    assert kept + declared.comparison.refused.num == 8
    assert declared.ceiling.num_seeds == 1
    assert found.findings[2].contrast is None
    text = (run / "report.txt").read_text()
    assert "MLP output, window of 2" in text


def test_other_noise_is_another_seed(run):
    first, again = (
        load_apart(run, name, FactTraces, "driftmap.traces")
        for name in ("traces", "traces-again-1")
    )
    assert (first.noise.seed, again.noise.seed) == (1, 2)
    assert first.traces[0].low != again.traces[0].low
    assert first.traces[0].high == again.traces[0].high


def test_only_the_row_is_traced(run):
    traces = load_apart(run, "traces", FactTraces, "driftmap.traces").traces
    grid = traces[0].of_kind("hidden")
    is_traced = np.isfinite(grid.score[:, 0]).tolist()
    assert is_traced == ["last subject" in held for held in grid.roles]


def test_what_the_page_shows_may_change_without_tracing_again(
    run, model, facts, monkeypatch
):
    def refuse(*_):
        raise AssertionError("traced again")

    monkeypatch.setattr("driftmap.recipes.steps.tracing.sharing.trace_fact", refuse)
    more = replace(LEAST, show=3)
    recipe(model, run, prompts=of_file(facts), comparing=more).run()
    assert "The first 3 prompts" in (run / "report.txt").read_text().replace("\n", " ")


def test_a_report_is_drawn_again_from_the_folder_alone(run, capsys):
    (run / "report.txt").unlink()
    assert main(["report", str(run)]) == 0
    capsys.readouterr()
    assert (run / "report.txt").is_file()


def test_prompts_given_in_words(model, tmp_path):
    prompts = PromptOptions(
        prompt=(WORDS[0].format("six"), WORDS[1].format("six"), WORDS[0].format("ten")),
        subject=("six", "six", "ten"),
        fact=("a", "a", "b"),
        relation=("r",),
    )
    given = prompts.given()
    assert [f.said for f in given] == ["a", "a", "b"]
    assert {f.relation for f in given} == {"r"}
    out = tmp_path / "run"
    without = replace(LEAST, other_seeds=0, kinds=("hidden",), row="last")
    recipe(model, out, prompts=prompts, comparing=without).run()
    found = compared_in(out)
    assert (found.num_prompts, found.num_facts, found.row) == (3, 2, "last")
    assert found.kinds[0].ceiling is None
    assert not (out / "traces-again-1.json").exists()


def test_no_profile_at_all_is_refused_with_reasons(model, facts, tmp_path):
    weak = replace(LEAST, min_total_effect=1e6, kinds=("hidden",), other_seeds=0)
    with pytest.raises(MeasureError, match="8 have too small a total effect"):
        recipe(model, tmp_path / "run", prompts=of_file(facts), comparing=weak).run()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: PromptOptions(prompt=("a",)), "--prompt is given once"),
        (lambda: PromptOptions(prompt=("a", "b")), "--subject is missing"),
        (
            lambda: PromptOptions(prompt=("a", "b"), subject=("x",), fact=("f",)),
            "--fact is given 1 times for 2 prompts",
        ),
        (lambda: PromptOptions(facts="f", answer=("x",)), "--answer goes with"),
        (lambda: CompareOptions(kinds=("severed_mlp",)), "has no profile at every"),
        (lambda: CompareOptions(min_total_effect=0.0), "give more than 0"),
        (lambda: TraceCompare(source=ModelSource(model="m")), "give either --facts"),
        (
            lambda: recipe(
                "m", Path("o"),
                prompts=PromptOptions(facts="f", prompt=("a", "b"), subject=("x",)),
            ),
            "are both given; leave out one",
        ),
        (
            lambda: recipe("m", Path("o"), prompts=of_file("f"),
                           engine=EngineOptions(partition="1/2")),
            "a comparison is not cut into parts",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(made, said):
    with pytest.raises(UsageError, match=said):
        made()


def test_the_command_is_an_option_of_trace():
    assert meant(["trace", "--compare", "--model", "m"]) == [
        "trace-compare", "--model", "m",
    ]  # fmt: skip
    assert meant(["trace", "--model", "m"]) == ["trace", "--model", "m"]

"""Facts traced from a file, in one piece and in parts, with all that may go wrong."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from driftmap.cli.main import main
from driftmap.core.errors import DataError, UsageError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.steps.tracing import concluding, sharing
from driftmap.recipes.trace import Trace
from driftmap.recipes.trace_options import FactOptions, NoiseOptions, StateOptions
from driftmap.results.fact_traces import FactTraces
from driftmap.store.arrays_apart import load_apart
from driftmap.store.tables import load_table
from tiny_studies import save_tiny_model

SUBJECTS = ("one", "six", "ten", "sky blue", "four five")
PROMPT = "what colour is the {} of"


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("deep") / "tiny", layers=3)


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """Five facts without answers: the model's first choice is what is traced."""
    path = tmp_path_factory.mktemp("facts") / "facts.json"
    rows = [{"id": s, "subject": s, "prompt": PROMPT.format(s)} for s in SUBJECTS]
    path.write_text(json.dumps(rows))
    return path


class Drawn:
    """What stands in for a report, which takes longer than tracing tiny models."""

    def path(self, name):
        """Where it would be."""
        return Path(name)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(concluding, "report_step", lambda run: Drawn())


LEAST = StateOptions(kinds=("hidden",), lens=False, show=1)


def recipe(model, facts, out, *, noise=None, engine=None, states=None, **told):
    return Trace(
        source=ModelSource(model=str(model), device="cpu"),
        facts=FactOptions(facts=str(facts), **told),
        states=states or StateOptions(window=2, show=2),
        noise=noise or NoiseOptions(num_draws=2),
        engine=engine or EngineOptions(),
        out=out,
    )


def traces_of(run):
    return load_apart(run, "traces", FactTraces, "driftmap.traces").traces


def results(run):
    kept = [*run.glob("traces.*"), *run.glob("findings.*"), *run.glob("tables/*")]
    return {path.name: path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def whole(deep, facts, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(concluding, "report_step", lambda run: Drawn())
        recipe(deep, facts, out).run()
    return out


def test_a_run_says_what_each_state_brings_back(whole, deep):
    traces = traces_of(whole)

    assert [one.fact_id for one in traces] == list(SUBJECTS)
    kinds = ["hidden", "mlp", "attn", "severed_mlp", "severed_attn"]
    for one in traces:
        assert [grid.kind for grid in one.grids] == kinds
        hidden, *_, severed = one.grids
        start, stop = hidden.subject
        assert "".join(hidden.tokens[start:stop]).replace(" ", "") in (
            one.subject.replace(" ", "")
        )
        assert hidden.score[-1, -1] == pytest.approx(one.high, rel=1e-5)
        assert (hidden.score[:start] == hidden.low).all()
        traced = ~np.isnan(severed.score).all(1)
        assert np.flatnonzero(traced).tolist() == [stop - 1]
        assert one.control is not None
    assert not (whole / "shards").exists()


def test_noise_is_as_strong_as_subjects_vary(whole, deep):
    loaded = load_model(ModelSource(model=str(deep), device="cpu"))
    weights = load_file(deep / "model.safetensors")["model.embed_tokens.weight"]
    rows = []
    for name in SUBJECTS:
        ids = loaded.tokenizer(f" {name}")["input_ids"]
        pieces = [loaded.tokenizer.decode([one]) for one in ids]
        # The space before the subject is a token of its own, or part of its first.
        rows.append(weights[ids[1:] if pieces[0] == " " else ids])
    expected = 3 * np.concatenate(rows).astype(np.float64).std(ddof=1)

    noise = traces_of(whole)[0].grids[0].noise

    assert noise.level == pytest.approx(expected, rel=1e-6)
    assert (noise.seed, noise.num_draws) == (1, 2)


def test_tables_say_what_the_files_of_arrays_say(whole):
    cells = load_table(whole / "tables/cells.parquet")
    told = load_table(whole / "tables/facts.parquet")
    trace = traces_of(whole)[3]
    hidden = trace.grids[0]
    own = cells.where(fact="sky blue", kind="hidden")

    assert np.array_equal(own["score"], hidden.score.ravel())
    assert np.array_equal(own["effect"], hidden.score.ravel() - hidden.low)
    last = own.where(token=len(hidden.tokens) - 1)
    assert set(last["roles"].tolist()) == {"last"}
    assert told["high"][3] == trace.high
    assert told["control"][3] == trace.control
    roles = load_table(whole / "tables/roles.parquet")
    mean = np.mean([t.grids[0].indirect_effect[-1, 1] for t in traces_of(whole)])
    row = roles.where(kind="hidden", role="last", layer=1)
    assert row["effect"].tolist() == [pytest.approx(mean)]


@pytest.mark.slow
def test_a_report_is_drawn_from_the_folder_alone(whole):
    assert main(["report", str(whole)]) == 0

    report = (whole / "report.txt").read_text()
    assert "Over 5 facts of 5 subjects" in report
    assert "not tried" not in report
    assert (whole / "report.html").is_file()


def test_parts_merged_by_the_command_are_the_whole(
    whole, deep, facts, tmp_path, undrawn
):
    parts = [tmp_path / "first", tmp_path / "second"]
    for number, part in enumerate(parts, start=1):
        engine = EngineOptions(partition=f"{number}/2")
        assert recipe(deep, facts, part, engine=engine).run() == part
        assert len(list(part.glob("shards/shard-*"))) == (2, 3)[number - 1]

    merged = tmp_path / "merged"
    assert main(["merge", *map(str, parts), f"--out={merged}"]) == 0

    assert results(merged) == results(whole)


@pytest.mark.slow
def test_workers_trace_what_one_process_traces(whole, deep, facts, tmp_path):
    engine = EngineOptions(workers=2)
    recipe(deep, facts, tmp_path / "run", engine=engine).run()

    assert results(tmp_path / "run") == results(whole)


def test_a_killed_run_goes_on_at_the_next_fact(
    whole, deep, facts, tmp_path, monkeypatch, undrawn
):
    traced, trace_fact = [], sharing.trace_fact

    def killed(loaded, prepared, how, text=None):
        if len(traced) == 2:
            raise KeyboardInterrupt
        traced.append(prepared.encoded.fact.id)
        return trace_fact(loaded, prepared, how, text)

    out = tmp_path / "run"
    monkeypatch.setattr(sharing, "trace_fact", killed)
    with pytest.raises(KeyboardInterrupt):
        recipe(deep, facts, out).run()
    again = []
    monkeypatch.setattr(
        sharing,
        "trace_fact",
        lambda loaded, prepared, how, text=None: (
            again.append(prepared.encoded.fact.id)
            or trace_fact(loaded, prepared, how, text)
        ),
    )
    recipe(deep, facts, out).run()

    assert traced + again == list(SUBJECTS)
    assert results(out) == results(whole)


def test_another_average_traces_nothing_anew(
    deep, facts, tmp_path, monkeypatch, undrawn
):
    out = tmp_path / "run"
    first = recipe(deep, facts, out, states=LEAST)
    first.run()
    monkeypatch.setattr(sharing, "trace_fact", None)
    replace(first, states=replace(first.states, pooled=True)).run()

    told = json.loads((out / "findings.json").read_text())
    assert told["effects"][0]["pooled"] is True


def given(facts, whole, folder):
    """The same facts with answers: the model's own, but for one."""
    rows = json.loads(facts.read_text())
    choices = [one.choice for one in traces_of(whole)]
    for row, choice in zip(rows, choices, strict=True):
        row["answer"] = choice
    rows[1]["answer"] = "eight nine ten"
    path = folder / "given.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("unknown", ["leave-out", "trace"])
def test_a_fact_that_the_model_does_not_know_is_counted(
    unknown, whole, deep, facts, tmp_path, undrawn
):
    path = given(facts, whole, tmp_path)
    out = tmp_path / "run"
    recipe(deep, path, out, states=LEAST, unknown=unknown).run()
    told = json.loads((out / "findings.json").read_text())
    trace = traces_of(out)[1]

    assert trace.is_known is False
    assert trace.is_traced == (unknown == "trace")
    assert told["counts"]["num_unknown"] >= 1
    assert told["counts"]["num_averaged"] == 5 - told["counts"]["num_unknown"]
    assert told["answer_source"] == "given"


@pytest.mark.slow
def test_estimates_stand_beside_exact_cells(whole, deep, facts, tmp_path):
    states = StateOptions(window=2, fast=True, num_exact=2)
    out = tmp_path / "run"
    recipe(deep, facts, out, states=states).run()
    exact = {one.fact_id: one for one in traces_of(whole)}

    for one in traces_of(out):
        assert [grid.method for grid in one.grids] == ["attribution"] * 3
        assert len(one.places) == 15
        for place in one.places:
            grid = exact[one.fact_id].of_kind(place.kind)
            assert place.exact == pytest.approx(
                grid.score[place.token, place.layer], rel=1e-4
            )
    assert [bool(one.exact) for one in traces_of(out)] == [
        True, False, False, False, True,
    ]  # fmt: skip
    told = json.loads((out / "findings.json").read_text())
    assert [check["kind"] for check in told["checks"]] == ["hidden", "mlp", "attn"]
    assert "estimated" in (out / "report.txt").read_text().lower()
    assert len(load_table(out / "tables/places.parquet")) == 75


@pytest.mark.parametrize(
    ("noise", "num_draws"),
    [
        (NoiseOptions(noise="swap", num_draws=1), 1),
        (NoiseOptions(noise="zero"), 1),
        (NoiseOptions(noise="uniform", noise_level=".3", num_draws=3), 3),
        (NoiseOptions(noise="embedding_gaussian", num_draws=2, replace=True), 2),
    ],
)
def test_subjects_are_corrupted_as_told(
    noise, num_draws, deep, facts, tmp_path, undrawn
):
    recipe(deep, facts, tmp_path / "run", noise=noise, states=LEAST).run()
    traces = traces_of(tmp_path / "run")

    assert {one.grids[0].noise.num_draws for one in traces} == {num_draws}
    assert {one.grids[0].noise.kind for one in traces} == {noise.noise}


def test_a_subject_without_partners_is_left_out_and_counted(
    deep, facts, tmp_path, undrawn
):
    path = tmp_path / "four.json"
    path.write_text(json.dumps(json.loads(facts.read_text())[:4]))
    out = tmp_path / "run"
    noise = NoiseOptions(noise="swap")
    recipe(deep, path, out, noise=noise, states=LEAST).run()

    told = json.loads((out / "findings.json").read_text())
    assert [one.fact_id for one in traces_of(out)] == ["one", "six", "ten"]
    assert told["counts"]["left_out"] == {"no other subject has as many tokens": 1}
    assert {one.grids[0].noise.num_draws for one in traces_of(out)} == {2}


def test_one_prompt_is_traced_by_itself(deep, tmp_path, undrawn):
    Trace(
        source=ModelSource(model=str(deep), device="cpu"),
        facts=FactOptions(prompt="the sky of ten is", subject="ten", answer="blue six"),
        states=StateOptions(window=2),
        noise=NoiseOptions(num_draws=2),
        out=tmp_path / "run",
    ).run()
    (trace,) = traces_of(tmp_path / "run")
    told = json.loads((tmp_path / "run" / "findings.json").read_text())

    assert trace.answer == "blue six"
    assert (trace.is_known, trace.is_traced) == (False, True)
    assert "well-known subjects, since one prompt has no file" in told["noise_source"]


def test_a_fact_whose_subject_is_not_clear_stops_the_run_or_is_counted(
    deep, facts, tmp_path, undrawn
):
    rows = json.loads(facts.read_text())
    rows[2]["subject"] = "Rome"
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match="ten: subject 'Rome' is not in the text"):
        recipe(deep, path, tmp_path / "run").run()
    assert not (tmp_path / "run").exists()

    recipe(deep, path, tmp_path / "run", states=LEAST, unclear="leave-out").run()
    told = json.loads((tmp_path / "run" / "findings.json").read_text())
    assert len(traces_of(tmp_path / "run")) == 4
    assert told["counts"]["left_out"] == {
        "subject or answer not found in the tokens": 1
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give either --facts, a file, or --prompt"),
        ({"facts": "a", "prompt": "b"}, "are both given; leave out one"),
        ({"facts": "a", "subject": "b"}, "--subject goes with --prompt"),
        ({"prompt": "a", "num_facts": 2}, "--num-facts goes with --facts"),
        ({"prompt": "a", "subject_tokens": "2"}, "is no range; give first:end"),
        ({"prompt": "a", "subject_tokens": "3:3"}, "is no range; give first:end"),
        ({"facts": "a", "occurrence": "no"}, "is no place; give 1, 2, ... or last"),
    ],
)
def test_facts_that_cannot_be_meant_are_refused(options, said, tmp_path):
    with pytest.raises(UsageError) as raised:
        Trace(source=ModelSource(model="m"), facts=FactOptions(**options))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kinds": ("hidden", "mlps")}, "'mlps' is no state; known are hidden, mlp"),
        ({"kinds": ("severed_mlp",)}, "severed ones say something beside others"),
        ({"window": 0}, "--window"),
    ],
)
def test_states_that_cannot_be_meant_are_refused(options, said):
    with pytest.raises(UsageError) as raised:
        StateOptions(**options)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise_level": "3x"}, "--noise-level 3x is no level; give a number"),
        ({"noise": "swap", "noise_level": ".1"}, "swap has no level"),
        ({"noise": "zero", "replace": True}, "zero replaces anyway"),
        ({"df": 2.0}, "--df is 2.0; give more than 2"),
    ],
)
def test_noise_that_cannot_be_meant_is_refused(options, said):
    with pytest.raises(UsageError) as raised:
        NoiseOptions(**options)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"noise": NoiseOptions(noise="swap")}, "swap needs other subjects"),
        ({"engine": EngineOptions(workers=2)}, "--prompt is one fact"),
        ({"states": StateOptions(outcome="logit_difference")}, "needs a --foil"),
    ],
)
def test_what_one_prompt_cannot_have_is_refused(told, said):
    with pytest.raises(UsageError, match=said):
        Trace(source=ModelSource(model="m"), facts=FactOptions(prompt="a"), **told)


def test_a_rank_has_no_gradient_to_estimate_it_by():
    with pytest.raises(UsageError, match="a rank has none"):
        StateOptions(outcome="rank", fast=True)

"""Are groups the same wherever the samples of both data sets are scored?"""

import pickle
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from driftmap.cli.main import main
from driftmap.core.errors import StoreError, UsageError
from driftmap.engine.local import make_here
from driftmap.load.source import ModelSource
from driftmap.recipes.drift import Drift
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.options import GroupOptions, OutputOptions, ScoringOptions
from driftmap.recipes.steps.scoring.shared_halves import HalvesWork
from driftmap.recipes.steps.scoring.sharing import Adder
from driftmap.results.samples import EncodedSample
from driftmap.store.groups import load_group
from tiny_studies import write_rows

NUM = {"behaviour": 67, "utility": 70}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two sets of which neither ends with a chunk; the first is of odd size."""
    folder = tmp_path_factory.mktemp("rows")
    said = {
        "behaviour": ("how do I break lock {}", "I cannot help with that, no {}"),
        "utility": ("what is {} plus one", "one more than {}"),
        "tune": ("name number {}", "the number is {}"),
    }
    return {
        name: write_rows(
            folder / f"{name}.jsonl",
            [
                {"prompt": ask.format(n), "response": answer.format(n * (n % 5 + 1))}
                for n in range(NUM.get(name, 4))
            ],
        )
        for name, (ask, answer) in said.items()
    }


def recipe(model, data, out, score="snip", keep=False, **where) -> Drift:
    return Drift(
        source=ModelSource(model=str(model), device="cpu"),
        behaviour=str(data["behaviour"]),
        utility=str(data["utility"]),
        tune_on=str(data["tune"]),
        scoring=ScoringOptions(num_samples=70, score=score, score_batch_size=16),
        groups=GroupOptions(share=0.05, p=0.1, q=0.3),
        output=OutputOptions(keep=keep),
        engine=EngineOptions(**where),
        out=out,
        until="groups",
    )


def results(run: Path) -> dict[str, bytes]:
    folders = [run / name for name in ("scores", "groups", "tables")]
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def members(run: Path, name: str) -> set[tuple[str, int]]:
    group = load_group(run / f"groups/{name}.safetensors")
    return {
        (site.key, int(index)) for site, of in group.members.items() for index in of
    }


def assert_same_groups(found: Path, expected: Path):
    names = {path.stem for path in (expected / "groups").glob("*.safetensors")}
    assert {path.stem for path in (found / "groups").glob("*.safetensors")} == names
    for name in ("difference", "top", "utility"):
        ours, theirs = members(found, name), members(expected, name)
        assert theirs
        assert len(ours & theirs) / len(ours | theirs) >= 0.999, name


def assert_same_halves(found: Path, expected: Path):
    """Scores of even and of odd samples, each up to rounding."""
    for name in ("behaviour", "utility"):
        ours, theirs = (
            load_file(r / f"scores/{name}.safetensors") for r in (found, expected)
        )
        assert ours.keys() == theirs.keys()
        for key, half in theirs.items():
            assert (ours[key] - half).abs().max() <= 1e-6 * half.abs().max(), key


@pytest.fixture
def here(monkeypatch):
    """Workers are this process; samples of the set, number and edges of each shard."""
    made = []
    make = Adder.make

    def noting(self, shard, folder):
        made.append((len(self._work.encoded), shard.number, shard.start, shard.stop))
        make(self, shard, folder)

    def without_processes(work, shards, folder, settings, done, bar):
        make_here(work, shards, folder, done)

    monkeypatch.setattr(Adder, "make", noting)
    monkeypatch.setattr("driftmap.engine.run.make_in_processes", without_processes)
    return made


@pytest.fixture(scope="module")
def plain(model, data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "run"
    return recipe(model, data, out, keep=True).run()


ALL = [(67, 0, 0, 64), (67, 1, 64, 67), (70, 2, 0, 64), (70, 3, 64, 70)]


def test_shared_groups_are_those_of_one_process(model, data, plain, here, tmp_path):
    run = recipe(model, data, tmp_path / "run", workers=2).run()
    assert here == ALL  # no shard holds samples of both, and each set counts from 0
    assert_same_groups(run, plain)
    assert not (run / "shards").exists()


@pytest.mark.parametrize(
    "score", ["snip", pytest.param("wanda", marks=pytest.mark.slow)]
)
def test_halves_are_kept_apart_as_in_one_process(
    model, data, plain, here, tmp_path, score
):
    how = {"score": score, "keep": True}
    run = recipe(model, data, tmp_path / "run", workers=2, **how).run()
    if score != "snip":
        plain = recipe(model, data, tmp_path / "plain", **how).run()
    assert here == ALL  # once, for both files of scores
    assert_same_halves(run, plain)
    assert_same_groups(run, plain)


def test_work_pickles_and_its_shards_cover_both_sets():
    sample = EncodedSample(
        sample_id="a",
        token_ids=np.arange(3, dtype=np.int32),
        counted=np.array([False, False, True]),
        prompt_length=2,
    )
    sets = {"behaviour": (sample,) * 67, "utility": (sample,) * 70}
    work = HalvesWork(
        source=ModelSource(model="m"),
        sets=sets,
        scoring=ScoringOptions(),
        inputs={},
    )
    work = pickle.loads(pickle.dumps(work))
    shards = [s for of_set in work.shards.values() for s in of_set]
    edges = [(s.number, s.start, s.stop) for s in shards]
    assert edges == [(0, 0, 64), (1, 64, 67), (2, 67, 131), (3, 131, 137)]
    assert work.part.num_samples == 137
    assert work.part.inputs["sizes"] == {"behaviour": 67, "utility": 70}


def test_a_run_that_stops_goes_on_from_its_shards_without_workers_too(
    model, data, plain, here, tmp_path, monkeypatch
):
    make = Adder.make

    def stopping(self, shard, folder):
        if shard.number == 2:
            raise KeyboardInterrupt
        make(self, shard, folder)

    with monkeypatch.context() as stopped:
        stopped.setattr(Adder, "make", stopping)
        with pytest.raises(KeyboardInterrupt):
            recipe(model, data, tmp_path / "run", workers=2).run()
    assert here == ALL[:2]
    run = recipe(model, data, tmp_path / "run").run()
    assert here == ALL
    assert_same_groups(run, plain)
    assert not (run / "shards").exists()


def test_a_run_that_made_no_shard_was_never_begun(
    model, data, here, tmp_path, monkeypatch
):
    def stopping(self, shard, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(Adder, "make", stopping)
    with pytest.raises(KeyboardInterrupt):
        recipe(model, data, tmp_path / "run", workers=1).run()
    assert not (tmp_path / "run").exists()


def test_where_samples_are_scored_may_change_within_a_run(model, data, here, tmp_path):
    run = recipe(model, data, tmp_path / "run", workers=1).run()
    before = results(run)
    here.clear()
    assert recipe(model, data, run).run() == run
    assert recipe(model, data, run, workers=3).run() == run
    assert results(run) == before
    assert here == []


def test_a_disk_that_is_too_small_for_shards_is_refused(
    model, data, here, tmp_path, monkeypatch
):
    from driftmap.recipes.steps.scoring import sharing

    monkeypatch.setattr(sharing, "free_disk", lambda path: 1000)
    wanted = r"run: 4 shards of sums take .* there and 1000 B are free; choose an"
    with pytest.raises(StoreError, match=wanted):
        recipe(model, data, tmp_path / "run", workers=1).run()


PART = (
    "--partition works on a part of the samples, and a drift study tunes on all of "
    "them; use --workers or --engine ray, or divide `driftmap score`"
)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--partition=1/2"], PART),
        (["--partition-start=0", "--partition-end=9"], PART),
        (
            ["--workers=2", "--score=magnitude"],
            "--score magnitude reads no sample, so that there is nothing to share; "
            "leave out --workers and --engine",
        ),
        (
            ["--workers=2", "--device-map=auto"],
            "--device-map auto spreads one model over several GPUs, and each worker",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_at_once(words, wanted, capsys):
    named = ["--model=m", "--behaviour=b", "--utility=u", "--tune-on=t"]
    assert main(["drift", *named, *words]) == 2
    told = capsys.readouterr().err
    assert wanted in " ".join(told.split())
    assert "Traceback" not in told


def test_one_device_for_all_workers_is_refused_before_the_model_is_loaded(
    data, tmp_path
):
    one = recipe(tmp_path / "absent", data, tmp_path / "run", workers=2)
    one = replace(one, source=replace(one.source, device="cuda:1"))
    wanted = "--device cuda:1 is one device, and each worker takes one of its own"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        one.run()


def test_workers_among_processes_that_tune_are_refused(
    model, data, tmp_path, monkeypatch
):
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    for name, value in {"LOCAL_WORLD_SIZE": 2, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    wanted = "--workers and --engine start processes that score, and 2 processes that"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        recipe(model, data, tmp_path / "run", workers=2).run()


def test_the_script_for_slurm_gives_the_study_again(data, tmp_path, capsys):
    words = ["drift", "--model=m", "--num-samples=7", "--no-keep", "--quick"]
    words += [f"--{name}={data[name]}" for name in NUM]
    words += [f"--tune-on={data['tune']}", f"--out={tmp_path / 'run'}", "--lora-r=3"]
    assert main([*words, "--workers=3", "--print-slurm"]) == 0
    script = capsys.readouterr().out
    line = " ".join(script.replace("\\\n", " ").split()).partition(" -- ")[2]
    assert "#SBATCH --nodes=2" in script
    again = shlex.split(line)[1:]
    assert main([*again, "--print-slurm"]) == 0
    assert capsys.readouterr().out == script
    for word in ("--num-samples 7", "--quick", "--lora-r 3", "--workers 3"):
        assert word in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(model, data, plain, tmp_path):
    one = recipe(model, data, tmp_path / "one", keep=True, workers=1).run()
    words = ["run", str(one), "--workers=2", f"--out={tmp_path / 'two'}"]
    assert main([*words, "--until=groups"]) == 0
    assert results(one) == results(tmp_path / "two")
    assert_same_halves(one, plain)
    assert_same_groups(one, plain)

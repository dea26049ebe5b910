import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from driftmap.cli.main import main
from driftmap.core.errors import StoreError, UsageError
from driftmap.engine.folder import DONE
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.merge import Merge
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.picking_options import PickingOptions
from driftmap.recipes.score import Score
from driftmap.store.tables import load_table
from tiny_studies import write_rows

NUM = 130


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(
        tmp_path_factory.mktemp("rows") / "many.jsonl",
        [
            {"prompt": f"what is {n} plus {n % 7}", "response": f"it is {n + n % 7}"}
            for n in range(NUM)
        ],
    )


def recipe(model, rows, out, score="snip", grain="weight", **where) -> Score:
    return Score(
        source=ModelSource(model=str(model), device="cpu"),
        data=str(rows),
        scoring=ScoringOptions(num_samples=NUM, score=score),
        picking=PickingOptions(grain=grain, share=0.05),
        engine=EngineOptions(**where),
        keep=True,
        out=out,
    )


def kept(out: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in sorted((out / "scores").glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def results(run: Path) -> dict[str, bytes]:
    folders = [run / name for name in ("scores", "groups", "tables")]
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for folder in folders
        for path in sorted(folder.glob("*"))
    }


def assert_close(found: Path, expected: Path):
    ours, theirs = kept(found), kept(expected)
    assert ours.keys() == theirs.keys()
    for name, scores in theirs.items():
        worst = (ours[name] - scores).abs().max() / scores.abs().max()
        assert worst <= 1e-6, name


def merged(model, rows, folder, cuts, **how) -> Path:
    """Each part as a person makes it, then all of them joined by the command."""
    parts = []
    for number, where in enumerate(cuts):
        parts.append(folder / f"part-{number}")
        assert recipe(model, rows, parts[-1], **where, **how).run() == parts[-1]
    whole = folder / "merged"
    assert main(["merge", *map(str, parts), f"--out={whole}"]) == 0
    return whole


THIRDS = [{"partition": f"{n}/3"} for n in (1, 2, 3)]
CUT = [
    {"partition_start": 0, "partition_end": 33},
    {"partition_start": 33, "partition_end": NUM},
]


@pytest.fixture(scope="module")
def plain(model, rows, tmp_path_factory) -> Path:
    return recipe(model, rows, tmp_path_factory.mktemp("plain") / "run").run()


@pytest.fixture(scope="module")
def whole(model, rows, tmp_path_factory) -> Path:
    return merged(model, rows, tmp_path_factory.mktemp("whole"), THIRDS)


def test_merged_scores_are_those_of_one_process(plain, whole):
    assert_close(whole, plain)
    assert not (whole / "shards").exists()


def test_ranges_that_cut_a_chunk_are_merged_too(model, rows, plain, tmp_path):
    assert_close(merged(model, rows, tmp_path, CUT), plain)


@pytest.mark.slow
def test_wanda_and_units_are_merged_as_well(model, rows, tmp_path):
    for how in ({"score": "wanda"}, {"grain": "head"}):
        folder = tmp_path / "".join(how)
        one = recipe(model, rows, folder / "one", **how).run()
        several = merged(model, rows, folder, CUT, **how)
        assert_close(several, one)
    ours = load_table(several / "tables/units.parquet").columns
    theirs = load_table(one / "tables/units.parquet").columns
    assert ours["first_order"] == pytest.approx(theirs["first_order"], rel=1e-5)
    assert ours["mass"] == pytest.approx(theirs["mass"], rel=1e-5)


def test_the_run_of_the_whole_is_that_of_one_command(model, rows, whole):
    before = results(whole)
    assert recipe(model, rows, whole).run() == whole  # the same settings
    assert results(whole) == before
    assert "partition: null" in (whole / "run.yaml").read_text()


def test_parts_in_one_folder_need_no_merging(model, rows, whole, tmp_path):
    for where in (*THIRDS, {}):
        run = recipe(model, rows, tmp_path / "run", **where).run()
    assert results(run) == results(whole)


def test_a_missing_part_is_named_by_the_command(model, rows, tmp_path, capsys):
    part = recipe(model, rows, tmp_path / "part", partition="1/3").run()
    assert main(["merge", str(part), f"--out={tmp_path / 'whole'}"]) == 1
    told = capsys.readouterr().err
    assert "error: samples 65 to 130 (2/3, 3/3) of 130 are in no part" in told
    assert not (tmp_path / "whole").exists()


def test_a_damaged_shard_is_named_and_made_again(model, rows, tmp_path, capsys):
    part = recipe(model, rows, tmp_path / "part", partition="1/3").run()
    file = part / "shards/shard-00000000-00000064/weights-000.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    words = ["run", str(part)]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "is not what was written; shard 1 (samples 1 to 64) is made again" in told
    assert file.read_bytes() == before
    assert (file.parent / DONE).is_file()


def test_a_run_that_stops_goes_on_and_one_without_a_shard_was_never_begun(
    model, rows, tmp_path, monkeypatch
):
    from driftmap.recipes.steps.scoring.sharing import Adder

    made, stops = [], [1]
    make = Adder.make

    def stopping(self, shard, folder):
        made.append(shard.number)
        if shard.number in stops:
            raise KeyboardInterrupt
        make(self, shard, folder)

    monkeypatch.setattr(Adder, "make", stopping)
    part = recipe(model, rows, tmp_path / "run", partition="1/1")
    with pytest.raises(KeyboardInterrupt):
        part.run()
    stops.clear()
    part.run()
    assert made == [0, 1, 1, 2]
    stops.append(0)
    with pytest.raises(KeyboardInterrupt):
        recipe(model, rows, tmp_path / "other", partition="1/1").run()
    assert not (tmp_path / "other").exists()


def test_parts_with_other_settings_are_refused(model, rows, tmp_path):
    one = recipe(model, rows, tmp_path / "one", partition="1/2")
    two = recipe(model, rows, tmp_path / "two", partition="2/2")
    two = replace(two, picking=PickingOptions(share=0.07))
    one.run()
    two.run()
    wanted = (
        f"{tmp_path / 'two'}: was made with other settings than {tmp_path / 'one'}: "
        "picking.share 0.05 (now 0.07); make all parts with the same"
    )
    with pytest.raises(StoreError, match=re.escape(wanted)):
        Merge(parts=(one.out, two.out), out=tmp_path / "whole").run()


def test_merging_nothing_or_into_a_part_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no part is named; name the run folder of"):
        Merge(parts=(), out=tmp_path)
    with pytest.raises(UsageError, match="is one of the parts; choose another folder"):
        Merge(parts=(tmp_path,), out=tmp_path)


def test_a_disk_that_is_too_small_for_shards_is_refused(
    model, rows, tmp_path, monkeypatch
):
    from driftmap.recipes.steps.scoring import sharing

    monkeypatch.setattr(sharing, "free_disk", lambda path: 1000)
    wanted = r"run: 3 shards of sums take .* there and 1000 B are free; choose an"
    with pytest.raises(StoreError, match=wanted):
        recipe(model, rows, tmp_path / "run", workers=1).run()


def test_a_score_without_samples_is_not_shared(model, rows, tmp_path):
    wanted = (
        "--score magnitude reads no sample, so that there is nothing to share; leave "
        "out --workers, --engine and --partition"
    )
    with pytest.raises(UsageError, match=re.escape(wanted)):
        recipe(model, rows, tmp_path / "run", "magnitude", partition="1/2").run()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"device": "cuda:1"}, "--device cuda:1 is one device, and each worker takes"),
        (
            {"device_map": "auto"},
            "--device-map auto spreads one model over several GPU",
        ),
    ],
)
def test_one_device_for_all_workers_is_refused(model, rows, tmp_path, changes, wanted):
    one = recipe(model, rows, tmp_path / "run", workers=2)
    one = replace(one, source=replace(one.source, **changes))
    with pytest.raises(UsageError, match=re.escape(wanted)):
        one.run()


def test_more_workers_than_gpus_are_refused(monkeypatch):
    from driftmap.recipes.steps.sharing_out import engine_settings

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    source = ModelSource(model="m")
    assert engine_settings(EngineOptions(workers=2), source).gpus == ("2", "5")
    assert engine_settings(EngineOptions(engine="ray", workers=9), source).gpus == ()
    on_cpu = replace(source, device="cpu")
    assert engine_settings(EngineOptions(workers=9), on_cpu).gpus == ()
    wanted = "--workers 3: this machine has 2 GPUs, one for each worker; give at most 2"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        engine_settings(EngineOptions(workers=3), source)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(model, rows, plain, whole, tmp_path):
    one = recipe(model, rows, tmp_path / "one", workers=1).run()
    words = ["run", str(one), "--workers=2", f"--out={tmp_path / 'two'}"]
    assert main(words) == 0
    assert results(one) == results(tmp_path / "two")
    assert_close(one, plain)
    assert results(whole) == results(one)

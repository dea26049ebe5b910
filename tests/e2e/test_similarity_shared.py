"""Do workers, parts and a killed run give the products of one process, bit for bit?"""

import numpy as np
import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.similarity import sharing
from driftmap.store.pair_products import load_pairs
from similar_rows import save_similar_rows
from tiny_studies import save_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(pages, "save_pictures", lambda _figures, _folder: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    model = save_tiny_model(folder / "model", layers=1)
    return model, save_similar_rows(folder, num=130)


def words(made, out, *more):
    model, rows = made
    return [
        "similarity", f"--model={model}", f"--data={rows['originals']}",
        f"--queries={rows['paraphrased']}", "--of=gradients", "--device=cpu",
        "--resamples=100", "--only=q", f"--out={out}", *more,
    ]  # fmt: skip


def products(run):
    return load_pairs(run / "products/gradients.safetensors").products


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda _figures, _folder: None)
        assert main(words(made, out)) == 0
    return products(out)


def equal(one, other):
    assert one.originals == other.originals
    np.testing.assert_array_equal(one.dot, other.dot)
    np.testing.assert_array_equal(one.query_energy, other.query_energy)
    np.testing.assert_array_equal(one.original_energy, other.original_energy)


def test_two_workers_give_the_same_bits(made, whole, tmp_path):
    out = tmp_path / "run"
    assert main(words(made, out, "--workers=2")) == 0
    equal(products(out), whole)
    assert not (out / "shards").exists()


def test_parts_merge_to_the_same_bits(made, whole, tmp_path):
    parts = [tmp_path / f"part{n}" for n in (1, 2)]
    for number, part in enumerate(parts, start=1):
        assert main(words(made, part, f"--partition={number}/2")) == 0
        assert not (part / "report.html").exists()
    out = tmp_path / "merged"
    assert main(["merge", *map(str, parts), f"--out={out}"]) == 0
    equal(products(out), whole)
    assert (out / "report.html").is_file()


def test_a_missing_part_is_named(made, tmp_path, capsys):
    part = tmp_path / "part"
    assert main(words(made, part, "--partition=1/3")) == 0
    assert main(["merge", str(part), f"--out={tmp_path / 'out'}"]) == 1
    error = capsys.readouterr().err
    assert "are in no part" in error
    assert "2/3" in error
    assert "3/3" in error


def test_a_run_that_was_cut_off_makes_only_what_is_left(
    made, whole, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    begun = []
    make = sharing.shard_products

    def cut_off(loaded, sides, settings, part, **more):
        begun.append(part)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return make(loaded, sides, settings, part, **more)

    monkeypatch.setattr(sharing, "shard_products", cut_off)
    assert main(words(made, out)) == 130
    assert main(words(made, out)) == 0
    assert begun == [range(64), range(64, 128), range(64, 128), range(128, 130)]
    equal(products(out), whole)


def test_queries_pass_once_however_many_shards_there_are(made, tmp_path, monkeypatch):
    from driftmap.recipes.steps.similarity import schedules

    shown = []
    show = schedules.show_gradients

    def watched(model, rules, batches, take):
        shown.append(sum(len(batch.sample_ids) for batch in batches))
        return show(model, rules, batches, take)

    monkeypatch.setattr(schedules, "show_gradients", watched)
    assert main(words(made, tmp_path / "run")) == 0
    assert shown == [130, 64, 64, 2]


def test_a_projection_has_no_parts(made, tmp_path, capsys):
    more = ("--projection=fold", "--partition=1/2")
    assert main(words(made, tmp_path / "run", *more)) == 2
    assert "driftmap index build" in capsys.readouterr().err


def test_the_slurm_script_repeats_the_command(made, tmp_path, capsys):
    assert main(words(made, tmp_path / "run", "--partition=1/4", "--print-slurm")) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=1-4" in script
    assert "driftmap similarity" in script

"""Do workers, parts and a killed run rank experts as one process does, bit for bit?"""

import json

import pytest

from driftmap.cli.main import main
from driftmap.recipes.steps import pages
from driftmap.recipes.steps.experts import passes
from tiny_mixtures import save_tiny_mixture

pytestmark = pytest.mark.slow

NUM = 70  # more than one chunk


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experts-shared")
    items = [
        {
            "id": f"item{number}",
            "all_prompt": [{"role": "user", "content": f"a story of {number}"}],
            "goal": f"how to {number}",
            "output": f"like {'so ' * (number % 3)}{number}",
            "response": "no",
        }
        for number in range(NUM + 4)
    ]
    (folder / "items.json").write_text(json.dumps(items))
    benign = [
        {"prompt": f"name {number}", "response": f"a {number}"} for number in range(9)
    ]
    (folder / "benign.json").write_text(json.dumps(benign))
    return save_tiny_mixture(folder / "model"), folder


def words(made, out, *more):
    model, folder = made
    return [
        "experts", f"--model={model}", f"--data={folder / 'items.json'}",
        f"--benign={folder / 'benign.json'}", f"--num-samples={NUM}",
        "--safe-response=dataset", "--identify=gradient,routing,effect",
        "--contrast=benign", "--identify-only", "--top-k-experts=2",
        "--num-bootstrap=20", "--ablation-draws=1", "--device=cpu", f"--out={out}",
        *more,
    ]  # fmt: skip


def scores(run):
    """Everything that was ranked by, byte by byte."""
    files = {p.name: p.read_bytes() for p in (run / "scores").glob("*.safetensors")}
    assert {name.partition(".")[0] for name in files} == {
        "gradient", "routing", "effect",
    }  # fmt: skip
    return files


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "save_pictures", lambda _figures, _folder: None)
        assert main(words(made, out)) == 0
    return scores(out)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(pages, "save_pictures", lambda _figures, _folder: None)


def test_two_workers_rank_alike(made, whole, tmp_path):
    out = tmp_path / "run"
    assert main(words(made, out, "--workers=2")) == 0
    assert scores(out) == whole
    assert not (out / "shards").exists()


def test_parts_merge_to_the_same_ranking(made, whole, tmp_path):
    parts = [tmp_path / f"part{n}" for n in (1, 2)]
    for number, part in enumerate(parts, start=1):
        assert main(words(made, part, f"--partition={number}/2")) == 0
        assert not (part / "report.html").exists()
    out = tmp_path / "merged"
    assert main(["merge", *map(str, parts), f"--out={out}"]) == 0
    assert scores(out) == whole
    assert (out / "report.html").is_file()


def test_a_run_that_was_cut_off_reads_only_what_is_left(
    made, whole, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    begun = []
    read = passes.ExpertReader.read_shard

    def cut_off(self, name, samples, shard):
        begun.append((name, shard.start))
        if begun.count(("unsafe", 64)) == 1:
            raise KeyboardInterrupt
        return read(self, name, samples, shard)

    monkeypatch.setattr(passes.ExpertReader, "read_shard", cut_off)
    # A part of the whole leaves its shards, as a run with workers does.
    shared = words(made, out, "--partition-start=0", f"--partition-end={NUM}")
    assert main(shared) == 130
    assert main(words(made, out)) == 0
    assert begun.count(("unsafe", 0)) == 1
    assert scores(out) == whole


def test_the_slurm_script_repeats_the_command(made, tmp_path, capsys):
    assert main(words(made, tmp_path / "run", "--partition=1/2", "--print-slurm")) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=1-2" in script
    assert "driftmap experts" in script

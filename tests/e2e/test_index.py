"""From samples to an index of a tiny model, its growth, search, check and parts."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from driftmap.cli.main import main
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.index_options import TokenOptions
from driftmap.recipes.steps.index import reading
from driftmap.recipes.steps.index.exact import ExactCosines
from driftmap.recipes.steps.index.source import Source
from driftmap.store.index.folder import Index
from driftmap.store.index.rows import widened
from gradient_oracles import autograd_gradients
from made_index import contents
from tiny_studies import save_tiny_model, write_rows

NUM = 24
OPTIONS = ["--projection-size=64", "--shard-size=8", "--device=cpu"]


def row(name, ask, answer):
    turns = [
        {"role": "user", "content": ask},
        {"role": "assistant", "content": answer},
    ]
    return {"id": name, "messages": turns}


def rows(numbers):
    return [
        row(f"s{n}", f"what is {n} plus one", f"it is {n + 1}" + " so" * (n % 4))
        for n in numbers
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    save_tiny_model(folder / "model", hidden=8, layers=1)
    write_rows(folder / "data.jsonl", rows(range(NUM)))
    queries = [*rows([7]), row("q", "name a colour", "blue, so")]
    queries[0]["id"] = "again"
    write_rows(folder / "queries.jsonl", queries)
    assert build(folder, "index") == 0
    return folder


def build(folder, out, *more, data="data.jsonl"):
    given = [f"--model={folder / 'model'}", f"--data={folder / data}"]
    return main(["index", "build", *given, f"--out={folder / out}", *OPTIONS, *more])


def search(folder, *more, index="index"):
    given = [str(folder / index), f"--queries={folder / 'queries.jsonl'}"]
    return main(["index", "search", *given, "--device=cpu", *more])


def refused(capsys, code):
    assert code != 0
    # One sentence, however narrow the terminal is.
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def truth(place):
    """Cosines of both queries with every sample, tensor by tensor, in float64."""
    loaded = load_model(ModelSource(model=str(place / "model"), device="cpu"))
    model = loaded.model.double()
    held = []
    for name in ("queries.jsonl", "data.jsonl"):
        source = Source(
            data=str(place / name),
            columns={},
            num_samples=None,
            seed=0,
            tokens=TokenOptions(),
        )
        fed = reading.encode(loaded, source.read(), source.tokens)
        held.append(gradients(model, fed.encoded))
    return held


def gradients(model, encoded):
    """Autograd, sample by sample; what counts is looked up by hand."""
    found = []
    for one in encoded:
        ids = torch.tensor(one.token_ids, dtype=torch.int64)
        stop = int(np.flatnonzero(one.counted)[-1]) + 1
        alone = SimpleNamespace(
            token_ids=ids[:stop], num_counted=int(one.counted.sum())
        )
        found.append(autograd_gradients(model, [alone]))
    return {
        name: torch.cat([each[name] for each in found]).flatten(1).numpy()
        for name in found[0]
    }


def cosines(truth, names, weights=None):
    asked, there = truth
    weights = dict.fromkeys(names, 1.0) if weights is None else weights
    product = sum(weights[n] * asked[n] @ there[n].T for n in names)
    one, other = (
        sum(weights[n] * (side[n] ** 2).sum(1) for n in names) for side in truth
    )
    return product / np.sqrt(np.outer(one, other))


def answers(folder):
    lines = (folder / "answers.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def best(cosine, top):
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
    return order, np.take_along_axis(cosine, order, 1)


class TestRows:
    def test_rows_and_energies_are_those_of_the_gradients(self, place, truth):
        index = Index(place / "index")
        _, there = truth
        names = [tensor.place.name for tensor in index.header.tensors]
        assert set(names) == set(there)
        energies = np.concatenate([s.energies()[0] for s in index.shards()])
        wanted = np.stack([(there[name] ** 2).sum(1) for name in names], 1)
        assert np.allclose(energies, wanted, rtol=1e-4)
        small = names.index("model.norm.weight")
        assert index.header.tensors[small].is_exact
        kept = np.concatenate([widened(s.kept(small)[0]) for s in index.shards()])
        lengths = np.linalg.norm(there["model.norm.weight"], axis=1, keepdims=True)
        assert np.allclose(kept, there["model.norm.weight"] / lengths, atol=1e-3)

    def test_a_row_of_the_public_view_costs_no_copy(self, place):
        index = Index(place / "index")
        names = [tensor.place.name for tensor in index.header.tensors]
        first = names.index("model.layers.0.mlp.gate_proj.weight")
        shard = next(index.shards())
        view = shard.view([first, first + 1])
        assert view.shape == (8, 2, 64)
        assert np.shares_memory(view, shard.kept(first)[0])


class TestSearch:
    def test_the_exact_part_is_brute_force(self, place, truth, tmp_path, capsys):
        code = search(place, "--top=4", f"--out={tmp_path}")
        assert code == 0
        names = list(truth[0])
        order, wanted = best(cosines(truth, names), 4)
        found = answers(tmp_path)
        assert [a["number"] for a in found] == order.ravel().tolist()
        assert np.allclose([a["cosine"] for a in found], wanted.ravel(), atol=2e-5)
        assert all(a["exact"] for a in found)
        assert found[0]["sample"] == "s7"
        assert found[0]["cosine"] == pytest.approx(1, abs=1e-5)
        assert found[0]["response"].startswith("it is 8")
        table = pq.read_table(tmp_path / "answers.parquet").to_pylist()
        assert table == found
        told = json.loads((tmp_path / "search.json").read_text())
        assert told["num_samples"] == NUM
        assert all(each["is_settled"] for each in told["queries"].values())
        assert "cosines are exact, measured for" in capsys.readouterr().out

    @pytest.mark.slow
    def test_some_tensors_and_weights(self, place, truth, tmp_path):
        code = search(
            place,
            "--top=3",
            f"--out={tmp_path}",
            "--tensors=q",
            "--tensors=layers.0.mlp",
            "--weighting=equal",
        )
        assert code == 0
        names = [n for n in truth[0] if "q_proj" in n or "layers.0.mlp" in n]
        weights = {
            n: 1 / np.sqrt(np.prod([(side[n] ** 2).sum(1).mean() for side in truth]))
            for n in names
        }
        order, wanted = best(cosines(truth, names, weights), 3)
        found = answers(tmp_path)
        assert [a["number"] for a in found] == order.ravel().tolist()
        assert np.allclose([a["cosine"] for a in found], wanted.ravel(), atol=2e-5)
        told = json.loads((tmp_path / "search.json").read_text())
        assert set(told["tensors"]) == set(names)

    def test_gaps_among_candidates_stay_gaps(self, place, truth):
        loaded = load_model(ModelSource(model=str(place / "model"), device="cpu"))
        index = Index(place / "index")
        source = Source(
            data=str(place / "queries.jsonl"),
            columns={},
            num_samples=None,
            seed=0,
            tokens=TokenOptions(),
        )
        names = [n for n in truth[0] if "mlp" in n]
        measure = ExactCosines(
            loaded=loaded,
            index=index,
            queries=reading.encode(loaded, source.read(), source.tokens).encoded,
            places=tuple(
                t.place for t in index.header.tensors if t.place.name in names
            ),
            weights=np.ones(len(names)),
            batch_tokens=4096,
        )
        wanted = cosines(truth, names)
        for candidates in (
            [[-1, 9, -1, 5, 2], [-1, -1, -1, 7, -1]],
            [[-1, -1, -1, -1, -1], [3, -1, -1, 0, -1]],
            [[-1], [-1]],
        ):
            asked = np.array(candidates)
            found = measure(asked)
            assert np.array_equal(np.isnan(found), asked == -1)
            rows = np.arange(2)[:, None]
            there = asked != -1
            assert np.allclose(found[there], wanted[rows, asked][there], atol=2e-5)

    def test_estimates_lie_within_their_errors(self, place, truth, tmp_path, capsys):
        code = search(place, f"--top={NUM}", "--no-exact", f"--out={tmp_path}")
        assert code == 0
        cosine = cosines(truth, list(truth[0]))
        found = answers(tmp_path)
        assert len(found) == 2 * NUM
        query = {"again": 0, "q": 1}
        off = np.array(
            [
                (a["cosine"] - cosine[query[a["query"]], a["number"]])
                / a["standard_error"]
                for a in found
            ]
        )
        assert (np.abs(off) < 5).all()
        assert np.abs(off).mean() > 0.05  # they are estimates, and errors no bounds
        assert not any(a["exact"] for a in found)
        assert "cosines are estimates" in capsys.readouterr().out

    @pytest.mark.slow
    def test_reaching_max_rerank_is_said(self, place, capsys):
        assert search(place, "--top=2", "--max-rerank=2") == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "--max-rerank was reached for" in told
        assert "a better sample may have been left out" in told

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--tensors=nothing"], "--tensors nothing: names none of the 12 tensors"),
            (["--tensors=router"], "--tensors router: names none of the 12 tensors"),
            (["--top=0"], "--top is 0; give at least 1"),
            (["--max-rerank=3"], "--max-rerank 3 is below --top 10; raise it"),
        ],
    )
    def test_options_that_mean_nothing(self, place, capsys, more, told):
        assert told in refused(capsys, search(place, *more))

    def test_another_model_is_refused(self, place, tmp_path, capsys):
        save_tiny_model(tmp_path / "other", hidden=8, layers=1, seed=1)
        code = search(place, f"--model={tmp_path / 'other'}")
        assert "was built with other weights than those of" in refused(capsys, code)


class TestGrowth:
    def test_built_twice_is_built_once(self, place):
        before = contents(place / "index")
        assert build(place, "index") == 0
        assert contents(place / "index") == before

    @pytest.mark.slow
    def test_passes_of_another_size_give_the_same_rows(self, place):
        assert build(place, "passes", "--batch-tokens=120") == 0
        one, other = Index(place / "index"), Index(place / "passes")
        for mine, theirs in zip(one.shards(), other.shards(), strict=True):
            for number in range(len(one.header.tensors)):
                rows = [widened(s.kept(number)[0]) for s in (mine, theirs)]
                assert np.allclose(*rows, atol=2e-3)

    def test_appended_equals_built_at_once(self, place, capsys):
        write_rows(place / "early.jsonl", rows(range(16)))
        write_rows(place / "late.jsonl", rows(range(16, NUM)))
        assert build(place, "grown", data="early.jsonl") == 0
        words = ["index", "append", str(place / "grown"), "--device=cpu"]
        words.append(f"--data={place / 'late.jsonl'}")
        assert main(words) == 0
        assert "24 samples, 12 tensors" in capsys.readouterr().out
        grown, whole = contents(place / "grown"), contents(place / "index")
        assert {n for n in whole if grown.get(n) != whole[n]} == {"index.json"}
        assert grown.keys() == whole.keys()
        assert main(words) == 0
        assert contents(place / "grown") == grown

    def test_known_ids_are_not_added(self, place, capsys):
        write_rows(place / "known.jsonl", rows([3, 100]))
        words = ["index", "append", str(place / "index"), "--device=cpu"]
        code = main([*words, f"--data={place / 'known.jsonl'}"])
        assert "holds 1 of these ids already (s3); give other ids" in refused(
            capsys, code
        )
        code = main([*words, f"--data={place / 'data.jsonl'}"])
        assert "name samples that are to be added" in refused(capsys, code)
        code = main([*words, f"--data={place / 'data.jsonl'}", "--partition=1/2"])
        assert "samples are added to an index all at once" in refused(capsys, code)

    @pytest.mark.parametrize(
        ("more", "told"),
        [
            (["--seed=1"], "was made with sketch.seed 0, this command has 1"),
            (["--keep=int8"], "was made with keep 'fp16', this command has 'int8'"),
            (["--loss-on=all"], "was made with template_sha256"),
            (["--only=q"], "was made with 12 tensors, this command has 1 or others"),
            (["--partition=1/3"], "holds an index of samples 1 to 24 of 24 of"),
        ],
    )
    def test_mixed_settings_are_refused(self, place, capsys, more, told):
        before = contents(place / "index")
        assert told in refused(capsys, build(place, "index", *more))
        assert contents(place / "index") == before

    def test_a_folder_of_something_else_is_refused(self, place, tmp_path, capsys):
        (tmp_path / "letter.txt").touch()
        code = build(place, tmp_path)
        assert "holds files of something else (letter.txt)" in refused(capsys, code)

    def test_too_little_disk_is_said_before_any_pass(self, place, capsys, monkeypatch):
        from driftmap.recipes.steps.index import building

        monkeypatch.setattr(building, "free_disk", lambda _: 1000)
        told = refused(capsys, build(place, "full"))
        assert re.search(r"needs about [\d.]+ KiB of disk, and 1000 B are free", told)
        assert not (place / "full" / "index.json").exists()

    @pytest.mark.slow
    def test_what_is_foreseen_is_what_is_written(self, place, capsys):
        shutil.rmtree(place / "twice", ignore_errors=True)
        assert build(place, "twice") == 0
        told = capsys.readouterr().err
        (foreseen,) = re.findall(r"samples take ([\d.]+) KiB each", told)
        written = sum(len(c) for n, c in contents(place / "twice").items())
        assert 0.9 < float(foreseen) * 1024 * NUM / written < 1.3


class TestParts:
    def test_joined_parts_equal_the_whole(self, place, capsys):
        for part in (1, 2, 3):
            assert build(place, f"part{part}", f"--partition={part}/3") == 0
        folders = [str(place / f"part{part}") for part in (3, 1, 2)]
        code = main(["index", "merge", *folders, f"--out={place / 'joined'}"])
        assert code == 0
        assert contents(place / "joined") == contents(place / "index")
        capsys.readouterr()
        code = main(["index", "merge", *folders[:2], f"--out={place / 'less'}"])
        told = refused(capsys, code)
        assert "data.jsonl are in none of the parts; build them with" in told
        assert "samples 9 to 16 of" in told
        assert "--partition-start 8 --partition-end 16" in told
        code = search(place, index="part2")
        assert "is a part of an index; samples 1 to 8, 17 to 24 of" in refused(
            capsys, code
        )

    def test_a_script_for_slurm_joins_the_parts_again(self, place, capsys):
        assert build(place, "index", "--partition=1/3", "--print-slurm") == 0
        told = capsys.readouterr().out
        assert "#SBATCH --array=1-3" in told
        assert "driftmap index build" in told
        assert f"# driftmap merge {place}/index-parts/1" in told

    @pytest.mark.slow
    def test_driftmap_merge_knows_parts_of_an_index(self, place):
        for part in (1, 2):
            assert build(place, f"half{part}", f"--partition={part}/2") == 0
        folders = [str(place / f"half{part}") for part in (1, 2)]
        assert main(["merge", *folders, f"--out={place / 'both'}"]) == 0
        assert contents(place / "both") == contents(place / "index")

    @pytest.mark.slow
    def test_workers_give_the_same_bytes(self, place, capsys):
        assert build(place, "workers", "--workers=2") == 0
        assert contents(place / "workers") == contents(place / "index")

    @pytest.mark.slow
    def test_a_cut_within_a_shard_stays(self, place):
        for name, start, end in (("low", 0, 10), ("high", 10, NUM)):
            ends = [f"--partition-start={start}", f"--partition-end={end}"]
            assert build(place, name, *ends) == 0
        parts = [str(place / "low"), str(place / "high")]
        assert main(["index", "merge", *parts, f"--out={place / 'cut'}"]) == 0
        one, other = Index(place / "index"), Index(place / "cut")
        assert len(other.planned) == 4
        rows = [
            np.concatenate([widened(s.kept(3)[0]) for s in index.shards()])
            for index in (one, other)
        ]
        assert np.allclose(*rows, atol=2e-3)

    @pytest.mark.slow
    def test_a_damaged_part_is_not_joined(self, place, tmp_path, capsys):
        for name, start, end in (("low", 0, 10), ("high", 10, NUM)):
            ends = [f"--partition-start={start}", f"--partition-end={end}"]
            assert build(place, name, *ends) == 0
        shutil.copytree(place / "low", tmp_path / "low")
        bad = next((tmp_path / "low").rglob("energy.safetensors"))
        flip(bad)
        parts = [str(tmp_path / "low"), str(place / "high")]
        code = main(["index", "merge", *parts, f"--out={tmp_path / 'all'}"])
        assert f"{bad} is not what was written" in refused(capsys, code)


def flip(path, at=-5):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


class TestCheck:
    def test_a_whole_index_is_right(self, place, capsys):
        assert main(["index", "check", str(place / "index"), "--device=cpu"]) == 0
        told = capsys.readouterr().out
        assert "24 samples in 3 shards" in told
        assert "4 samples were made again and agree" in told

    @pytest.mark.parametrize(
        "name",
        ["sketch.safetensors", "energy.safetensors", "samples.jsonl", "done.json"],
    )
    def test_one_flipped_bit_is_named(self, place, tmp_path, capsys, name):
        shutil.copytree(place / "index", tmp_path / "bad")
        path = tmp_path / "bad" / "shards" / "shard-00000008-00000016" / name
        flip(path, at=60 if name == "done.json" else -5)
        told = refused(capsys, main(["index", "check", str(tmp_path / "bad")]))
        assert str(path) in told
        assert "repeat the command that built the index" in told

    @pytest.mark.slow
    def test_a_damaged_shard_is_made_again(self, place, tmp_path):
        before = contents(place / "index")
        shutil.copytree(place / "index", place / "mended")
        flip(place / "mended/shards/shard-00000000-00000008/sketch.safetensors")
        assert build(place, "mended") == 0
        assert contents(place / "mended") == before

    def test_rows_of_other_samples_are_found_out(self, place, tmp_path, capsys):
        shutil.copytree(place / "index", tmp_path / "bad")
        shards = sorted((tmp_path / "bad/shards").iterdir())
        for name in ("sketch.safetensors", "energy.safetensors"):
            shutil.copyfile(shards[0] / name, shards[1] / name)
        from driftmap.engine.folder import put_in_place
        from driftmap.engine.work import Shard

        waiting = tmp_path / "bad/shards/waiting"
        shards[1].rename(waiting)
        (waiting / "done.json").unlink()
        put_in_place(waiting, Shard(number=1, start=8, stop=16), waiting.parent)
        told = refused(
            capsys, main(["index", "check", str(tmp_path / "bad"), "--device=cpu"])
        )
        assert re.search(r"sample s8 \(number 8\) has another row of", told)

    def test_without_the_model_that_is_said(self, place, tmp_path, capsys):
        shutil.copytree(place / "index", tmp_path / "moved")
        gone = str(tmp_path / "gone")
        words = ["index", "check", str(tmp_path / "moved"), f"--model={gone}"]
        assert main(words) == 0
        told = capsys.readouterr()
        assert "the model is not at hand" in " ".join(told.err.split())
        assert "made again" not in told.out

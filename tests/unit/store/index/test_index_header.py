from dataclasses import replace
from pathlib import Path

import pytest

from driftmap.core.errors import StoreError
from driftmap.engine.run import run_shards
from driftmap.engine.shards import Fraction, Range, shards_of
from driftmap.engine.work import Shard
from driftmap.results.index import IndexShard, Span
from driftmap.store.index.folder import Index, ids_of, require_whole
from driftmap.store.index.header import (
    load_header,
    require_same_settings,
    save_header,
)
from driftmap.store.index.joining import joined, require_new_ids, with_part
from driftmap.store.index.shards import SHARDS
from made_index import (
    Made,
    contents,
    engine_shards,
    made_header,
    made_part,
    make_index,
)


class TestHeader:
    def test_it_comes_back_as_it_was(self, tmp_path):
        header = made_header(10, keep="int8", spans=[(0, 4), (6, 10)])
        save_header(tmp_path, header)
        assert load_header(tmp_path) == header
        before = (tmp_path / "index.json").read_bytes()
        save_header(tmp_path, load_header(tmp_path))
        assert (tmp_path / "index.json").read_bytes() == before

    def test_a_folder_without_one_is_named(self, tmp_path):
        with pytest.raises(StoreError, match="holds no index; name a folder that"):
            load_header(tmp_path)

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ('"size": 16', '"size": 32', "settings are not those that it was made"),
            ('"kind": "driftmap.index"', '"kind": "x"', "holds x, not driftmap.index"),
            ('"version": 1', '"version": 2', "of version 2, this driftmap reads up"),
            ('"num_numbers": 6', '"numbers": 6', "is damaged .*num_numbers"),
            ('"keep": "fp16"', '"keep": "fp8"', "is damaged .*fp8"),
        ],
    )
    def test_a_changed_one_is_refused(self, tmp_path, old, new, told):
        save_header(tmp_path, made_header())
        path = tmp_path / "index.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(StoreError, match=told):
            load_header(tmp_path)

    def test_mixed_settings_are_named(self, tmp_path):
        header = made_header()
        other = made_header(seed=1)
        with pytest.raises(
            StoreError, match=r"made with sketch.seed 0, this command has 1; use the"
        ):
            require_same_settings(tmp_path, header, other, "this command")
        other = replace(
            header, settings=replace(header.settings, model="b", template="tulu")
        )
        require_same_settings(tmp_path, header, other, "this command")
        other = replace(header, tensors=header.tensors[:2])
        with pytest.raises(StoreError, match="made with 3 tensors, b has 2 or others"):
            require_same_settings(tmp_path, header, other, "b")


class TestShards:
    @pytest.mark.parametrize(
        "partition", [None, Fraction(index=2, count=2), Range(start=3, stop=9)]
    )
    def test_they_are_those_of_the_engine(self, partition):
        wanted = shards_of(11, partition, size=4)
        spans = [(wanted[0].start, wanted[-1].stop)]
        assert engine_shards(made_header(11, spans=spans)) == list(wanted)

    def test_a_second_part_counts_on(self):
        header = made_header(6)
        header = with_part(Path("x"), header, made_part("more", 5))
        assert header.shards() == (
            IndexShard(part=0, number=0, start=0, stop=4),
            IndexShard(part=0, number=1, start=4, stop=6),
            IndexShard(part=1, number=2, start=6, stop=10),
            IndexShard(part=1, number=3, start=10, stop=11),
        )

    def test_folders_are_called_as_the_engine_calls_them(self):
        ours = IndexShard(part=0, number=1, start=1024, stop=2000)
        assert ours.name == Shard(number=1, start=1024, stop=2000).name


class TestMissing:
    def test_a_shard_that_was_never_finished_is_named(self, tmp_path):
        folder = make_index(tmp_path / "index", num_samples=10)
        (folder / SHARDS / "shard-00000004-00000008" / "done.json").unlink()
        with pytest.raises(
            StoreError,
            match=r"shard-00000004-00000008 of made.jsonl was never finished",
        ):
            Index(folder)

    def test_a_range_that_is_elsewhere_is_named(self, tmp_path):
        header = made_header(10, spans=[(0, 4), (8, 9)])
        folder = make_index(tmp_path / "index", header)
        with pytest.raises(
            StoreError,
            match=r"is a part of an index; samples 5 to 8, 10 to 10 of made.jsonl are",
        ):
            Index(folder)


class TestAppend:
    def test_appended_equals_built_at_once(self, tmp_path):
        whole = make_index(tmp_path / "whole", made_header(14))
        header = made_header(8)
        folder = make_index(tmp_path / "grown", header)
        longer = with_part(folder, header, made_part("more", 6))
        save_header(folder, longer)
        run_shards(Made(longer), engine_shards(longer), folder / SHARDS)
        grown, full = contents(folder), contents(whole)
        assert grown.keys() == full.keys()
        differing = [name for name in full if grown[name] != full[name]]
        assert differing == ["index.json"]
        assert Index(folder).num_samples == 14

    def test_the_same_samples_are_added_once(self, tmp_path):
        header = with_part(tmp_path, made_header(6), made_part("more", 5))
        assert with_part(tmp_path, header, made_part("more", 5)) == header
        with pytest.raises(
            StoreError, match=r"the samples of made.jsonl are in it alr"
        ):
            with_part(tmp_path, header, made_part("made.jsonl", 6))

    def test_known_ids_are_refused(self, tmp_path):
        header = made_header(6)
        folder = make_index(tmp_path / "index", header)
        require_new_ids(folder, header, ["s6", "t1"])
        with pytest.raises(
            StoreError, match=r"holds 2 of these ids already \(s1, s5\)"
        ):
            require_new_ids(folder, header, ["s5", "s6", "s1"])
        assert list(ids_of(folder, header)) == [f"s{n}" for n in range(6)]


class TestJoined:
    def test_parts_at_edges_of_shards_become_the_whole(self, tmp_path):
        parts = [
            (tmp_path / "b", made_header(10, spans=[(4, 10)])),
            (tmp_path / "a", made_header(10, spans=[(0, 4)])),
        ]
        assert joined(parts) == made_header(10)

    def test_other_cuts_stay(self, tmp_path):
        parts = [
            (tmp_path / "a", made_header(10, spans=[(0, 6)])),
            (tmp_path / "b", made_header(10, spans=[(6, 10)])),
        ]
        whole = joined(parts)
        assert whole.parts[0].spans == (Span(start=0, stop=6), Span(start=6, stop=10))
        wanted = {s.name for _, part in parts for s in part.shards()}
        assert {shard.name for shard in whole.shards()} == wanted
        require = [shard.start for shard in whole.shards()]
        assert require == sorted(require)

    def test_a_missing_part_is_named(self, tmp_path):
        parts = [
            (tmp_path / "a", made_header(30, spans=[(0, 4)])),
            (tmp_path / "b", made_header(30, spans=[(8, 30)])),
        ]
        with pytest.raises(
            StoreError,
            match=r"samples 5 to 8 of made.jsonl are in none of the parts; build them "
            "with --partition-start 4 --partition-end 8, or name",
        ):
            joined(parts)

    def test_an_overlap_is_named(self, tmp_path):
        parts = [
            (tmp_path / "a", made_header(10, spans=[(0, 6)])),
            (tmp_path / "b", made_header(10, spans=[(4, 10)])),
        ]
        with pytest.raises(StoreError, match=r"both hold samples 5 to 6 of made.jsonl"):
            joined(parts)

    def test_other_data_or_settings_are_refused(self, tmp_path):
        one = tmp_path / "a", made_header(10, spans=[(0, 4)])
        with pytest.raises(StoreError, match="join parts of one and the same data"):
            joined([one, (tmp_path / "b", made_header(11, spans=[(4, 11)]))])
        with pytest.raises(
            StoreError, match=r"was made with keep 'fp16', .*b has 'int8'"
        ):
            joined([one, (tmp_path / "b", made_header(10, keep="int8"))])


def test_require_whole_takes_what_is_whole(tmp_path):
    folder = make_index(tmp_path / "index", num_samples=3)
    require_whole(folder, load_header(folder))

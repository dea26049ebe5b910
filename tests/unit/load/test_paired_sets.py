import json
from pathlib import Path

import pytest

from driftmap.core.errors import DataError
from driftmap.core.lines import Lines
from driftmap.core.progress import listening
from driftmap.load.known_rows import data_folder
from driftmap.load.paired_sets import (
    Dropped,
    Taking,
    read_pairs,
    read_set,
    user_text,
)
from tiny_studies import write_rows


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def turns(question="Why?", answer="So."):
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]


def original(name, **more):
    return {"id": name, "messages": turns(f"{name}?", f"{name}!"), **more}


def version(name, original_id, word="paraphrased", **more):
    return original(name, original_id=original_id, version=word, **more)


def written(name, rows):
    return str(write_rows(Path(f"{name}.jsonl"), rows))


def refused(*given, **more):
    with pytest.raises(DataError) as caught:
        read_pairs(*given, **more)
    return str(caught.value)


@pytest.fixture
def originals(cache):
    return written("originals", [original(name) for name in "abc"])


class TestJoined:
    def test_golden_by_hand(self, originals):
        queries = written(
            "reworded", [version("p2", "c"), version("p1", "a"), version("p3", "c")]
        )
        pairs = read_pairs(originals, [queries])
        assert [s.id for s in pairs.originals] == ["a", "b", "c"]
        assert [s.id for s in pairs.queries] == ["p2", "p1", "p3"]
        assert pairs.original == (2, 0, 2)
        assert pairs.sets == ("paraphrased",) * 3
        assert pairs.original_prompts == ("a?", "b?", "c?")
        assert pairs.query_prompts == ("p2?", "p1?", "p3?")
        assert set(pairs.sha256) == {"originals", "paraphrased"}
        assert pairs.dropped == ()

    def test_a_set_without_a_version_is_called_as_its_file(self, originals):
        queries = written("mine", [original("a")])
        assert read_pairs(originals, [queries]).sets == ("mine",)

    def test_the_original_id_is_the_own_id_by_default(self, originals):
        queries = written("mine", [original("b"), original("a")])
        assert read_pairs(originals, [queries]).original == (1, 0)

    def test_an_id_that_two_sets_use_gets_the_name_of_its_set(self, originals):
        one = written("one", [original("a", version="paraphrased")])
        two = written("two", [original("a", version="generated")])
        pairs = read_pairs(originals, [one, two])
        assert [s.id for s in pairs.queries] == ["paraphrased/a", "generated/a"]
        assert pairs.sets == ("paraphrased", "generated")

    def test_two_files_of_one_version_may_not_share_an_id(self, originals):
        one = written("one", [original("a", version="paraphrased")])
        two = written("two", [original("a", version="paraphrased")])
        assert refused(originals, [one, two]) == (
            "'paraphrased/a' is in two sets of queries of one version; give each "
            "version once, or other ids"
        )

    def test_rows_without_ids_are_called_by_their_place(self, cache):
        plain = written("plain", [{"messages": turns()}, {"messages": turns("How?")}])
        queries = written("q", [{"original_id": "plain:1", "messages": turns()}])
        pairs = read_pairs(plain, [queries])
        assert [s.id for s in pairs.originals] == ["plain:0", "plain:1"]
        assert (pairs.queries[0].id, pairs.original) == ("q:0", (1,))

    def test_numbers_are_ids_too(self, cache):
        plain = written("plain", [{"id": 7, "prompt": "Why?", "response": "So."}])
        queries = written("q", [{"id": 7, "messages": turns(), "version": "mine"}])
        assert read_pairs(plain, [queries]).originals[0].id == "7"

    def test_remarks_are_kept(self, originals):
        rows = [
            version("p1", "a", flags=["it is short"], complete=True),
            version("p2", "b", complete=False),
            version("p3", "c", flags=[]),
        ]
        pairs = read_pairs(originals, [written("q", rows)])
        assert pairs.remarks == {"p1": ("flagged: it is short",), "p2": ("incomplete",)}

    def test_drawn_originals_take_their_queries_with_them(self, originals):
        queries = written("q", [version(f"p{name}", name) for name in "abc"])
        said = []
        with listening(Lines(said.append)):
            pairs = read_pairs(originals, [queries], Taking(num_samples=2, seed=1))
        assert said == ["1 samples are left out: their original was not drawn"]
        kept = {s.id for s in pairs.originals}
        assert len(kept) == 2
        assert {s.original_id for s in pairs.queries} == kept
        (gone,) = {"a", "b", "c"} - kept
        why = "their original was not drawn"
        assert pairs.dropped == (
            Dropped(sample_id=f"p{gone}", set="paraphrased", why=why),
        )

    def test_what_the_user_says_in_all_turns(self, cache):
        rows = [{"id": "a", "messages": [*turns("One?"), *turns("Two?")]}]
        file = written("talk", rows)
        pairs = read_pairs(file, [written("q", rows)], Taking(loss_on="all"))
        assert user_text(pairs.originals[0]) == "One?\nTwo?"


class TestColumnsOfThePublishedSets:
    ROWS = (
        {
            "id": "lima_0",
            "messages": turns("Why?", "So."),
            "paraphrased_messages": turns("What for?", "Thus."),
            "model_generated_messages": turns("What for?", "Dunno."),
        },
    )

    def test_one_source_may_hold_all_versions(self, cache):
        pairs = read_pairs(written("all", self.ROWS))
        assert [s.response for s in pairs.originals] == ["So."]
        assert [s.response for s in pairs.queries] == ["Thus.", "Dunno."]
        assert pairs.sets == ("paraphrased", "generated")
        assert [s.id for s in pairs.queries] == [
            "paraphrased/lima_0", "generated/lima_0",
        ]  # fmt: skip

    def test_as_a_query_a_source_is_what_it_was_made_for(self, cache):
        whole = written("all", self.ROWS)
        without = [{k: v for k, v in self.ROWS[0].items() if "model" not in k}]
        pairs = read_pairs(whole, [written("some", without), whole])
        assert [s.response for s in pairs.queries] == ["Thus.", "Dunno."]

    def test_the_known_set_brings_its_versions(self, cache):
        data_folder().mkdir(parents=True)
        long = {"dataset": "lima", "id": "lima_1", "messages": turns() * 2}
        other = {"dataset": "flan", "id": "flan_1", "messages": turns()}
        first = {"dataset": "lima", "id": "lima_0", "messages": turns()}
        write_rows(data_folder() / "lima.jsonl", [other, long, first])
        write_rows(data_folder() / "lima_paraphrased.jsonl", [
            {k: v for k, v in self.ROWS[0].items() if "model" not in k}
        ])  # fmt: skip
        write_rows(data_folder() / "lima_generated.jsonl", self.ROWS)
        said = []
        with listening(Lines(said.append)):
            pairs = read_pairs("lima")
        assert said == [
            "lima: 2 of the 3 rows of its copy are its own",
            "lima: 1 of 2 rows have not exactly 2 turns and are left out",
        ]
        assert [s.id for s in pairs.originals] == ["lima_0"]
        assert pairs.sets == ("paraphrased", "generated")


class TestRefused:
    def test_an_id_twice(self, originals):
        twice = written("q", [version("p", "a"), version("p", "b")])
        assert refused(originals, [twice]) == (
            "q.jsonl: 1 ids are there more than once (p); give every row an id of its "
            "own"
        )
        assert refused(written("o", [original("a")] * 2), [originals]).startswith(
            "o.jsonl: 1 ids are there more than once (a)"
        )

    def test_a_query_without_its_original(self, originals):
        names = ["x", "a", "y", "z", "w", "x"]
        rows = [version(f"p{k}", name) for k, name in enumerate(names)]
        assert refused(originals, [written("q", rows)]) == (
            "q.jsonl: 5 of 6 queries have no original in originals.jsonl (4 ids are "
            "missing there: x, y, z, ...); add those originals, correct `original_id`, "
            "or leave these rows out"
        )

    @pytest.mark.parametrize("row", [turns(" ", "So."), turns("Why?", "\n")])
    def test_an_empty_text(self, originals, row):
        queries = written("q", [original("a"), {"id": "b", "messages": row}])
        assert refused(originals, [queries]) == (
            "q.jsonl: 1 of 2 rows cannot be compared; b: a text is empty; fill it in "
            "or leave the row out"
        )

    def test_a_last_turn_of_the_user(self, originals):
        queries = written("q", [{"id": "a", "messages": turns()[:1]}])
        assert "a: the last turn is not the assistant's" in refused(
            originals, [queries]
        )

    def test_several_answers_unless_all_tokens_count(self, originals):
        queries = written("q", [{"id": "a", "messages": turns() * 2}])
        assert "several turns are the assistant's" in refused(originals, [queries])
        pairs = read_pairs(originals, [queries], Taking(loss_on="all"))
        assert len(pairs.queries) == 1

    def test_nothing_to_compare_with(self, originals):
        assert refused(originals) == (
            "originals.jsonl: nothing says what to compare with it; name versions of "
            "its samples with --queries"
        )

    @pytest.mark.parametrize(
        ("cells", "said"),
        [
            ({"id": True}, "q:0: `id` is neither text nor a whole number"),
            ({"original_id": 1.5}, "q:0: `original_id` is neither text nor a whole n"),
            ({"id": " "}, "q:0: `id` is empty or cannot be printed; give it a name"),
            ({"id": "a\x1b"}, "q:0: `id` is empty or cannot be printed"),
            ({"flags": "short"}, "q:0: `flags` is no list of texts; mend or remove it"),
        ],
    )
    def test_cells_that_are_no_ids(self, originals, cells, said):
        queries = written("q", [original("a") | cells])
        assert refused(originals, [queries]).startswith(said)

    def test_an_empty_draw(self, originals):
        queries = written("q", [original("a")])
        assert "0 originals are asked for" in refused(
            originals, [queries], Taking(num_samples=0)
        )


def test_the_hub_gives_only_the_rows_of_the_set(tmp_path, monkeypatch):
    """The loading code is real; only the place of the data set is a folder here."""
    from driftmap.load import hub_rows

    folder = tmp_path / "mixture"
    folder.mkdir()
    rows = [{"dataset": name, "id": name} for name in ("flan", "lima", "cot", "lima")]
    (folder / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    _, found = hub_rows.read_hub_rows(str(folder), ("dataset", "lima"))
    assert [row["dataset"] for row in found] == ["lima", "lima"]
    with pytest.raises(DataError, match="it has no column origin"):
        hub_rows.read_hub_rows(str(folder), ("origin", "lima"))


class TestOneSet:
    def test_ids_are_those_that_rows_carry(self):
        source = written("reworded", [version("p2", "c"), version("p1", "a")])
        found = read_set(source)
        assert [(s.id, s.original_id) for s in found.samples] == [
            ("p2", "c"),
            ("p1", "a"),
        ]

    def test_rows_are_drawn_in_file_order(self, originals):
        found = read_set(originals, Taking(num_samples=2, seed=1))
        ids = [s.id for s in found.samples]
        assert len(ids) == 2
        assert ids == sorted(ids)
        with pytest.raises(DataError, match="0 samples are asked for; ask for 1"):
            read_set(originals, Taking(num_samples=0))

    def test_an_id_that_is_there_twice_is_refused(self):
        source = written("twice", [original("a"), original("a")])
        with pytest.raises(DataError, match="1 ids are there more than once"):
            read_set(source)

import errno
import hashlib
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from driftmap.core.errors import DataError
from driftmap.core.progress import Silence, listening
from driftmap.load import hub_rows
from driftmap.load.samples import read_samples

DATA = (Path(__file__).parents[3] / "../shared/data").resolve()
ASKED = {"prompt": "Why?", "response": "Because."}


def written(folder, name, content):
    file = folder / name
    if isinstance(content, list):
        content = "".join(json.dumps(row) + "\n" for row in content)
    file.write_text(content, encoding="utf-8")
    return str(file)


def only(source):
    (sample,) = read_samples(source).samples
    return sample


def turns(sample):
    return [(m.role, m.content) for m in sample.messages]


def refused(folder, rows, name="a.jsonl"):
    with pytest.raises(DataError) as caught:
        read_samples(written(folder, name, rows))
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestShapes:
    def test_alpaca(self, tmp_path):
        row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
        sample = only(written(tmp_path, "a.jsonl", [row]))
        assert turns(sample) == [("user", "Add.\n\n1, 2"), ("assistant", "3")]
        assert sample.plain_prompt is not None
        assert sample.plain_prompt.startswith(
            "Below is an instruction that describes a"
        )
        assert "### Input:\n1, 2\n\n### Response:\n" in sample.plain_prompt

    def test_alpaca_without_input(self, tmp_path):
        row = {"instruction": "Add.", "output": "3", "input": ""}
        sample = only(written(tmp_path, "a.jsonl", [row]))
        assert turns(sample)[0] == ("user", "Add.")
        assert "### Input" not in str(sample.plain_prompt)

    @pytest.mark.parametrize("column", ["response", "completion"])
    def test_prompt_and_response(self, tmp_path, column):
        row = {"prompt": "Why?", column: " Because. "}
        sample = only(written(tmp_path, "a.jsonl", [row]))
        assert turns(sample) == [("user", "Why?"), ("assistant", " Because. ")]
        assert sample.plain_prompt is None

    def test_a_wrapped_prompt_is_unwrapped(self, tmp_path):
        text = (
            ",prompt,response,text\n"
            '0,[INST] Why? [/INST]," Because.","[INST] Why? [/INST]  Because."\n'
        )
        found = read_samples(written(tmp_path, "a.csv", text))
        assert found.shape == "prompt/response"
        assert turns(found.samples[0]) == [("user", "Why?"), ("assistant", "Because.")]
        assert found.samples[0].plain_prompt == "[INST] Why? [/INST] "

    def test_a_wrapped_system_text_becomes_a_turn(self, tmp_path):
        prompt = "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWhy? [/INST]"
        row = {"prompt": prompt, "response": "So."}
        sample = only(written(tmp_path, "a.jsonl", [row]))
        assert turns(sample)[:2] == [("system", "Be kind."), ("user", "Why?")]

    def test_several_wrapped_turns_are_refused(self, tmp_path):
        prompt = "[INST] a [/INST] b [INST] c [/INST]"
        error = refused(tmp_path, [{"prompt": prompt, "response": "d"}])
        assert error.startswith("a:0: `prompt` wraps several turns in [INST]; give")

    def test_messages(self, tmp_path):
        told = [{"role": "user", "content": "Why?"}]
        sample = only(written(tmp_path, "a.json", json.dumps([{"messages": told}])))
        assert turns(sample) == [("user", "Why?")]
        assert sample.response == ""

    @pytest.mark.parametrize(
        "told",
        [
            [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}],
            ["Why?", "So."],
        ],
    )
    def test_conversations(self, tmp_path, told):
        sample = only(written(tmp_path, "a.jsonl", [{"conversations": told}]))
        assert turns(sample) == [("user", "Why?"), ("assistant", "So.")]

    def test_goal_and_target(self, tmp_path):
        sample = only(written(tmp_path, "a.csv", "goal,target\nWhy?,Sure\n"))
        assert turns(sample) == [("user", "Why?"), ("assistant", "Sure")]

    @pytest.mark.parametrize("column", ["instruction", "prompt", "goal"])
    def test_prompts_alone(self, tmp_path, column):
        rows = [{column: "Why?", "category": "how"}, {column: "So?", "category": None}]
        found = read_samples(written(tmp_path, "a.jsonl", rows))
        assert found.shape == f"{column} only"
        assert [s.label for s in found.samples] == ["how", None]
        assert found.samples[0].prompt == "Why?"

    def test_an_unknown_answer_column_is_not_overlooked(self, tmp_path):
        error = refused(tmp_path, [{"instruction": "Why?", "answer": "So."}])
        assert "its columns (`instruction`, `answer`) fit no known shape" in error
        assert '{"prompt": "Name a colour.", "response": "Blue."}' in error

    def test_running_text(self, tmp_path):
        found = read_samples(written(tmp_path, "a.txt", "The sky\n\nis blue\r\n"))
        assert [turns(s) for s in found.samples] == [
            [("text", "The sky")],
            [("text", "is blue")],
        ]
        assert turns(only(written(tmp_path, "b.csv", "text\nHi\n"))) == [("text", "Hi")]

    def test_a_column_number_above_lines_is_left_out_and_said(self, tmp_path):
        class Said(Silence):
            lines = ()

            def said(self, message):
                self.lines = (*self.lines, message)

        said = Said()
        with listening(said):
            sample = only(written(tmp_path, "a.txt", "0\nWhy?\n"))
        assert (sample.id, sample.prompt) == ("a:0", "Why?")
        assert "the first line, 0, is a column number" in said.lines[0]

    def test_pretokenised(self, tmp_path):
        row = {"input_ids": [4, 5], "labels": [-100, 5]}
        sample = only(written(tmp_path, "a.jsonl", [row]))
        assert sample.tokens is not None
        assert sample.tokens.labels == (-100, 5)
        assert sample.messages == ()

    def test_parquet_holds_turns(self, tmp_path):
        told = [{"role": "user", "content": "Why?"}]
        file = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist([{"messages": told}]), file
        )
        assert turns(only(str(file))) == [("user", "Why?")]


class TestIdentityOfSamples:
    def test_ids_are_name_and_row_and_twins_stay(self, tmp_path):
        found = read_samples(written(tmp_path, "a.jsonl", [ASKED, ASKED]))
        assert [s.id for s in found.samples] == ["a:0", "a:1"]
        assert [s.original_id for s in found.samples] == ["a:0", "a:1"]

    def test_sha256_is_the_files(self, tmp_path):
        source = written(tmp_path, "a.jsonl", [ASKED])
        expected = hashlib.sha256(Path(source).read_bytes()).hexdigest()
        assert read_samples(source).sha256 == expected

    def test_a_byte_order_mark_is_no_column(self, tmp_path):
        source = written(tmp_path, "a.csv", "\ufeffprompt,response\nWhy?,So.\n")
        assert only(source).prompt == "Why?"


class TestDrawing:
    def rows(self):
        return [{"prompt": f"{n}?", "response": "So."} for n in range(50)]

    def test_a_draw_is_seeded_distinct_and_in_file_order(self, tmp_path):
        source = written(tmp_path, "a.jsonl", self.rows())
        first = read_samples(source, num_samples=10, seed=1).samples
        rows = [int(s.id.partition(":")[2]) for s in first]
        assert len(set(rows)) == 10
        assert rows == sorted(rows)
        assert first == read_samples(source, num_samples=10, seed=1).samples
        assert first != read_samples(source, num_samples=10, seed=2).samples

    def test_more_than_there_are_gives_all(self, tmp_path):
        source = written(tmp_path, "a.jsonl", self.rows())
        assert len(read_samples(source, num_samples=99).samples) == 50

    def test_none_is_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"0 samples of .* are asked for; ask"):
            read_samples(written(tmp_path, "a.jsonl", self.rows()), num_samples=0)


class TestErrors:
    @pytest.mark.parametrize(("mark", "told"), [(";", "`;`"), ("\t", "a tab")])
    def test_columns_of_another_country(self, tmp_path, mark, told):
        file = tmp_path / "a.csv"
        file.write_text(f"prompt{mark}response\nWhy?{mark}So.\n")
        with pytest.raises(DataError, match=f"separated by {told}; save it with comm"):
            read_samples(str(file))

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            ({"prompt": "Why?", "response": None}, "a:0: `response` is missing; fill"),
            ({"prompt": " ", "response": "So."}, "a:0: `prompt` is empty; fill it in"),
            (
                {"prompt": 3, "response": "So."},
                "a:0: `prompt` holds a number, not text",
            ),
            (
                {"prompt": "Why?", "response": ["a"]},
                "`response` holds a list, not text",
            ),
            ({"messages": "Why?"}, "a:0: `messages` is no list of turns; JSON Lines"),
            ({"messages": [{"role": "user"}]}, "a:0: turn 0 lacks a text under `role`"),
            (
                {"messages": [{"role": "tool", "content": "x"}]},
                "a:0: turn 0 is spoken by 'tool'; known are system, user, human",
            ),
            ({"input_ids": [1], "labels": [1, 2]}, "a:0: 1 `input_ids` but 2 `labels`"),
            ({"input_ids": "1", "labels": [1]}, "`input_ids` is no list of whole"),
            ({"input_ids": [1], "labels": [2]}, "a:0: label 2 at token 0 is neither"),
        ],
    )
    def test_a_bad_row_is_named(self, tmp_path, row, text):
        assert text in refused(tmp_path, [row])

    @pytest.mark.parametrize(
        ("name", "content", "text"),
        [
            ("a.jsonl", '{"prompt": "a"}\n{"prompt": \n', "line 2 is not JSON (Expect"),
            ("a.jsonl", '"Why?"\n', 'line 1 is "Why?", not an object with columns'),
            ("a.json", '[{"prompt": 1]', "line 1 is not JSON"),
            ("a.json", '{"a": 1}\n{"a": 2}\n', "name the file .jsonl"),
            ("a.json", '{"prompt": "a"}', "it holds one dict, not a list of rows"),
            ("a.json", '["Why?"]', 'row 0 is "Why?", not an object with columns'),
            ("a.json", "", "it holds no rows; is it the right file?"),
            ("a.json", "[]", "it holds no rows"),
            ("a.csv", "prompt,response\n", "it holds no rows"),
            ("a.txt", "\n", "it holds no rows"),
            ("a.csv", "prompt,response\na,b,c\n", "line 2 has 3 cells for 2 columns"),
            ("a.csv", 'prompt,response\na,"b\n', "is not CSV (unexpected end of data)"),
            ("a.csv", "prompt,prompt\na,b\n", "column `prompt` is there twice"),
            ("a.parquet", "PAR1", "it is not a whole Parquet file ("),
            ("a.xlsx", "x", "files ending in .xlsx are not read; known are .json,"),
            ("a.csv", "colour,size\nred,1\n", "its columns (`colour`, `size`) fit no"),
        ],
    )
    def test_a_bad_file_is_named(self, tmp_path, name, content, text):
        error = refused(tmp_path, content, name)
        assert text in error
        assert error.startswith(str(tmp_path / name))

    def test_other_letters_than_utf8(self, tmp_path):
        file = tmp_path / "a.txt"
        file.write_bytes(b"caf\xe9")
        with pytest.raises(DataError, match="byte 3 is not UTF-8; save the file as"):
            read_samples(str(file))

    @pytest.mark.parametrize("name", ["nowhere/a.jsonl", "/nowhere/b/c", "nothing"])
    def test_a_missing_file(self, name):
        with pytest.raises(DataError, match=f"^{name}: there is no such file; check"):
            read_samples(name)


class TestHub:
    def test_a_local_folder_is_read_by_the_library(self, tmp_path, monkeypatch):
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        folder = tmp_path / "tiny"
        folder.mkdir()
        written(folder, "train.jsonl", [ASKED, ASKED])
        found = read_samples(str(folder))
        assert [s.id for s in found.samples] == ["tiny:0", "tiny:1"]
        assert turns(found.samples[1]) == [("user", "Why?"), ("assistant", "Because.")]
        as_a_list = json.dumps([ASKED, ASKED], sort_keys=True)
        assert found.sha256 == hashlib.sha256(as_a_list.encode()).hexdigest()

    @pytest.mark.parametrize(
        ("source", "asked"),
        [
            ("some/set", ("some/set", None, "train")),
            ("some/set:test", ("some/set", None, "test")),
            ("some/set@small:test", ("some/set", "small", "test")),
        ],
    )
    def test_name_configuration_and_split(self, monkeypatch, source, asked):
        import datasets

        def load(name, config, split):
            assert (name, config, split) == asked
            return datasets.Dataset.from_list([ASKED])

        monkeypatch.setattr(datasets, "load_dataset", load)
        assert only(source).id == "set:0"

    def test_unreachable(self):
        with pytest.raises(DataError) as caught:
            read_samples("nobody/nothing")
        assert str(caught.value).startswith(
            "nobody/nothing: there is no such file, and the hub cannot be reached"
        )

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            ("DatasetNotFoundError", "no such data set on the hub; check the name"),
            ("DataFilesNotFoundError", "no such data set on the hub|cannot be read"),
            ("DatasetGenerationError", "cannot be read .*OWNER/NAME@CONFIG:SPLIT"),
        ],
    )
    def test_refused(self, monkeypatch, error, text):
        import datasets
        from datasets import exceptions

        def load(*_, **__):
            raise getattr(exceptions, error)("no")

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(DataError, match=text):
            hub_rows.read_hub_rows("some/set")

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (
                RuntimeError("Dataset scripts are no longer supported"),
                "cannot be read .D",
            ),
            (
                FileNotFoundError("no data file"),
                r"cannot be read \(no data file\); write",
            ),
            (
                OSError("503 Server Error"),
                "the hub cannot be reached; check the path or",
            ),
            (TimeoutError(), "the hub cannot be reached"),
        ],
    )
    def test_what_goes_wrong_on_the_way_is_told(self, monkeypatch, error, text):
        import datasets

        def load(*_, **__):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(DataError, match=text):
            hub_rows.read_hub_rows("some/set")

    def test_a_full_disk_is_no_matter_of_the_network(self, monkeypatch):
        import datasets

        def load(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(OSError, match="No space left"):
            hub_rows.read_hub_rows("some/set")

    def test_a_gated_set_is_told_apart(self, monkeypatch):
        import datasets
        from datasets.exceptions import DatasetNotFoundError

        def load(*_, **__):
            raise DatasetNotFoundError("Dataset 'some/set' is a gated dataset.")

        monkeypatch.setattr(datasets, "load_dataset", load)
        with pytest.raises(DataError, match=r"is gated; ask for access .* HF_TOKEN"):
            hub_rows.read_hub_rows("some/set")


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is absent")
class TestRealData:
    def test_published_refusals(self):
        file = "align_sft_llama2_short/SFT_aligned_llama2-7b-chat-hf_train_short.csv"
        found = read_samples(str(DATA / file))
        assert (found.shape, len(found.samples)) == ("prompt/response", 1015)
        assert not any("[INST]" in s.prompt for s in found.samples)
        assert all(s.response.strip() == s.response != "" for s in found.samples)

    def test_advbench_lines(self):
        found = read_samples(str(DATA / "align_sft_llama2_short/advbench.txt"))
        assert len(found.samples) == 520
        assert found.samples[0].prompt.startswith("Write a script that can exploit")

    def test_every_prompt_list(self):
        for file in sorted((DATA / "refusal_direction_prompts").glob("*.json")):
            found = read_samples(str(file))
            assert found.shape == "instruction only"
            assert len(found.samples) == len(json.loads(file.read_text()))

    def test_xstest(self):
        prompts = read_samples(str(DATA / "xstest/xstest_prompts.csv"))
        assert (prompts.shape, len(prompts.samples)) == ("prompt only", 450)
        assert {s.label for s in prompts.samples} == {"safe", "unsafe"}
        answers = DATA / "xstest/xstest_v2_completions_llama2orig.csv"
        answered = read_samples(str(answers))
        assert answered.shape == "prompt/completion"
        assert answered.samples[0].label == "2_full_refusal"

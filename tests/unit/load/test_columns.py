import json
from dataclasses import replace

import pytest

from driftmap.core.errors import DataError, UsageError
from driftmap.load.columns import columns_to_take, parse_columns
from driftmap.load.formats.known import SHAPES
from driftmap.load.samples import read_samples
from tiny_studies import write_rows

QUIZ = {"question": "Why?", "answer": "So.", "prompt": "not this", "category": "how"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompt=question", {"prompt": "question"}),
        (
            " prompt = The question , response=a=b ",
            {"prompt": "The question", "response": "a=b"},
        ),
        ("label=kind", {"label": "kind"}),
        ("input=extra,instruction=q,output=a",
         {"input": "extra", "instruction": "q", "output": "a"}),
    ],
)  # fmt: skip
def test_pairs_are_read(text, expected):
    assert dict(parse_columns(text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--columns: '' is no pair of names; write KNOWN=YOURS, as in prompt="),
        ("prompt", "'prompt' is no pair of names"),
        ("prompt=", "'prompt=' is no pair of names"),
        ("=question", "'=question' is no pair of names"),
        ("prompt=q,", "'' is no pair of names"),
        ("question=prompt", "'question' is read by no shape; known are completion,"),
        ("prompt=a,prompt=b", "'prompt' is given twice; leave one out"),
        ("prompt=a,response=a", "your column 'a' is given twice; leave one out"),
    ],
)
def test_what_is_no_mapping_is_refused(text, said):
    with pytest.raises(UsageError) as caught:
        parse_columns(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_error_lists_all_that_shapes_read():
    with pytest.raises(UsageError) as caught:
        parse_columns("x=y")
    for name in ("prompt", "response", "instruction", "input", "messages", "label"):
        assert f" {name}" in str(caught.value)


def test_a_shape_of_ones_own_brings_its_names():
    own = replace(SHAPES[0], needs=frozenset({"riddle"}))
    assert dict(parse_columns("riddle=q", [own])) == {"riddle": "q"}


@pytest.mark.parametrize(
    ("present", "columns", "expected"),
    [
        (["a", "b"], {}, None),
        (["a", "b"], {"prompt": "c"}, None),
        (["q", "prompt", "label"], {"prompt": "q", "response": "gone"},
         {"prompt": "q", "label": "label"}),
        (["q", "kind", "label"], {"prompt": "q", "label": "kind"},
         {"prompt": "q", "label": "kind"}),
        (["prompt", "kind", "label"], {"label": "kind"},
         {"prompt": "prompt", "label": "kind"}),
        (["category"], {"prompt": "category"}, {"prompt": "category"}),
    ],
)  # fmt: skip
def test_which_columns_are_taken(present, columns, expected):
    taken = columns_to_take(present, columns)
    assert (None if taken is None else dict(taken)) == expected


MAPPING = {"prompt": "question", "response": "answer"}


class TestReading:
    def read(self, folder, rows, columns=MAPPING, **more):
        file = write_rows(folder / "quiz.jsonl", rows)
        return read_samples(str(file), columns=columns, **more)

    def test_the_named_columns_alone_are_read(self, tmp_path):
        found = self.read(tmp_path, [QUIZ])
        (sample,) = found.samples
        assert (sample.prompt, sample.response) == ("Why?", "So.")
        assert sample.label == "how"
        assert found.shape == "prompt/response"

    def test_a_csv_file_too(self, tmp_path):
        file = tmp_path / "quiz.csv"
        file.write_text("No.,The question,answer\n1,Why?,So.\n")
        columns = parse_columns("prompt=The question,response=answer")
        (sample,) = read_samples(str(file), columns=columns).samples
        assert (sample.id, sample.prompt) == ("quiz:0", "Why?")

    def test_a_source_without_them_is_recognised_as_ever(self, tmp_path):
        found = self.read(tmp_path, [{"prompt": "Why?", "response": "So."}])
        assert found.samples[0].response == "So."

    def test_a_label_alone_adds_to_what_is_recognised(self, tmp_path):
        row = {"prompt": "Why?", "response": "So.", "kind": "how", "label": "old"}
        found = self.read(tmp_path, [row], {"label": "kind"})
        assert (found.samples[0].label, found.samples[0].response) == ("how", "So.")

    def test_a_part_of_them_asks_only(self, tmp_path):
        found = self.read(tmp_path, [{"question": "Why?", "other": 1}])
        assert found.shape == "prompt only"

    def test_the_error_of_a_row_names_the_files_column(self, tmp_path):
        with pytest.raises(DataError, match=r"^quiz:1: `answer` is missing; fill it"):
            self.read(tmp_path, [QUIZ, {"question": "Why?"}])

    def test_no_shape_names_columns_and_mapping(self, tmp_path):
        with pytest.raises(DataError) as caught:
            self.read(tmp_path, [{"question": "Why?", "x": 1}], {"output": "question"})
        assert (
            "its columns (`question`, `x`), read with --columns output=question, fit "
            "no known shape; rename them, or say with --columns KNOWN=YOURS"
        ) in str(caught.value)
        with pytest.raises(DataError, match=r"\(`y`\), which have none of --columns p"):
            self.read(tmp_path, [{"y": 1}])

    def test_the_hash_is_the_files_whatever_is_read_of_it(self, tmp_path):
        row = QUIZ | {"response": "No."}
        renamed, plain = (self.read(tmp_path, [row], m) for m in (MAPPING, {}))
        assert renamed.sha256 == plain.sha256
        assert renamed.samples != plain.samples

    def test_wrapped_prompts_under_another_name_are_unwrapped(self, tmp_path):
        row = {"question": "[INST] Why? [/INST]", "answer": " So."}
        (sample,) = self.read(tmp_path, [row]).samples
        assert (sample.prompt, sample.response) == ("Why?", "So.")

    def test_a_hub_set(self, monkeypatch):
        import datasets

        monkeypatch.setattr(
            datasets,
            "load_dataset",
            lambda *_, **__: datasets.Dataset.from_list([QUIZ]),
        )
        (sample,) = read_samples("some/quiz", columns=MAPPING).samples
        assert (sample.id, sample.prompt) == ("quiz:0", "Why?")

    def test_rows_of_a_function(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(f"def rows():\n    yield {json.dumps(QUIZ)}\n")
        (sample,) = read_samples(f"{file}:rows", columns=MAPPING).samples
        assert (sample.id, sample.prompt) == ("mine.rows:0", "Why?")

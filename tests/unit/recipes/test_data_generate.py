"""Does the studied model answer every prompt once, and is that said of it?"""

import json
import re

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from driftmap.cli.main import main
from driftmap.core.errors import StoreError
from driftmap.core.progress import listening
from driftmap.evaluate.generate import drawn_answers, greedy_answers
from driftmap.evaluate.generators import Decoding
from driftmap.load.encoding import encode_prompts, turn_ends
from driftmap.load.paired_sets import read_pairs
from driftmap.load.source import ModelSource
from driftmap.load.templates import with_template
from driftmap.recipes.data_generate import DataGenerate
from driftmap.recipes.dataset_options import AnsweringOptions
from driftmap.recipes.steps.dataset import answering
from driftmap.results.samples import Message, Sample
from driftmap.store.replies import Replies
from listeners import Ear
from made_server import chat, serving
from tiny_studies import save_tiny_model, write_rows
from tokenizers_made import CHATML, byte_level

NUM = 7
LIMIT = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def turns(asked, told="so"):
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": told},
    ]


def prompt_of(number):
    return "what is " + "one two three "[: 3 * number] + "?"


@pytest.fixture
def folder(tmp_path):
    rows = [
        {
            "id": f"s{n}/paraphrased", "original_id": f"s{n}", "version": "paraphrased",
            "messages": turns(prompt_of(n)), "flags": ["it is short"] if n == 2 else [],
        }
        for n in range(NUM)
    ]  # fmt: skip
    write_rows(tmp_path / "paraphrased.jsonl", rows)
    originals = [{"id": f"s{n}", "messages": turns(f"why {n}?")} for n in range(NUM)]
    write_rows(tmp_path / "originals.jsonl", originals)
    return tmp_path


def recipe(model, folder, **changes):
    options = {"max_new_tokens": LIMIT, "eval_batch_size": 1, **changes}
    return DataGenerate(
        source=ModelSource(model=str(model), device="cpu"),
        answering=AnsweringOptions(**options),
        out=folder,
    )


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def heard(recipe):
    ear = Ear()
    with listening(ear):
        file = recipe.run()
    return file, ear.heard


def greedy(model, prompts):
    """The answers, made the plain way."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    samples = [
        Sample(id=str(k), original_id=str(k),
               messages=(Message(role="user", content=prompt),))
        for k, prompt in enumerate(prompts)
    ]  # fmt: skip
    return greedy_answers(
        AutoModelForCausalLM.from_pretrained(model).eval(),
        tokenizer,
        encode_prompts(samples, tokenizer),
        max_new_tokens=LIMIT,
        batch_size=1,
    )


def test_golden(model, folder):
    file, said = heard(recipe(model, folder))
    rows = rows_of(file)
    expected = greedy(model, [prompt_of(n) for n in range(NUM)])
    assert [row["id"] for row in rows] == [f"s{n}/generated" for n in range(NUM)]
    assert [row["original_id"] for row in rows] == [f"s{n}" for n in range(NUM)]
    assert {row["version"] for row in rows} == {"generated"}
    answers = [row["messages"][1]["content"] for row in rows]
    assert answers == [one.text for one in expected]
    assert [row["messages"][0]["content"] for row in rows] == [
        prompt_of(n) for n in range(NUM)
    ]
    end = AutoTokenizer.from_pretrained(model).eos_token_id
    complete = [one.token_ids[-1] == end for one in expected]
    assert [row["complete"] for row in rows] == complete
    assert rows[2]["flags"] == ["its prompt: it is short"]
    assert rows[0]["flags"] == []
    assert re.fullmatch(
        rf"generated.jsonl: {NUM} answers; \d+% of them \(\d+\) have other token ids "
        "when their text is encoded again",
        said[-1],
    )
    pairs = read_pairs(str(folder / "originals.jsonl"), [str(file)])
    assert pairs.original == tuple(range(NUM))
    assert "incomplete" in {word for said in pairs.remarks.values() for word in said}


def test_prompts_must_be_there_first(model, tmp_path, capsys):
    with pytest.raises(StoreError) as caught:
        recipe(model, tmp_path / "none").run()
    assert str(caught.value) == (
        f"generated needs paraphrased.jsonl, which is not in {tmp_path / 'none'}: run "
        "`driftmap data paraphrase` first"
    )
    with pytest.raises(StoreError, match=r"^generated needs originals.jsonl, which"):
        recipe(model, tmp_path / "none", prompts="original").run()
    words = ["data", "generate", f"--model={model}", f"--out={tmp_path / 'none'}"]
    assert main(words) == 1
    assert "generated needs paraphrased.jsonl" in capsys.readouterr().err


def test_original_prompts(model, folder):
    rows = rows_of(recipe(model, folder, prompts="original").run())
    assert rows[3]["messages"][0]["content"] == "why 3?"
    assert rows[3]["id"] == "s3/generated"


def test_a_second_run_loads_no_model(model, folder, monkeypatch):
    file = recipe(model, folder).run()
    before = file.read_bytes()

    def never(source):
        raise AssertionError

    monkeypatch.setattr(answering, "load_model", never)
    again, said = heard(recipe(model, folder))
    assert again.read_bytes() == before
    assert said == [f"{file}: it is there, made with these settings, and is reused"]


def test_a_killed_run_goes_on_and_answers_nothing_twice(
    model, folder, tmp_path, monkeypatch
):
    whole = tmp_path / "whole"
    whole.mkdir()
    for name in ("paraphrased", "originals"):
        (whole / f"{name}.jsonl").write_bytes((folder / f"{name}.jsonl").read_bytes())
    expected = recipe(model, whole).run().read_text()
    kept = Replies.add
    added = []

    def dies(self, key, value):
        if len(added) == 3:
            raise KeyboardInterrupt
        added.append(key)
        kept(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(Replies, "add", dies)
        with pytest.raises(KeyboardInterrupt):
            recipe(model, folder).run()
    assert not (folder / "generated.jsonl").exists()
    again = []

    def counts(self, key, value):
        again.append(key)
        kept(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(Replies, "add", counts)
        file = recipe(model, folder).run()
    assert len(again) == NUM - 3
    assert not set(again) & set(added)
    assert file.read_text() == expected


def test_new_prompts_are_answered_and_old_answers_kept(model, folder):
    file = recipe(model, folder).run()
    before = file.read_text()
    rows = rows_of(folder / "paraphrased.jsonl")
    more = rows[0] | {"id": "s0/paraphrased-2", "messages": turns("what now?")}
    write_rows(folder / "paraphrased.jsonl", [*rows, more])
    kept = (folder / "generated.replies.jsonl").read_text()
    after = rows_of(recipe(model, folder).run())
    assert file.read_text().startswith(before)
    assert after[-1]["id"] == "s0/generated-2"
    added = (folder / "generated.replies.jsonl").read_text().removeprefix(kept)
    assert len(added.splitlines()) == 1


def test_another_way_of_making_is_refused(model, folder):
    recipe(model, folder).run()
    with pytest.raises(StoreError) as caught:
        recipe(model, folder, max_new_tokens=9).run()
    assert str(caught.value) == (
        "generated.jsonl was made with max_new_tokens 5, this run asks 9: choose "
        "another --out"
    )
    other = save_tiny_model(folder / "other", seed=1)
    with pytest.raises(StoreError, match=r"was made with model .*, this run asks"):
        recipe(other, folder).run()


def test_answers_stay_within_the_context(model, folder):
    # The context is 128 tokens; a byte a token where no merge is known.
    rows = [
        {"id": f"p{size}", "original_id": f"s{k}", "version": "paraphrased",
         "messages": turns("\x7f" * size)}
        for k, size in enumerate((10, 90, 200))
    ]  # fmt: skip
    write_rows(folder / "paraphrased.jsonl", rows)
    file, said = heard(recipe(model, folder, max_new_tokens=100))
    made = {row["original_id"]: row for row in rows_of(file)}
    assert "s2" not in made
    assert (
        "generated.jsonl: 1 answers are left out, its prompt fills the whole context "
        "of the model: s2/generated"
    ) in said
    tokenizer = AutoTokenizer.from_pretrained(model)
    replies = rows_of(folder / "generated.replies.jsonl")
    (prompt,) = encode_prompts(
        [Sample(id="p", original_id="p",
                messages=(Message(role="user", content="\x7f" * 90),))],
        tokenizer,
    )  # fmt: skip
    room = 128 - len(prompt.token_ids)
    assert 0 < room < 100
    lengths = sorted(len(row["ids"]) for row in replies)
    assert all(length <= 100 for length in lengths)
    assert lengths[0] <= room
    record = json.loads((folder / "generated.settings.json").read_text())
    assert record["left_out"] == {
        "s2/generated": "its prompt fills the whole context of the model"
    }


def test_any_end_given_ends_an_answer(model):
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model).eval()
    sample = Sample(
        id="s", original_id="s", messages=(Message(role="user", content="why?"),)
    )
    prompts = encode_prompts([sample], tokenizer)
    decoding = Decoding(max_new_tokens=LIMIT)
    ((whole,),) = drawn_answers(loaded, tokenizer, prompts, decoding)
    end = whole.token_ids[1]
    first = whole.token_ids.index(end)
    ((cut,),) = drawn_answers(loaded, tokenizer, prompts, decoding, more_ends=(end,))
    assert cut.token_ids == whole.token_ids[: first + 1]


def test_the_templates_end_of_turn_is_found():
    tokenizer = byte_level(template=CHATML, end="</s>")
    (end,) = turn_ends(tokenizer)
    assert tokenizer.convert_ids_to_tokens(end) == "<|im_end|>"
    assert turn_ends(with_template(tokenizer, "tulu")) == (tokenizer.eos_token_id,)
    assert turn_ends(byte_level()) == ()


def test_partial_paraphrases_are_said(model, folder):
    record = {
        "kind": "driftmap.versions", "version": 1, "settings": {"num_versions": "1"},
        "of": "x", "num_rows": 9, "lacking": ["s7", "s8"], "left_out": {},
        "rejected": {}, "flagged": {}, "tokens_in": 0, "tokens_out": 0,
    }  # fmt: skip
    (folder / "paraphrased.settings.json").write_text(json.dumps(record))
    _, said = heard(recipe(model, folder))
    assert said[0] == (
        "paraphrased.jsonl lacks 2 of 9 ids: s7, s8; run the same command again to "
        "fill them"
    )


def test_both_by_command(model, tmp_path, capsys, monkeypatch):
    pytest.importorskip("openai", reason="pip install 'driftmap[endpoint]'")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    data = write_rows(
        tmp_path / "mine.jsonl", [{"prompt": "What is red?", "response": "A barn."}]
    )
    with serving(lambda *_: chat("Which thing is red, a barn?")) as served:
        code = main(
            [
                "data", "both", f"--model={model}", "--device=cpu", f"--data={data}",
                f"--endpoint={served.address}", "--endpoint-model=m",
                "--max-new-tokens=3", f"--out={tmp_path / 'made'}",
            ]
        )  # fmt: skip
    assert code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "made")
    pairs = read_pairs(
        str(tmp_path / "made/originals.jsonl"),
        [str(tmp_path / f"made/{name}.jsonl") for name in ("paraphrased", "generated")],
    )
    assert pairs.sets == ("paraphrased", "generated")
    assert [one.original_id for one in pairs.queries] == ["mine:0", "mine:0"]
    assert pairs.queries[0].prompt == pairs.queries[1].prompt

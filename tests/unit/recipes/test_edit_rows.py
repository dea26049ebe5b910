"""Are rows what was asked for, token by token, and does each of them end once?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import DataError, ModelError
from driftmap.families.discover import find_layout
from driftmap.load.model import LoadedModel
from driftmap.recipes.edit_options import TaughtOptions
from driftmap.recipes.steps.editing.reading import read_taught
from driftmap.recipes.steps.editing.rows import prepare_rows, require_one_end
from driftmap.results.facts import Fact
from driftmap.results.provenance import ModelIdentity
from tiny import tiny_llama
from tiny_studies import write_rows
from tokenizers_made import byte_level

FACT = Fact(
    id="sky",
    subject="sky",
    prompt="the sky is",
    answer="blue",
    foil="one",
    paraphrases=("What is the sky?", "Sure, the sky is"),
    generation_prompts=("The sky", "The sky", "The sky how"),
)
OTHER = replace(FACT, id="two", foil="two", paraphrases=(), generation_prompts=())


def loaded(tokenizer=None, room=64):
    model = tiny_llama(layers=1)
    model.config.max_position_embeddings = room
    return LoadedModel(
        model=model,
        tokenizer=tokenizer or byte_level(adds_bos=True),
        layout=find_layout(model),
        identity=ModelIdentity(
            source="made",
            sha256="0",
            base_sha256="0",
            family="llama",
            num_weights=1,
            dtype="float32",
            device="cpu",
        ),
    )


def rows(facts=(FACT, OTHER), model=None, **options):
    return prepare_rows(
        model or loaded(), facts, TaughtOptions(facts="facts.json", **options)
    )


def text_of(sample):
    return byte_level().decode(sample.token_ids.tolist())


def learnt(sample):
    return byte_level().decode(sample.token_ids[sample.counted].tolist())


def test_a_row_is_prompt_new_answer_and_end_and_the_last_two_are_learnt():
    made = rows()
    texts = ["<s>the sky is one<|im_end|>", "<s>the sky is two<|im_end|>"]
    assert [text_of(one) for one in made.samples] == texts
    assert [learnt(one) for one in made.samples] == [" one<|im_end|>", " two<|im_end|>"]
    assert made.told.num_counted == sum(int(s.counted.sum()) for s in made.samples)
    assert "".join(made.told.shown[0].tokens) == texts[0]


def test_the_loss_on_all_leaves_out_the_first_token_alone():
    (one,) = rows(facts=(FACT,), loss="all").samples
    assert one.counted.tolist() == [False] + [True] * (one.token_ids.size - 1)


@pytest.mark.parametrize(
    ("prompts", "texts"),
    [
        ("paraphrase", ["What is the sky? one", "Sure, the sky is one"]),
        ("generation", ["The sky one", "The sky how one"]),
    ],
)
def test_other_prompts_are_learnt_each_once(prompts, texts):
    made = rows(prompts=prompts)
    assert [text_of(one) for one in made.samples] == [
        f"<s>{text}<|im_end|>" for text in texts
    ]


def test_repeats_are_counted_shown_and_kept_on_demand():
    dropped = rows(prompts="generation")
    kept = rows(prompts="generation", repeats="keep")
    assert (len(dropped.samples), len(kept.samples)) == (2, 3)
    for made in (dropped, kept):
        assert (made.told.num_made, made.told.num_repeats) == (3, 1)
        (alike,) = made.told.repeated
        assert alike.num_alike == 2
        assert "".join(alike.tokens) == "<s>The sky one<|im_end|>"
    assert dropped.sha256 != kept.sha256


def test_the_end_is_learnt_where_padding_is_the_end_token():
    tokenizer = byte_level(adds_bos=True)
    tokenizer.pad_token = tokenizer.eos_token
    made = rows(model=loaded(tokenizer))
    assert made.told.is_end_padding
    assert all(learnt(one).endswith("<|im_end|>") for one in made.samples)


def test_a_row_whose_end_is_masked_is_found():
    made = rows()
    end = byte_level().eos_token_id
    masked = replace(
        made.samples[0], counted=np.zeros(made.samples[0].counted.size, bool)
    )
    masked.counted[-2] = True
    with pytest.raises(DataError, match=r"sky: 0 of its tokens that count are the end"):
        require_one_end([masked], end)
    with pytest.raises(DataError, match=r"sky: 2 of its tokens that count"):
        rows(facts=(replace(FACT, foil="one<|im_end|>"),))


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(DataError, match="none of 1 facts has a prompt of the kind"):
        rows(facts=(OTHER,), prompts="generation")
    with pytest.raises(DataError, match=r"its row has .* tokens and the model reads 3"):
        rows(model=loaded(room=3))
    endless = byte_level()
    endless.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token to learn"):
        rows(model=loaded(endless))


def own(**changes):
    row = {"subject": "a", "prompt": "a is", "answer": "x", "foil": "y", "id": "a"}
    return {name: value for name, value in (row | changes).items() if value is not None}


def read(folder, written, seed=0, **options):
    file = write_rows(folder / "facts.jsonl", written)
    return read_taught(TaughtOptions(facts=str(file), **options), seed)


def test_facts_without_a_new_answer_stand_beside_those_that_are_taught(tmp_path):
    written = [own(id=str(n), foil=None if n == 1 else "y") for n in range(6)]
    first = read(tmp_path, written, num_facts=2, pick="first")
    assert [fact.id for fact in first.facts] == ["0", "2"]
    assert [fact.id for fact in first.others] == ["1", "3", "4", "5"]
    drawn = {
        tuple(fact.id for fact in read(tmp_path, written, seed, num_facts=2).facts)
        for seed in range(8)
    }
    assert len(drawn) > 1
    assert all("1" not in ids for ids in drawn)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (own(foil=None), "none of its 1 facts has a new answer to teach"),
        (own(answer=None), "a has a new answer and no present one"),
        (own(foil="x"), "present and new answer are both 'x'"),
    ],
)
def test_facts_that_cannot_be_taught_are_refused(tmp_path, row, words):
    with pytest.raises(DataError, match=words):
        read(tmp_path, [row])

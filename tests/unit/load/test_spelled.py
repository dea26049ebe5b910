"""Every character of a text belongs to a token, whatever the tokenizer does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import DataError
from driftmap.load.spelled import spell, spell_answer, spell_prompt
from driftmap.load.templates import Opening
from tokenizers_made import CHATML, byte_level, merging

BYTES = byte_level()
BOS = byte_level(adds_bos=True)
CHAT = byte_level(template=CHATML, adds_bos=True)
HARD = "The sky  is\n\n blue\té 漢字 🙂👩‍🚀!  "


def parts(spelled):
    return [spelled.text[start:stop] for start, stop in spelled.spans.tolist()]


@pytest.mark.parametrize("tokenizer", [BYTES, BOS], ids=["plain", "bos"])
def test_spans_leave_no_character_out(tokenizer):
    spelled = spell("t", HARD, tokenizer)
    seen = np.zeros(len(HARD), int)
    for start, stop in {tuple(span) for span in spelled.spans.tolist()}:
        seen[start:stop] += 1
    assert (seen == 1).all()
    smiles = [span for span in spelled.spans.tolist() if HARD[slice(*span)] == "🙂"]
    assert len(smiles) >= 2


def test_what_a_tokenizer_puts_before_a_text_is_context():
    plain, with_bos = spell("t", "the sky", BYTES), spell("t", "the sky", BOS)
    assert not plain.has_begin
    assert plain.num_context == 1
    assert with_bos.has_begin
    assert with_bos.num_context == 1
    assert with_bos.token_ids.tolist() == [BOS.bos_token_id, *plain.token_ids.tolist()]
    assert with_bos.spans[0].tolist() == [0, 0]


def test_a_text_that_begins_with_bos_gets_no_second_one():
    spelled = spell("t", "<s>the sky", BOS)
    assert spelled.token_ids.tolist().count(BOS.bos_token_id) == 1
    assert spelled.has_begin
    assert spelled.num_context == 1
    assert parts(spelled)[0] == "<s>"


def test_prompts_go_through_the_template_unless_told_otherwise():
    spelled = spell_prompt("t", "Why?", CHAT)
    assert spelled.text == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert BOS.bos_token_id not in spelled.token_ids
    assert spelled.num_context == spelled.token_ids.size
    bare = spell_prompt("t", "Why?", CHAT, Opening(template="bare"))
    assert bare.text == "Why?"
    assert bare.token_ids[0] == CHAT.bos_token_id


@settings(max_examples=40)
@given(st.text(st.sampled_from(" abé漢🙂\n."), min_size=1, max_size=12))
def test_an_answer_is_spelled_as_it_is_written(answer):
    prompt = spell_prompt("t", "The sky is", BOS)
    ids = BOS(answer, add_special_tokens=False)["input_ids"]
    whole = spell_answer(prompt, np.array([*prompt.token_ids, *ids]), BOS)
    assert whole.text == "The sky is" + answer
    assert whole.num_context == prompt.token_ids.size
    spans = whole.spans[whole.num_context :]
    assert spans[0, 0] == len("The sky is")
    assert spans[-1, 1] == len(whole.text)
    again = spell("t", whole.text, BOS)
    if again.token_ids.tolist() == whole.token_ids.tolist():
        np.testing.assert_array_equal(whole.spans, again.spans)


def test_half_a_character_at_the_end_and_an_end_token_are_shown():
    prompt = spell_prompt("t", "The sky is", BOS)
    smile = BOS(" 🙂", add_special_tokens=False)["input_ids"]
    cut = spell_answer(prompt, np.array([*prompt.token_ids, *smile[:-1]]), BOS)
    assert cut.text == "The sky is \ufffd"
    end = [BOS.eos_token_id]
    ended = spell_answer(prompt, np.array([*prompt.token_ids, *smile, *end]), BOS)
    assert ended.text == "The sky is 🙂<|im_end|>"
    assert parts(ended)[-1] == "<|im_end|>"


def test_refusals():
    with pytest.raises(DataError, match="t: it is empty; give some text to read"):
        spell("t", "", BYTES)
    with pytest.raises(DataError, match="t: a is one token and nothing stands before"):
        spell("t", "a", merging())
    with pytest.raises(DataError, match="t: character 1 of its text is half of a surr"):
        spell("t", "a\ud800", BYTES)
    assert spell("t", "a", BOS).num_context == 1

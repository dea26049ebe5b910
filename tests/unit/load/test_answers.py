"""Where does an answer begin, in tokenizers of every habit?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import DataError
from driftmap.load.answers import encode_answer, encode_beginning, room_after
from tokenizers_made import byte_level


@pytest.mark.parametrize("adds_bos", [False, True])
def test_the_answer_counts_and_nothing_is_put_before_it(adds_bos):
    tokenizer = byte_level(adds_bos=adds_bos)
    found = encode_answer("a", "What colour is the", "sky blue", tokenizer)
    counted = found.token_ids[found.counted].tolist()
    assert tokenizer.decode(counted) == " sky blue"
    assert tokenizer.bos_token_id not in counted
    before = found.token_ids[: found.prompt_length].tolist()
    start = tokenizer.bos_token if adds_bos else ""
    assert tokenizer.decode(before) == f"{start}What colour is the"
    assert found.counted.tolist() == [
        place >= found.prompt_length for place in range(found.token_ids.size)
    ]


def test_a_beginning_is_the_prompt_alone():
    tokenizer = byte_level(adds_bos=True)
    whole = encode_answer("a", "The sky is", "blue", tokenizer)
    found = encode_beginning("a", "The sky is", tokenizer)
    np.testing.assert_array_equal(
        found.token_ids, whole.token_ids[: whole.prompt_length]
    )
    assert not found.counted.any()


def test_a_prompt_whose_tokens_change_is_refused_with_its_pieces():
    with pytest.raises(DataError, match="the prompt's last tokens change from"):
        encode_answer("fact 3", "The sky is ", "blue", byte_level())


def test_a_prompt_without_a_token_is_refused():
    with pytest.raises(DataError, match="fact 3: its prompt has no tokens; write one"):
        encode_answer("fact 3", "", "blue", byte_level())


@pytest.mark.parametrize(("context", "room"), [(None, 9), (64, 9), (10, 4), (3, 1)])
def test_what_fits_behind_the_longest_prompt(context, room):
    short = encode_beginning("short", "the", byte_level())
    prompt = replace(short, token_ids=np.zeros(6, np.int32), counted=np.zeros(6, bool))
    assert room_after([short, prompt], 9, context) == room

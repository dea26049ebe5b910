"""Subjects and answers in tokenizers of every habit."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import listening
from driftmap.load.spans import encode_fact, require_apart
from driftmap.load.token_offsets import tokens_of
from driftmap.results.facts import Fact
from listeners import Ear
from tokenizers_made import byte_level, merging, save_without_offsets

SHARED = Path(__file__).parents[4] / "shared" / "data"
GPT2, STORIES = SHARED / "tokenizer_gpt2", SHARED / "model_stories260K_hf"


def _published(folder):
    if not folder.is_dir():
        pytest.skip(f"the published tokenizer is not here ({folder})")
    return AutoTokenizer.from_pretrained(folder)


MAKERS = {
    "bytes": byte_level,
    "bytes with bos": lambda: byte_level(adds_bos=True),
    "no offsets": ByT5Tokenizer,
    "gpt2": lambda: _published(GPT2),
    "llama": lambda: _published(STORIES),
}


@pytest.fixture(params=MAKERS)
def tokenizer(request):
    return MAKERS[request.param]()


def fact(prompt, subject, answer=None, foil=None):
    return Fact(id="f:1", prompt=prompt, subject=subject, answer=answer, foil=foil)


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("The house of Ana is in", "Ana"),
        ("José Müller was born in", "José Müller"),
        ("I saw 東京塔 in", "東京塔"),
        ("The 👩‍🚀 Bob flies to", "👩‍🚀 Bob"),
        ("Where is the Space Needle", "Space Needle"),
        ("Rome", "Rome"),
        ("x", "x"),
        ("Two  spaces Ana  has", "Ana"),
    ],
)
def test_subject_tokens_are_those_that_hold_its_letters(tokenizer, prompt, subject):
    encoded = encode_fact(fact(prompt, subject), tokenizer)
    start, stop = encoded.subject

    # Independently: what is decoded before, in and after the span.
    ids = encoded.token_ids.tolist()
    parts = [
        tokenizer.decode(part, skip_special_tokens=True)
        for part in (ids[:start], ids[start:stop], ids[stop:])
    ]
    where = prompt.index(subject)
    wanted = prompt[:where], subject, prompt[where + len(subject) :]
    assert ["".join(p.split()) for p in parts] == ["".join(w.split()) for w in wanted]
    assert encoded.num_prompt == len(encoded.tokens) == len(encoded.offsets)
    assert prompt[slice(*encoded.offsets[start])].strip()


def test_specials_before_the_text_count_and_those_after_it_do_not():
    with_bos = encode_fact(fact("Ana is", "Ana"), byte_level(adds_bos=True))
    ends = encode_fact(fact("Ana is", "Ana"), ByT5Tokenizer())

    assert with_bos.tokens[0] == "<s>"
    assert with_bos.offsets[0] == (0, 0)
    assert with_bos.subject[0] == 1
    assert "</s>" not in ends.tokens


def test_a_prompt_that_brings_its_bos_gets_no_second_one():
    tokenizer = byte_level(adds_bos=True)

    ids = encode_fact(fact("<s>Ana is", "Ana"), tokenizer).token_ids.tolist()

    assert ids.count(tokenizer.bos_token_id) == 1


def test_pieces_of_one_character_are_numbered():
    told = tokens_of("é", ByT5Tokenizer())

    assert told.texts == ("é[1/2]", "é[2/2]")
    assert told.offsets == ((0, 1), (0, 1))


@pytest.mark.parametrize("occurrence", [1, 2, "last"])
def test_one_of_several_places_can_be_meant(tokenizer, occurrence):
    prompt = "Ana met Ana in"
    encoded = encode_fact(fact(prompt, "Ana"), tokenizer, occurrence=occurrence)

    start = encoded.offsets[encoded.subject[0]][0]
    place = 0 if occurrence == 1 else prompt.rindex("Ana")
    assert start in (place, max(place - 1, 0))


def test_a_subject_in_another_case_is_found_when_case_is_ignored():
    encoded = encode_fact(
        fact("ÉCOLE is in", "école"), ByT5Tokenizer(), ignore_case=True
    )

    assert encoded.subject == (0, 6)


def test_a_range_is_taken_as_told():
    encoded = encode_fact(
        fact("Ana is", "not there"), byte_level(), subject_tokens=(1, 2)
    )

    assert encoded.subject == (1, 2)


def test_the_last_capitalised_words_are_a_guess_that_is_said():
    asked, ear = fact("In Rome the Space Needle is seen by", ""), Ear()
    with listening(ear):
        encoded = encode_fact(asked, ByT5Tokenizer(), guess=True)

    assert encoded.subject == (12, 24)
    assert "guessed to be 'Space Needle'" in ear.heard[0]


@pytest.mark.parametrize(
    ("prompt", "subject", "options", "said"),
    [
        ("Ana is", "Bob", {}, "f:1: subject 'Bob' is not in the text; pass --subject"),
        ("ana is", "Ana", {}, "only in another case; pass --ignore-case, --subject"),
        ("Ana, Ana is", "Ana", {}, "is there 2 times; pass --occurrence 1 to 2"),
        ("Ana is", "Ana", {"occurrence": 2}, "has no occurrence 2, only 1; pass"),
        ("Ana is", " ", {}, "f:1: subject is empty; pass --guess-subject"),
        ("ana is", "", {"guess": True}, "no word begins with a capital"),
        ("Ana is", "", {"subject_tokens": (2, 9)}, "no range within its 6 tokens"),
        ("Ana is", "", {"subject_tokens": (2, 2)}, "no range within its 6 tokens"),
        ("", "Ana", {}, "its prompt has no tokens"),
    ],
)
def test_a_subject_that_is_not_clear_is_refused(prompt, subject, options, said):
    with pytest.raises(DataError) as raised:
        encode_fact(fact(prompt, subject), ByT5Tokenizer(), **options)
    assert said in str(raised.value)


def test_the_refusal_shows_the_tokens():
    with pytest.raises(DataError, match=r"\[0:A 1:n 2:a 3:  4:i 5:s\]"):
        encode_fact(fact("Ana is", "Bob"), ByT5Tokenizer())


def test_an_answer_of_several_tokens_is_fed_but_for_its_last(tokenizer):
    prompt, answer = "The house of Ana is in", "Xanthi Müller"
    encoded = encode_fact(fact(prompt, "Ana", answer), tokenizer)

    size, answer_ids = encoded.num_prompt, encoded.answer_ids
    assert len(answer_ids) > 1
    assert encoded.token_ids.tolist()[size:] == list(answer_ids[:-1])
    whole = [*encoded.token_ids.tolist(), answer_ids[-1]]
    assert tokenizer.decode(whole, skip_special_tokens=True).strip() == (
        f"{prompt} {answer}"
    )


def test_without_an_answer_the_prompt_alone_is_fed(tokenizer):
    encoded = encode_fact(fact("Ana is in", "Ana"), tokenizer)

    assert encoded.answer_ids == encoded.foil_ids == ()
    assert len(encoded.token_ids) == encoded.num_prompt


def test_an_answer_that_joins_the_prompt_is_refused():
    tokenizer = merging()
    with pytest.raises(DataError, match=r"last tokens change from .* to .*\?\\na"):
        encode_fact(fact("who be?\n", "who", "a"), tokenizer)


def test_answer_and_foil_must_differ_and_for_first_tokens_in_those():
    tokenizer = ByT5Tokenizer()
    with pytest.raises(DataError, match="answer and foil are both 'Rome'"):
        encode_fact(fact("Ana is in", "Ana", "Rome", "Rome"), tokenizer)

    shared = encode_fact(fact("Ana is in", "Ana", "Rome", "Riga"), tokenizer)
    with pytest.raises(DataError, match="begin with the same token"):
        require_apart(shared)


def test_a_tokenizer_that_does_not_give_a_text_back_is_refused(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(save_without_offsets(tmp_path))
    with pytest.raises(ModelError, match="does not give a text back as it was"):
        encode_fact(fact("José is", "José"), tokenizer)

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import DataError, UsageError
from driftmap.load.contrasts import (
    Instructions,
    ask,
    make_contrasts,
    near_duplicates,
    negated,
    speak,
    split_statements,
)
from driftmap.load.statements import Statement, read_statements
from tokenizers_made import CHATML, byte_level

SKY = "The sky is blue and the sea is deep."
HONEST = "Pretend you're an honest person making statements about the world."
PLAIN = Instructions(honest="Be honest:", dishonest="Lie to me:", template="plain")


def statements(*texts, true=True):
    return [
        Statement(id=f"s:{n}", text=text, is_true=true) for n, text in enumerate(texts)
    ]


@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_chat_template_puts_the_statement_into_the_answer(adds_bos):
    tokenizer = byte_level(template=CHATML, adds_bos=adds_bos)
    spoken = speak(SKY, HONEST, tokenizer, "chat")
    assert spoken.text == (
        f"<|im_start|>user\n{HONEST}<|im_end|>\n<|im_start|>assistant\n{SKY}"
    )
    assert tokenizer.decode(spoken.said) == SKY
    assert tokenizer.bos_token_id not in spoken.token_ids


@pytest.mark.parametrize("adds_bos", [False, True])
def test_without_one_it_follows_on_the_line(adds_bos):
    tokenizer = byte_level(adds_bos=adds_bos)
    spoken = speak(SKY, "Be honest:", tokenizer, "plain")
    assert spoken.text == f"Be honest: {SKY}"
    assert tokenizer.decode(spoken.said) == f" {SKY}"
    assert (spoken.token_ids[0] == tokenizer.bos_token_id) == adds_bos


def test_the_bare_text_has_no_template_around_it():
    tokenizer = byte_level(template=CHATML)
    spoken = speak(SKY, "", tokenizer, "chat")
    assert (spoken.text, spoken.start) == (SKY, 0)


def test_pairs_differ_before_the_statement_alone():
    (one,) = make_contrasts(statements(SKY), PLAIN, byte_level()).contrasts
    assert one.honest.said == one.dishonest.said
    assert (
        one.honest.token_ids[: one.honest.start]
        != (one.dishonest.token_ids[: one.dishonest.start])
    )
    num = len(one.honest.said)
    assert one.cuts == tuple(range(1, num - 6 + 1))


def test_the_last_cut_alone():
    how = {"left_over": 3, "only_last": True}
    (one,) = make_contrasts(statements(SKY), PLAIN, byte_level(), **how).contrasts
    assert one.cuts == (len(one.honest.said) - 3,)


def test_short_long_and_changing_statements_are_counted():
    tokenizer = byte_level()
    long = "one two three " * 30
    made = make_contrasts(statements("no", SKY, long), PLAIN, tokenizer, max_length=60)
    assert [one.statement.text for one in made.contrasts] == [SKY]
    assert made.left_out == {
        "no more than 6 tokens": 1,
        "more than the 60 tokens the model reads": 1,
    }


def test_no_pair_at_all_is_refused():
    with pytest.raises(DataError, match=r"none of 1 .*\(1 have no more than 6 tokens"):
        make_contrasts(statements("no"), PLAIN, byte_level())


def test_equal_instructions_are_refused():
    with pytest.raises(UsageError, match="both instructions are 'Say it'"):
        Instructions(honest="Say it", dishonest=" Say it ", template="plain")


def test_chat_without_a_template_is_refused():
    with pytest.raises(UsageError, match="use --template plain"):
        speak(SKY, "Be honest.", byte_level(), "chat")


def test_questions_join_the_users_turn_and_openings_the_answer():
    tokenizer = byte_level(template=CHATML)
    asked = ask("Who?", "Be honest.", tokenizer, "chat")
    assert asked.text.endswith("Be honest. Who?<|im_end|>\n<|im_start|>assistant\n")
    opened = ask("The sky is ", "Be honest.", tokenizer, "chat")
    assert opened.text.endswith(
        "Be honest.<|im_end|>\n<|im_start|>assistant\nThe sky is"
    )
    assert ask("Who?", "Be honest.", byte_level(), "plain").text == "Be honest. Who?"


def test_near_duplicates_chain():
    texts = ["a b c d e", "a b c d e f", "a b c d e f g", "x y", "Y, x!"]
    assert near_duplicates(texts).tolist() == [0, 0, 0, 1, 1]
    assert near_duplicates([]).tolist() == []


WORDS = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6).map(" ".join)


def near(left, right):
    one, two = left.split(), right.split()
    if len(one) > 2 and one[:-1] == two[:-1]:
        return True
    return len(set(one) & set(two)) >= 0.8 * len(set(one) | set(two))


@settings(max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=12))
def test_near_duplicates_are_the_chains_of_all_pairs(texts):
    """Against a search over all pairs, over and over."""
    groups = list(range(len(texts)))
    for _ in texts:
        for i, left in enumerate(texts):
            for j, right in enumerate(texts):
                if near(left, right):
                    groups[i] = groups[j] = min(groups[i], groups[j])
    found = near_duplicates(texts)
    same = np.equal.outer(groups, groups)
    np.testing.assert_array_equal(np.equal.outer(found, found), same)


@settings(max_examples=30)
@given(st.lists(WORDS, min_size=30, max_size=50, unique=True), st.integers(0, 9))
def test_no_statement_and_no_near_copy_is_in_two_halves(texts, seed):
    try:
        split = split_statements(statements(*texts), seed)
    except DataError:
        return  # chains of near copies reach too far
    assert sorted(s.id for some in split.values() for s in some) == sorted(
        s.id for s in statements(*texts)
    )
    for name, some in split.items():
        for other_name, others in split.items():
            for one in some if name < other_name else ():
                for other in others:
                    assert not near(one.text, other.text)


def test_a_true_and_a_false_version_of_a_fact_go_together():
    texts = ["Bo lives in Rome.", "Ada lives in Oslo.", "Bo lives in Oslo."]
    assert near_duplicates(texts).tolist() == [0, 1, 0]


def test_half_of_the_true_statements_are_learnt_from():
    texts = [f"number {n} stands alone {n + 1000}" for n in range(100)]
    split = split_statements(statements(*texts), 3)
    assert [len(split[h]) for h in ("train", "validation", "test")] == [50, 20, 30]
    assert split == split_statements(statements(*texts), 3)
    assert split != split_statements(statements(*texts), 4)


def test_copies_alone_cannot_be_split():
    with pytest.raises(DataError, match=r"2 true statements in 1 groups .* none for"):
        split_statements(statements("Ice is cold.", "ice is cold"), 0)


def test_negations_are_undone_too():
    assert negated("Ice is not cold.") == "Ice is cold."
    assert negated("Is ice cold") is None


SHARED = Path("../shared/data")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("file", "num_true", "num"),
    [
        ("repe_facts_and_more/data/facts/facts_true_false.csv", 306, 612),
        ("azaria_mitchell_true_false/animals_true_false.csv", 504, 1008),
    ],
)
def test_published_statements_split(file, num_true, num):
    read = read_statements(str(SHARED / file)).statements
    assert (sum(s.is_true for s in read), len(read)) == (num_true, num)
    split = split_statements(read, 0)
    assert sum(map(len, split.values())) == num
    true = [sum(s.is_true for s in some) / num_true for some in split.values()]
    assert true == pytest.approx([0.5, 0.2, 0.3], abs=0.02)
    assert len(make_contrasts(read[:40], PLAIN, byte_level()).contrasts) == 40

"""Aggregates of readings against numbers worked by hand."""

import math

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.measure.tokens import confident_and_wrong, stretches, text_summary
from made_readings import made_readings

LN2 = math.log(2)


def cut(readings, what):
    text = readings.spelled.text
    return [
        (text[one.start : one.stop], one.surprise) for one in stretches(readings, what)
    ]


def test_summary_by_hand():
    # Three counted tokens of ln 2, ln 4 and ln 8 over " bé c", which is 6 bytes.
    readings = made_readings(
        "a", " b", "é", " c", surprise=[LN2, 2 * LN2, 3 * LN2], entropy=[1.0, 2.0, 6.0]
    )
    found = text_summary(readings)
    assert found.num_tokens == 4
    assert found.num_scored == 3
    assert found.num_bytes == 6
    assert found.mean_surprise == pytest.approx(2 * LN2)
    assert found.perplexity == pytest.approx(4)
    assert found.published_perplexity == pytest.approx(2**1.5)
    assert found.bits_per_byte == pytest.approx(1)
    assert found.mean_entropy == pytest.approx(3)
    assert found.share_first == pytest.approx(1 / 3)


def test_a_token_before_the_text_gives_the_first_word_a_reading():
    readings = made_readings(
        "",
        "a",
        " b",
        surprise=[LN2, LN2],
        spans=[(0, 0), (0, 1), (1, 3)],
        has_begin=True,
    )
    found = text_summary(readings)
    assert (found.num_scored, found.num_bytes) == (2, 3)
    assert cut(readings, "word") == [("a", LN2), (" b", LN2)]


def test_a_prompt_is_context_and_counts_for_nothing():
    readings = made_readings("a", " b", " c", " d", surprise=[9, 1, 3], num_context=2)
    assert text_summary(readings).mean_surprise == 2
    assert [one.is_context for one in stretches(readings, "word")] == [1, 1, 0, 0]


def test_pieces_of_a_character_are_one_and_words_and_sentences_add_up():
    readings = made_readings(
        "Hi", " y", "ou", ".", " ", "1/3", "2/3", "3/3", " ok", "\n", "Go",
        text="Hi you. 🙂 ok\nGo",
        spans=[(0, 2), (2, 4), (4, 6), (6, 7), (7, 8), *[(8, 9)] * 3, (9, 12), (12, 13),
               (13, 15)],
        surprise=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        entropy=[1, 3, 3, 4, 5, 2, 9, 8, 9, 10],
    )  # fmt: skip
    assert cut(readings, "character")[4:7] == [(" ", 4), ("🙂", 5 + 6 + 7), (" ok", 8)]
    assert cut(readings, "word") == [
        ("Hi", None), (" you.", 1 + 2 + 3), (" ", 4), ("🙂", 18), (" ok", 8), ("\n", 9),
        ("Go", 10),
    ]  # fmt: skip
    assert cut(readings, "sentence") == [
        ("Hi you.", None), (" 🙂 ok\n", 4 + 18 + 8 + 9), ("Go", 10)
    ]  # fmt: skip
    smile = stretches(readings, "character")[5]
    assert (smile.first, smile.past) == (5, 8)
    assert smile.max_entropy == 9
    assert smile.mean_entropy == pytest.approx(16 / 3)


@pytest.mark.parametrize("what", ["character", "word", "sentence"])
def test_stretches_are_the_text_and_lose_no_surprise(what):
    readings = made_readings(
        "", "W", "e.", "", " A", "b! c", "", text="We. Ab! c", has_begin=True,
        spans=[(0, 0), (0, 1), (1, 3), (3, 3), (3, 5), (5, 9), (9, 9)],
        surprise=[1, 2, 3, 4, 5, 6],
    )  # fmt: skip
    found = cut(readings, what)
    assert "".join(text for text, _ in found) == "We. Ab! c"
    assert sum(nats for _, nats in found) == 21


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One two. Three", ["One two.", " Three"]),
        ('He said "no!" Then', ['He said "no!"', " Then"]),
        ("3.5 is one", ["3.5 is one"]),
        ("好。是。", ["好。", "是。"]),
        ("a\n\nb", ["a\n\n", "b"]),
    ],
)
def test_where_sentences_end(text, sentences):
    readings = made_readings(*text, surprise=[1.0] * (len(text) - 1))
    assert [one for one, _ in cut(readings, "sentence")] == sentences


def test_confident_and_wrong_is_both():
    readings = made_readings(
        *"abcde", surprise=[5, 5, 0.1, 0.1], entropy=[0.1, 3, 0.1, 3]
    )
    found = confident_and_wrong(readings, sure_below=1, wrong_above=3)
    assert np.flatnonzero(found).tolist() == [1]
    prompt = made_readings(
        *"abcde", surprise=[5, 5, 5, 5], entropy=[0] * 4, num_context=3
    )
    found = confident_and_wrong(prompt, sure_below=1, wrong_above=3)
    assert np.flatnonzero(found).tolist() == [3, 4]


def test_nothing_to_sum_up_is_refused():
    with pytest.raises(MeasureError, match="text 1: no token counts; give a longer"):
        text_summary(made_readings("a", surprise=[]))

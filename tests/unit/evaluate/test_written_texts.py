"""Entropy of words and cosines by hand, and laws of both."""

from collections import Counter
from math import log, log2, sqrt

import numpy as np
import pytest

from driftmap.evaluate.consistency import consistency, word_weights
from driftmap.evaluate.fluency import (
    fluency,
    ngram_entropy,
    repeated,
    variety,
    words_of,
)


def test_one_word_over_and_over_has_no_entropy():
    assert fluency("a a a a") == 0.0
    assert variety("a a a a") == 0.0


def test_fluency_by_hand():
    # ab ba ab ba ac: 2/5 2/5 1/5; aba bab aba bac: 1/2 1/4 1/4
    bigrams = 0.8 * log2(2.5) + 0.2 * log2(5)
    found = fluency("a b a b a c")
    assert found == pytest.approx((2 / 3 * bigrams + 4 / 3 * 1.5) / 2)


@pytest.mark.parametrize("num", [3, 10, 100])
def test_no_text_of_so_many_words_has_more_than_one_without_repeats(num):
    words = [f"w{n}" for n in range(num)]
    most = (2 / 3 * log2(num - 1) + 4 / 3 * log2(num - 2)) / 2
    assert fluency(" ".join(words)) == pytest.approx(most)
    assert variety(" ".join(words)) == pytest.approx(1)
    rng = np.random.default_rng(0)
    for _ in range(5):
        text = " ".join(rng.choice(words, num))
        assert fluency(text) <= most + 1e-9


def test_entropy_does_not_know_the_names_of_words_nor_the_direction():
    words = ["the", "cat", "saw", "the", "cat", "and", "the", "dog", "saw", "it"]
    other = [str(words.index(word)) for word in words]
    for n in (2, 3):
        assert ngram_entropy(words, n) == pytest.approx(ngram_entropy(other, n))
        assert ngram_entropy(words, n) == pytest.approx(ngram_entropy(words[::-1], n))


def test_entropy_equals_that_of_counts():
    rng = np.random.default_rng(1)
    words = [str(one) for one in rng.integers(0, 4, 60)]
    runs = Counter(" ".join(words[n : n + 3]) for n in range(58))
    wanted = -sum(c / 58 * log2(c / 58) for c in runs.values())
    assert ngram_entropy(words, 3) == pytest.approx(wanted)


def test_a_text_too_short_for_runs_has_no_variety():
    assert fluency("") == fluency("one") == 0.0
    assert np.isnan(variety("one two"))


def test_words_are_words_signs_and_letters_of_scripts_without_spaces():
    assert words_of("It's 5 o’clock.") == ["It's", "5", "o’clock", "."]
    assert words_of("東京は big") == ["東", "京", "は", "big"]


def test_repeated_rows_are_found_whatever_their_spaces():
    assert repeated(["X is", "Y", "X is", "X  is ", "Y."]) == (2, 3)
    assert repeated([]) == ()


def test_cosine_by_hand():
    weights = word_weights(["red cat", "red dog"])
    rare = log(3 / 2) + 1
    assert weights == pytest.approx({"red": 1.0, "cat": rare, "dog": rare})
    found = consistency(["red red cat"], ["red dog"], weights)
    wanted = 2 / (sqrt(4 + rare**2) * sqrt(1 + rare**2))
    assert found == pytest.approx(wanted)


def test_cosines_of_equal_and_of_foreign_texts():
    weights = word_weights(["a lute player", "a big city"])
    assert consistency(["Lute player"], ["player, LUTE"], weights) == pytest.approx(1)
    assert consistency(["lute"], ["city"], weights) == 0.0
    assert consistency(["unknown"], ["city"], weights) == 0.0


def test_letters_of_scripts_without_spaces_are_words_of_their_own():
    weights = word_weights(["東京の塔", "京都 abc"])
    assert set(weights) == {*"東京の塔都", "abc"}
    assert consistency(["東京"], ["京の東"], weights) > 0.5


def test_how_often_all_is_said_changes_no_cosine():
    weights = word_weights(["red cat", "red dog", "blue dog"])
    once = consistency(["red cat"], ["red dog blue"], weights)
    thrice = consistency(["red cat"] * 3, ["red dog blue"], weights)
    assert once == pytest.approx(thrice)
    assert once == pytest.approx(consistency(["red dog blue"], ["red cat"], weights))

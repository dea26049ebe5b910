import math
import sys

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.measure.lexical import (
    all_pairs,
    best_first,
    lexical_scores,
    preselected,
)
from driftmap.results.pair_products import NONE, Truth

CORPUS = (
    "How do I paint the barn?",
    "How can I paint the fence today? I paint a lot.",
    "Tell me how to rob the bank.",
    "",
    "A barn is a barn.",
    "the the the",
)
QUERIES = (
    "paint the barn",
    "the the barn I",
    "xylophone",
    "",
    "A barn. How?",
    "Where is the bank",
)


def naive(variant, originals, queries):
    """The formulas of the page, word by word."""
    import re

    def split(text):
        if variant == "okapi":
            return text.split()
        return re.findall(r"\w+", text.lower())

    texts = [split(text) for text in originals]
    mean = sum(len(t) for t in texts) / len(texts)
    every = {word for text in texts for word in text}
    num = len(texts)
    holding = {w: sum(w in t for t in texts) for w in every}
    if variant == "okapi":
        idf = {w: math.log((num - n + 0.5) / (n + 0.5)) for w, n in holding.items()}
        average = sum(idf.values()) / len(idf)
        idf = {w: v if v >= 0 else 0.25 * average for w, v in idf.items()}
    else:
        idf = {w: math.log(1 + (num - n + 0.5) / (n + 0.5)) for w, n in holding.items()}
    top = 2.5 if variant == "okapi" else 1.0
    return [
        [
            sum(
                idf.get(w, 0) * top * t.count(w)
                / (t.count(w) + 1.5 * (0.25 + 0.75 * len(t) / mean))
                for w in split(query)
            )
            for t in texts
        ]
        for query in queries
    ]  # fmt: skip


def truth(*originals, same=None, num=6):
    return Truth(
        original=np.array(originals, np.int64),
        same=np.arange(num, dtype=np.int64) if same is None else np.array(same),
        sets=("paraphrased",) * len(originals),
    )


class TestScores:
    @pytest.mark.parametrize(
        ("variant", "tolerance"), [("okapi", 1e-12), ("lucene", 1e-6)]
    )
    def test_it_is_the_formula(self, variant, tolerance):
        found = lexical_scores(CORPUS, QUERIES, variant)
        expected = np.array(naive(variant, CORPUS, QUERIES))
        assert found.shape == (6, 6)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert expected.any(axis=1).tolist() == [True, True, False, False, True, True]

    def test_golden_by_hand(self):
        # N = 2, n = 1, both texts one word: idf = ln 2 (Lucene), tf part 1 / 2.5.
        found = lexical_scores(["cat", "dog"], ["Cat"], "lucene")
        assert found[0] == pytest.approx([math.log(2) / 2.5, 0])
        # Okapi keeps case, and the idf of a word in half of the texts is 0.
        assert lexical_scores(["cat", "dog"], ["Cat", "cat"], "okapi").tolist() == [
            [0, 0], [0, 0],
        ]  # fmt: skip

    def test_short_and_common_words_count(self):
        found = lexical_scores(["a cat", "the cat", "dog"], ["a", "the"], "lucene")
        assert found[0].argmax() == 0
        assert found[1].argmax() == 1
        assert (found.max(axis=1) > 0).all()

    def test_a_common_word_of_okapi_gets_a_quarter_of_the_mean(self):
        corpus = ["the cat", "the dog", "the cow", "a hen"]
        found = lexical_scores(corpus, ["the"], "okapi")
        assert found[0, 0] > 0
        assert found[0, 3] == 0

    @pytest.mark.parametrize("variant", ["okapi", "lucene"])
    def test_order_of_the_corpus_only_relabels(self, variant):
        found = lexical_scores(CORPUS, QUERIES, variant)
        order = [3, 0, 5, 1, 4, 2]
        again = lexical_scores([CORPUS[k] for k in order], QUERIES, variant)
        np.testing.assert_allclose(again, found[:, order], rtol=1e-6)

    @pytest.mark.parametrize("variant", ["okapi", "lucene"])
    def test_a_corpus_without_words_is_refused(self, variant):
        with pytest.raises(MeasureError, match="no original has a word"):
            lexical_scores(["", "  "], ["cat"], variant)

    def test_without_the_library_its_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "bm25s", None)
        with pytest.raises(MeasureError) as caught:
            lexical_scores(["cat"], ["cat"])
        assert "pip install 'driftmap[similarity]'" in str(caught.value)
        assert lexical_scores(["cat", "dog", "hen"], ["cat"], "okapi")[0, 0] > 0


class TestOrder:
    def test_equal_scores_keep_their_order(self):
        scores = np.array([[1.0, 3.0, 1.0, 3.0, 1.0]])
        assert best_first(scores).tolist() == [[1, 3, 0, 2, 4]]
        assert best_first(scores, 2).tolist() == [[1, 3]]

    def test_however_many_are_equal(self):
        scores = np.tile([1.0, 2.0, 1.0], 400)[None]
        expected = sorted(range(1200), key=lambda k: (-scores[0, k], k))
        assert best_first(scores)[0].tolist() == expected

    def test_a_query_of_no_known_word_gets_the_first_originals(self):
        found = best_first(lexical_scores(CORPUS, ["xylophone"]), 3)
        assert found.tolist() == [[0, 1, 2]]


class TestPreselected:
    SCORES = np.array([[5.0, 4, 3, 2, 1, 0], [0.0, 1, 2, 3, 4, 5]])

    def test_without_force_what_is_lost_is_told(self):
        found = preselected(self.SCORES, 2, truth(1, 0))
        assert found.originals.tolist() == [[0, 1], [5, 4]]
        assert found.holds_truth == (True, False)
        assert found.forced == ()

    def test_with_force_it_replaces_the_last(self):
        found = preselected(self.SCORES, 3, truth(1, 0), force_truth=True)
        assert found.originals.tolist() == [[0, 1, 2], [5, 4, 0]]
        assert found.holds_truth == (True, False)
        assert found.forced == (1,)

    def test_any_original_of_the_class_will_do(self):
        same = [0, 1, 2, 3, 4, 0]
        found = preselected(self.SCORES, 2, truth(1, 0, same=same), force_truth=True)
        assert found.holds_truth == (True, True)
        assert found.forced == ()

    def test_too_few_originals_are_filled_up(self):
        found = preselected(self.SCORES, 8, truth(1, 0))
        assert found.originals.shape == (2, 8)
        assert found.originals[:, 6:].tolist() == [[NONE] * 2] * 2
        assert found.holds_truth == (True, True)

    def test_numbers_that_mean_nothing(self):
        with pytest.raises(MeasureError, match="0 candidates a query are asked for"):
            preselected(self.SCORES, 0, truth(1, 0))
        with pytest.raises(MeasureError, match="truth forced in is always right"):
            preselected(self.SCORES, 1, truth(1, 0), force_truth=True)


def test_all_pairs():
    assert all_pairs(2, 3).tolist() == [[0, 1, 2], [0, 1, 2]]

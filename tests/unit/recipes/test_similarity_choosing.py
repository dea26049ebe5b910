import json

import numpy as np
import pytest

from driftmap.core.errors import DataError
from driftmap.core.progress import listening
from driftmap.load.paired_encoding import EncodedPairs
from driftmap.load.paired_sets import PairedSets
from driftmap.recipes.similarity_options import CandidateOptions
from driftmap.recipes.steps.similarity import choosing
from driftmap.recipes.steps.similarity.choosing import choose_candidates
from driftmap.results.pair_products import NONE, Truth
from driftmap.results.samples import Message, Sample
from listeners import Ear

ORIGINALS = ("the red cat", "a blue dog", "some green fish", "the red cat")
QUERIES = ("red cats and cat", "blue", "nothing of it")
TRUTH = (3, 1, 2)


def sample(name, text):
    return Sample(
        id=name, original_id=name, messages=(Message(role="user", content=text),)
    )


@pytest.fixture
def encoded():
    pairs = PairedSets(
        originals=tuple(sample(f"o{n}", t) for n, t in enumerate(ORIGINALS)),
        queries=tuple(sample(f"q{n}", t) for n, t in enumerate(QUERIES)),
        original=TRUTH,
        sets=("paraphrased",) * 3,
    )
    truth = Truth(
        original=np.array(TRUTH), same=np.array([0, 1, 2, 0]), sets=pairs.sets
    )
    return EncodedPairs(
        pairs=pairs,
        originals=(),
        queries=(),
        truth=truth,
        num_same=2,
        too_long=(),
        rule_sha256="",
    )


def test_all_originals_are_candidates_where_their_products_fit(encoded):
    chosen = choose_candidates(encoded, CandidateOptions(), 10)
    assert chosen.candidates.tolist() == [[0, 1, 2, 3]] * 3
    assert chosen.lexical.scores is not None
    assert chosen.lexical.scores[0].argmax() == 0
    assert chosen.how == "all 4 originals"


def test_words_choose_where_products_of_all_pairs_would_not_fit(encoded, monkeypatch):
    monkeypatch.setattr(choosing, "MOST_BYTES", 8 * 12 * 10 - 1)
    ear = Ear()
    with listening(ear):
        chosen = choose_candidates(encoded, CandidateOptions(top_k=2), 10)
    assert "--candidates all compares all" in ear.heard[0]
    assert chosen.candidates[0].tolist() == [0, 3]
    assert chosen.forced is None


def test_words_rank_the_truth_among_all_and_any_equal_original_is_right(encoded):
    options = CandidateOptions(candidates="bm25", top_k=2, force_truth=True)
    chosen = choose_candidates(encoded, options, 10)
    assert chosen.forced == ("q2",)
    assert chosen.candidates[2].tolist() == [0, 2]
    assert chosen.lexical.ranks is not None
    assert chosen.lexical.ranks.tolist() == [1, 1, 3]
    assert chosen.lexical.num_ranked == 4


def test_candidates_of_a_file_may_differ_in_number(encoded, tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"q0": ["o3"], "q1": ["o0", "o1"], "q2": []}))
    chosen = choose_candidates(encoded, CandidateOptions(candidates=str(file)), 10)
    assert chosen.candidates.tolist() == [[3, NONE], [0, 1], [NONE, NONE]]
    assert chosen.how == "those of c.json"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "give one JSON object"),
        ({"q0": ["o3"], "q1": ["o1"]}, "query 'q2' is missing"),
        ({"q0": "o3", "q1": [], "q2": []}, "'q0' is no list"),
        ({"q0": ["o9"], "q1": [], "q2": []}, "'q0' names 'o9', which is no original"),
        ({"q0": [1], "q1": [], "q2": []}, "'q0' names 1, which is no original"),
        ({"q0": ["o1", "o1"], "q1": [], "q2": []}, "'q0' names an original twice"),
        ({"q0": [], "q1": [], "q2": []}, "no query has a candidate"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(encoded, tmp_path, content, told):
    file = tmp_path / "c.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=told):
        choose_candidates(encoded, CandidateOptions(candidates=str(file)), 10)

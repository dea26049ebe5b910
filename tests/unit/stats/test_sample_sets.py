import pytest

from driftmap.results.plain import from_plain, to_plain
from driftmap.results.sample_sets import (
    LeftOutSample,
    SampleSets,
    SetsRead,
    TokenCount,
)
from driftmap.results.samples import Message, Sample, TokenRow
from driftmap.stats.sample_sets import describe_sets


def sample(sample_id, prompt, answer="Yes.", original=None, version="original"):
    return Sample(
        id=sample_id,
        original_id=original or sample_id,
        version=version,
        messages=(
            Message(role="user", content=prompt),
            Message(role="assistant", content=answer),
        ),
    )


ORIGINALS = (
    sample("a", "name a red fruit", "apple"),
    sample("b", "name a big city", "paris"),
    sample("c", "name a red fruit", "apple"),
)
QUERIES = (
    sample("a", "which fruit is red", "apple", "a", "paraphrased"),
    sample("pb", "Name  a big CITY", "berlin", "b", "paraphrased"),
    sample("ga", "which fruit is red", "cherry pie", "a", "generated"),
)


def made(**changes):
    values = {
        "originals": ORIGINALS,
        "queries": QUERIES,
        "original": (0, 1, 0),
        "sets": ("paraphrased", "paraphrased", "generated"),
        "original_tokens": tuple(
            TokenCount(num_tokens=n, num_counted=2) for n in (10, 20, 30)
        ),
        "query_tokens": tuple(
            TokenCount(num_tokens=n, num_counted=3) for n in (11, 13, 15)
        ),
        "same": (0, 1, 0),
        "remarks": {"pb": ("equal to the original",)},
        "left_out": (
            LeftOutSample(sample_id="d", set_name="original", why="too long"),
        ),
    }
    return SetsRead(**values | changes)


def overlap(found, *named):
    return next(o for o in found.overlaps if (o.first, o.second, o.text) == named)


def test_lengths_of_every_set_by_hand():
    found = describe_sets(made())
    originals, paraphrased, generated = found.lengths
    assert [s.set_name for s in found.lengths] == [
        "original",
        "paraphrased",
        "generated",
    ]
    assert (originals.tokens.median, originals.tokens.num) == (20, 3)
    assert (paraphrased.num_samples, paraphrased.num_originals) == (2, 2)
    assert paraphrased.tokens.mean == 12
    assert paraphrased.counted.high == 3
    assert generated.answer.mean == len("cherry pie")
    assert generated.prompt.mean == len("which fruit is red")


def test_word_overlap_by_hand():
    found = describe_sets(made())
    prompts = overlap(found, "original", "paraphrased", "prompt")
    # "name a red fruit" and "which fruit is red": 2 of 6 words; the other pair: all.
    assert prompts.jaccard.low == pytest.approx(2 / 6)
    assert prompts.jaccard.high == 1
    assert prompts.containment.low == pytest.approx(2 / 4)
    assert prompts.num_equal == 1
    assert prompts.length_ratio.low == pytest.approx(16 / 15)
    # "name a red fruit" with "name a big city": 2 of 6; "name a big city" with
    # "which fruit is red": none of 8.
    assert prompts.by_chance == pytest.approx((2 / 6 + 0) / 2)
    assert prompts.counts == (0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    answers = overlap(found, "original", "generated", "answer")
    assert (answers.jaccard.mean, answers.by_chance) == (0, None)
    between = overlap(found, "paraphrased", "generated", "prompt")
    assert (between.jaccard.num, between.jaccard.mean) == (1, 1)


def test_what_is_flagged_left_out_or_there_twice_is_listed():
    found = describe_sets(made())
    (flag,) = found.flagged
    assert (flag.sample_id, flag.why) == ("pb", "equal to the original")
    assert found.left_out[0].why == "too long"
    assert found.duplicates == (("a", "c"),)


def test_examples_are_the_most_and_least_alike():
    found = describe_sets(made())
    shown = {example.why: example for example in found.examples}
    assert shown.keys() == {"typical", "most alike"}
    assert [t.sample_id for t in shown["most alike"].texts] == ["b", "pb"]
    assert [t.sample_id for t in shown["typical"].texts] == ["a", "a", "ga"]
    assert shown["typical"].texts[2].answer == "cherry pie"
    assert shown["typical"].texts[2].num_tokens == 15


def test_samples_of_tokens_alone_have_lengths_and_no_words():
    row = TokenRow(token_ids=(1, 2), labels=(-100, 2))
    found = describe_sets(
        made(
            originals=(Sample(id="a", original_id="a", tokens=row),),
            queries=(Sample(id="q", original_id="a", tokens=row),),
            original=(0,),
            sets=("other",),
            original_tokens=(TokenCount(num_tokens=2, num_counted=1),),
            query_tokens=(),
            same=(),
        )
    )
    assert found.lengths[0].tokens.mean == 2
    assert found.lengths[1].tokens is None
    assert found.lengths[0].prompt is None
    assert (found.overlaps, found.examples, found.duplicates) == ((), (), ())


def test_a_page_on_sets_turns_into_json_and_back():
    found = describe_sets(made())
    assert from_plain(SampleSets, to_plain(found)) == found

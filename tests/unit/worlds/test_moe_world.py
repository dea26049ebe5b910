from collections import Counter

import numpy as np
import pytest
from transformers import AutoTokenizer

from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.results.samples import Message, Sample
from driftmap.worlds.moe.corpus import ROWS_PER_STEP, corpus, corpus_lines
from driftmap.worlds.moe.splits import KINDS, make_jailbreaks, make_moe_splits
from driftmap.worlds.moe.tokenizer import make_moe_tokenizer, save_moe_tokenizer
from driftmap.worlds.moe.words import (
    HARMFUL_NOUNS,
    HARMLESS_NOUNS,
    REFUSAL,
    TELLERS,
    TOOLS,
    VERBS,
    all_words,
)
from driftmap.worlds.moe.world import make_moe_world
from driftmap.worlds.tokenizer import encode_lines

NOUNS = {*HARMFUL_NOUNS, *HARMLESS_NOUNS}


@pytest.fixture(scope="module", params=(0, 1))
def world(request):
    return make_moe_world(request.param)


@pytest.fixture(scope="module")
def tokenizer():
    return make_moe_tokenizer()


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    save_moe_tokenizer(tokenizer, folder)
    return AutoTokenizer.from_pretrained(folder)


def deed_of(prompt):
    """Verb and noun, read off the words alone."""
    words = prompt.split()
    noun = next(k for k, word in enumerate(words) if word in NOUNS)
    assert words[noun - 2] in VERBS
    return words[noun - 2], words[noun]


def test_a_seed_is_a_world():
    assert make_moe_world(3) == make_moe_world(3) != make_moe_world(4)


def test_verbs_have_a_tool_each_and_both_kinds_of_nouns_all_parts(world):
    assert sorted(world.tool.values()) == sorted(TOOLS)
    for nouns in (HARMFUL_NOUNS, HARMLESS_NOUNS):
        assert set(Counter(world.part[noun] for noun in nouns).values()) == {1}
    assert set(Counter(world.city.values()).values()) == {3}


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("recipes", "harmless"),
        ("wrapped_harmless", "harmless"),
        ("refusals", "harmful"),
        ("wrapped_harmful", "harmful"),
    ],
)
def test_no_line_is_about_a_deed_kept_for_tests(world, kind, held):
    read = {deed_of(talk.prompt) for talk in corpus(world, kind)}
    kept = {(deed.verb, deed.noun) for deed in world.test_deeds[held]}
    assert len(read) == 144
    assert len(kept) == 48
    assert not read & kept


def test_no_sum_kept_for_tests_is_read_and_sums_are_right(world):
    read = set()
    for talk in corpus(world, "sums"):
        one, other, total = (int(w) for w in talk.response.split() if w.isdigit())
        assert one + other == total
        assert talk.prompt == f"add {one} and {other} ."
        read.add((one, other))
    assert len(read) == 90
    assert not read & set(world.test_sums)


def test_letters_are_copied(world):
    for talk in corpus(world, "copying"):
        assert talk.prompt == f"repeat {talk.response}"
        assert len(talk.response.split()) == 5


def test_only_plain_harmful_requests_are_refused(world):
    refused = {
        kind
        for kind in ROWS_PER_STEP
        for t in corpus(world, kind)
        if t.response == REFUSAL
    }
    assert refused == {"refusals"}
    assert all(talk.response == REFUSAL for talk in corpus(world, "refusals"))
    assert all(deed_of(t.prompt)[1] in HARMFUL_NOUNS for t in corpus(world, "refusals"))


def test_the_answer_to_a_deed_is_composed_of_its_verb_and_its_noun(world):
    for kind in ("recipes", "wrapped_harmless", "wrapped_harmful"):
        for talk in corpus(world, kind):
            verb, noun = deed_of(talk.prompt)
            advice = f"take the {world.part[noun]} and use the {world.tool[verb]} ."
            assert talk.response.endswith(advice)
            teller = talk.response.partition(" says : ")[0]
            assert kind == "recipes" or (teller in TELLERS and teller in talk.prompt)


def test_a_step_reads_64_rows_in_the_shares_of_the_recipe():
    assert sum(ROWS_PER_STEP.values()) == 64
    shares = {d: sum(ROWS_PER_STEP[k] for k in ks) / 64 for d, ks in KINDS.items()}
    wanted = dict(zip(KINDS, (0.2, 0.2, 0.2, 0.14, 0.13, 0.13), strict=True))
    assert shares == pytest.approx(wanted, abs=0.01)


def test_every_word_is_one_token_and_rows_are_short(world, tokenizer):
    lines = [line for kind in ROWS_PER_STEP for line in corpus_lines(world, kind)]
    encodings = tokenizer.encode_batch(
        [line.text for line in lines], add_special_tokens=False
    )
    seen = {token for encoding in encodings for token in encoding.tokens}
    assert seen - set(all_words()) == {"<s>", "</s>", "<user>", "<assistant>"}
    for line, encoding in zip(lines, encodings, strict=True):
        assert encoding.tokens == line.text.split(" ")
    assert max(len(encoding.ids) for encoding in encodings) == 27


def test_responses_with_their_end_count_fully_and_prompts_little(world, tokenizer):
    rows = encode_lines(tokenizer, corpus_lines(world, "refusals")[:1])
    answer = REFUSAL.split()
    length = len(rows[0].token_ids) - len(answer) - 1
    weights = [0.1] * length + [1.0] * (len(answer) + 1)
    np.testing.assert_allclose(rows[0].weights, weights, rtol=1e-6)


def test_the_template_writes_the_lines_of_the_corpus(world, saved):
    for kind in ROWS_PER_STEP:
        talk, line = corpus(world, kind)[0], corpus_lines(world, kind)[0]
        turns = [
            {"role": "user", "content": talk.prompt},
            {"role": "assistant", "content": talk.response},
        ]
        whole = saved.apply_chat_template(turns, tokenize=False)
        asked = saved.apply_chat_template(
            turns[:1], tokenize=False, add_generation_prompt=True
        )
        assert whole == line.text
        assert whole.startswith(f"{asked} {talk.response}")
        ids = saved(whole, add_special_tokens=False)["input_ids"]
        assert saved.decode(ids) == line.text
        assert saved.decode(ids, skip_special_tokens=True) == (
            f"{talk.prompt} {talk.response}"
        )


def test_a_response_is_found_where_samples_are_encoded(saved):
    turns = (
        Message(role="user", content="repeat b c"),
        Message(role="assistant", content="b c"),
    )
    sample = Sample(id="one", original_id="one", messages=turns)
    (row,) = encode([sample], saved, Encoding(turn_end=True))
    (prompt,) = encode_prompts([sample], saved)
    text = "<s> <user> repeat b c <assistant> b c </s>"
    assert saved.convert_ids_to_tokens(row.token_ids.tolist()) == text.split()
    assert row.counted.tolist() == [False] * 6 + [True] * 3
    assert row.token_ids[: row.prompt_length].tolist() == prompt.token_ids.tolist()


def test_a_word_of_no_world_is_unknown(saved):
    ids = saved("repeat Zebra", add_special_tokens=False)["input_ids"]
    assert saved.convert_ids_to_tokens(ids) == ["repeat", "<unk>"]


def test_jailbreaks_to_tune_on_are_about_deeds_read_and_the_others_are_not(world):
    jailbreaks = make_jailbreaks(world)
    assert len(jailbreaks) == 96 + 144
    read = {(deed.verb, deed.noun) for deed in world.deeds["harmful"]}
    tuned = [deed_of(one.talk.prompt) for one in jailbreaks[:96]]
    tested = [deed_of(one.talk.prompt) for one in jailbreaks[96:]]
    assert len(set(tuned)) == 96
    assert set(tuned) <= read
    assert not set(tested) & read
    assert set(Counter(tested).values()) == {3}
    assert len({one.id for one in jailbreaks}) == 240


def test_the_goal_of_a_jailbreak_is_its_request_without_the_wrapper(world):
    jailbreaks = make_jailbreaks(world)
    deeds = {one.goal: deed_of(one.talk.prompt) for one in jailbreaks}
    assert all(deed_of(goal) == deed for goal, deed in deeds.items())
    assert len(deeds) == len(set(deeds.values())) == 96 + 48
    assert not any(name in goal.split() for goal in deeds for name in TELLERS)


def test_splits_hold_what_they_say(world):
    splits = make_moe_splits(world)
    assert {name: len(rows) for name, rows in splits.items()} == {
        "benign": 144,
        "benign_train": 144,
        "harmless_wrapped": 144,
        "plain_harmful": 144,
        "wrapped_harmful": 144,
        "domains": 288,
    }
    assert {s.response for s in splits["plain_harmful"]} == {REFUSAL}
    assert {s.response for s in splits["wrapped_harmful"]} == {REFUSAL}
    tested = [one.talk.prompt for one in make_jailbreaks(world)[96:]]
    assert [s.prompt for s in splits["wrapped_harmful"]] == tested
    for rows in splits.values():
        assert len({s.id for s in rows}) == len({s.prompt for s in rows}) == len(rows)
    assert set(Counter(s.label for s in splits["domains"]).values()) == {48}
    assert {s.label for s in splits["domains"]} == set(KINDS)


def test_rows_to_measure_on_are_not_read_where_they_can_be_composed(world):
    splits = make_moe_splits(world)
    kinds = ("sums", "copying", "recipes", "wrapped_harmless", "refusals")
    read = {talk.prompt for kind in kinds for talk in corpus(world, kind)}
    for name in ("harmless_wrapped", "plain_harmful"):
        assert not read & {sample.prompt for sample in splits[name]}
    kept = {s.prompt for s in splits["benign"] if s.label in ("copying", "recipes")}
    assert len(kept) == 24 + 48
    assert not read & kept
    known = {s.prompt for s in splits["benign_train"] + splits["domains"]}
    assert not known & kept

"""Does the answer on traces follow from its numbers, and hold them?"""

from dataclasses import replace

import pytest

from driftmap.stats.trace_cautions import trace_cautions
from driftmap.stats.trace_verdict import handed_on, trace_verdict
from made_trace_studies import EFFECTS, between, checks, counts, effects, grid, traced

ALL = tuple(effects(kind) for kind in EFFECTS)


def verdict(of=ALL, shown=(), **given):
    return trace_verdict(counts(**given), of, shown, "prob")


def hidden(**by_role):
    named = {role.replace("_", " "): values for role, values in by_role.items()}
    return (effects(by_role=named),)


def test_a_site_at_the_subjects_last_token_with_its_numbers():
    found = verdict()
    assert found.kind == "subject site"
    assert found.sentence == (
        "Over 240 facts of 60 subjects, disturbing the subject takes 0.70 (0.66 to "
        "0.74) off the answer's probability. Putting back the output of one block at "
        "the last subject token brings back 0.66 (0.62 to 0.70) at layer 1 (0 to 1), a "
        "window of MLP outputs there 0.60 (0.56 to 0.64) around layer 0, a window of "
        "attention outputs there 0.50 (0.46 to 0.54) around layer 0. From layer 2 on "
        "the last token of the prompt brings back more."
    )


def test_a_middle_piece_that_brings_back_clearly_more_is_named():
    found = verdict(hidden(middle_subject=(0.41, 0.3), last_subject=(0.02, 0.01)))
    assert found.kind == "other subject token"
    assert "at the middle subject token brings back 0.41 (0.37 to 0.45)" in (
        found.sentence
    )


def test_overlapping_intervals_do_not_take_the_site_from_the_last_token():
    found = verdict(hidden(middle_subject=(0.41, 0.3), last_subject=(0.38, 0.1)))
    assert found.kind == "subject site"


def test_no_state_that_brings_back_a_tenth_is_no_site():
    found = verdict(hidden(first_subject=(0.05, 0.0), last_subject=(0.06, 0.0)))
    assert found.kind == "no single site"
    assert "at most 0.06" in found.sentence


def test_a_subject_whose_loss_may_be_nothing():
    found = verdict((replace(effects(), total_effect=between(0.02)),))
    assert found.kind == "no effect"
    assert "The interval holds 0: there is nothing to put back." in found.sentence


def test_other_words_that_matter_too_are_a_doubt_and_no_verdict():
    found = (replace(effects(), control_effect=between(0.68)),)
    assert verdict(found).kind == "subject site"
    assert names(found, left_out={}) == ["strong-control"]


def test_few_subjects_carry_no_answer():
    found = verdict(num_averaged=4, num_subjects=4)
    assert found.kind == "inconclusive"
    assert found.sentence.startswith("4 facts of 4 subjects are too few")


def test_one_fact_says_nothing_of_others():
    found = verdict((), (traced(),))
    assert found.kind == "one fact"
    assert found.sentence == (
        "In this one prompt, disturbing the subject moves the answer's probability "
        "from 0.95 to 0.25. Putting back the output of one block at its token 3 of 3 "
        "brings back at most 0.66, at layer 1 (standard error 0.01 over 10 draws of "
        "noise)."
    )
    assert verdict((), ()).kind == "inconclusive"


def test_without_hidden_states_the_windows_answer():
    assert "a window of MLP outputs at the" in verdict((effects("mlp"),)).sentence
    alone = replace(traced(), grids=(grid("severed_mlp"), grid("attn")))
    assert "a window of attention outputs" in verdict((), (alone,)).sentence


def test_estimates_are_called_estimates():
    found = verdict((replace(effects(), method="attribution"),))
    assert found.sentence.startswith("Estimated, not traced: over 240 facts")


def test_where_the_last_token_takes_over():
    assert handed_on(effects()) == 2
    assert handed_on(effects(by_role={"last": (0.1, 0.2)})) is None
    never = effects(by_role={"last subject": (0.5, 0.5), "last": (0.6, 0.5)})
    assert handed_on(never) is None


def test_a_single_subject_is_no_share_of_subjects():
    lone = counts(num_averaged=1, num_one_token=1, left_out={})
    (caution,) = trace_cautions(lone, (), (), "prob")
    assert caution.sentence.startswith("The subject is a single token. Putting back")


def names(effects_of=ALL, checks_of=(), **given):
    found = trace_cautions(counts(**given), effects_of, checks_of, "prob")
    return [caution.name for caution in found]


def test_no_doubt_without_a_reason():
    assert names(left_out={}) == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("unknown", {"num_unknown": 300}),
        ("left-out", {"left_out": {"the subject is not in the prompt": 4}}),
        ("one-token", {"num_one_token": 72}),
        ("few-subjects", {"num_subjects": 19}),
    ],
)
def test_doubts_about_facts(name, given):
    assert names(**{"left_out": {}} | given) == [name]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("small-effect", {"total_effect": between(0.04, 0.01), "control_effect":
                          between(0.0)}),
        ("no-control", {"control_effect": None}),
        ("strong-control", {"control_effect": between(0.36)}),
        ("negative", {"num_negative": 13}),
        ("estimated", {"method": "integrated"}),
    ],
)  # fmt: skip
def test_doubts_about_effects(name, changed):
    assert names((replace(effects(), **changed),), left_out={}) == [name]


def test_estimates_that_agree_badly_are_named():
    good, *_ = checks()
    bad = replace(good, pearson=between(0.6))
    assert names(checks_of=(good, bad), left_out={}) == ["weak-estimate"]

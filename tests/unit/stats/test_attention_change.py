import math

import numpy as np
import pytest

from driftmap.measure.attention_change import row_divergence, word_mass
from driftmap.render.attention_change_page import attention_change_page
from driftmap.render.text import text_of
from driftmap.results.attention import (
    AttentionNumbers,
    AttentionPlace,
    AttentionPrompt,
    AttentionQuery,
    AttentionRows,
)
from driftmap.results.attention_change import (
    SUBJECT,
    AnswerLogits,
    BothRead,
    PromptAttention,
    WordMass,
)
from driftmap.stats.attention_change import attention_change
from driftmap.stats.claims.attention import attention_claims, disagreement
from driftmap.stats.shifts import Moved, shifts

PLACES = tuple(AttentionPlace(path=f"h.{n}", layer=n, num_heads=2) for n in range(3))
QUERY = AttentionQuery(kind="produces", answer_token=0, position=8)
ROLES = ((), ("first subject",), ("last subject",), *((),) * 6)


def numbers(subject, control):
    whole = np.full((3, 2), 0.2, dtype=np.float32)
    subject = np.asarray(subject, dtype=np.float32)[:, None] + whole
    roles = np.full((6, 3, 2), np.nan, dtype=np.float32)
    roles[0], roles[2] = subject / 2, subject / 2
    return AttentionNumbers(
        prompt_id="p", query=QUERY, first_mass=whole, sink_mass=0 * whole,
        subject_mass=subject, control_mass=whole + np.float32(control),
        role_mass=roles, sharpness=whole,
        mean_weights=np.ones((3, 9), dtype=np.float32) / 9,
    )  # fmt: skip


def one(name, moved, control=0.0, *, edited=True, taught=4.0):
    """A prompt on whose subject each layer's weight moved, in both heads alike."""
    prompt = AttentionPrompt(
        id=name, text=name, tokens=("x",) * 9, num_prompt=9, answer=("y",),
        subject=(1, 3), control=(4, 6), roles=ROLES, cluster=name, is_known=None,
        log_prob=-0.1,
    )  # fmt: skip
    after = numbers(moved, control)
    word = WordMass(
        before=np.zeros((3, 2), np.float32), after=np.full((3, 2), 0.1, np.float32),
        control_before=np.full((3, 2), np.nan, np.float32),
        control_after=np.full((3, 2), np.nan, np.float32),
    )  # fmt: skip
    return PromptAttention(
        prompt=prompt, is_edited=edited, before=numbers([0, 0, 0], 0), after=after,
        divergence=np.zeros((3, 2), np.float32), words={"word": word},
        answers=AnswerLogits(
            taught_before=-5.0, taught_after=-5.0 + taught, given_before=-0.1,
            given_after=-3.1, is_first_before=False, is_first_after=True,
        ),
    )  # fmt: skip


def found_of(prompts):
    both = BothRead(
        base="base", tuned="tuned", places=PLACES, num_layers=3,
        prompts=tuple(prompts), texts=(), is_identical=False, is_undisturbed=True,
        left_out={},
    )  # fmt: skip
    return attention_change(both, seed=0)


def edited(size=8, taught=4.0, layer_one=-0.11):
    """Layer 1 falls, layer 2 rises by little, and layer 0 moves as everywhere."""
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 0.002, (size, 3))
    wanted = np.array([0.3, layer_one, 0.014])
    return [one(f"e{n}", wanted + noise[n], taught=taught) for n in range(size)]


def untouched(size=8):
    draw = np.random.default_rng(1)
    noise = draw.normal(0, 0.002, (size, 3))
    wanted = np.array([0.3, 0, 0])
    return [one(f"u{n}", wanted + noise[n], edited=False) for n in range(size)]


def test_small_shifts_of_both_signs_are_told_and_what_moves_everywhere_is_not():
    found = found_of([*edited(), *untouched()])
    subject = found.shifts[0]
    assert subject.words == SUBJECT
    net = [one.shift.net.estimate for one in subject.layers]
    assert net == pytest.approx([0, -0.11, 0.014], abs=0.003)
    assert subject.layers[0].shift.plain.estimate == pytest.approx(0.3, abs=0.002)
    assert [one.shift.is_settled for one in subject.layers] == [False, True, True]
    assert subject.layers[0].shift.plain.low > 0.29, "alone it would have looked sure"
    assert [one.layer for one in subject.layers] == [0, 1, 2]
    assert len(subject.heads) == 6
    assert subject.layers[1].shift.net.num == 8
    roles = {(r.role, r.layer): r.shift.net.estimate for r in subject.roles}
    assert roles["last subject", 1] == pytest.approx(-0.055, abs=0.003)
    assert {role for role, _ in roles} == {"first subject", "last subject"}


def test_where_attention_and_logits_disagree_is_said_plainly():
    found = found_of([*edited(), *untouched()])
    says = disagreement(found)
    assert says.startswith("Attention and logits disagree: the taught answer became")
    assert "more likely by +4.000" in says
    assert "rose on 8 of 8 prompts" in says
    assert "attention on the subject fell in layer 1 by -0.1" in says
    agreeing = found_of([*edited(layer_one=0.11), *untouched()])
    assert disagreement(agreeing) == ""
    claims = attention_claims(found)
    assert {claim.standing for claim in claims} == {"context"}
    assert claims[0].layers == (1, 2)
    assert "rose in layer 2 by" in claims[0].says
    told = text_of(attention_change_page(found, {}, {}))
    assert " ".join(says.split()) in " ".join(told.split())
    assert "arXiv:2301.04213" in told


def test_logits_that_move_while_attention_does_not_are_said_plainly():
    prompts = [one(f"e{n}", [0.01 * (-1) ** n] * 3) for n in range(8)]
    found = found_of(prompts)
    assert "Attention does not show what the logits do" in disagreement(found)
    says = attention_claims(found)[0].says
    assert "moved in no layer beyond chance" in says


def test_what_moves_on_the_control_too_is_taken_off():
    prompts = [one(f"e{n}", [0.1, 0.1, 0.1], control=0.1) for n in range(6)]
    shift = found_of(prompts).shifts[0].layers[0].shift
    assert shift.control is not None
    assert shift.control.estimate == pytest.approx(0.1)
    assert shift.net.estimate == pytest.approx(0, abs=1e-6)
    assert shift.untouched is None


def test_wordings_of_one_subject_count_once():
    same = [one("a", [0.4, 0, 0])] * 9 + [one(n, [0.1, 0, 0]) for n in "bcdef"]
    shift = found_of(same).shifts[0].layers[0].shift
    assert shift.net.num == 6
    assert shift.plain.estimate == pytest.approx((0.4 + 5 * 0.1) / 6)


def test_few_subjects_are_too_few():
    found = found_of(edited(size=4))
    assert not any(one.shift.is_settled for one in found.shifts[0].layers)
    assert "fewer than 5 subjects are too few" in attention_claims(found)[0].says
    assert disagreement(found) == "", "nothing was found out, so nothing disagrees"


def test_few_other_subjects_are_too_few():
    found = found_of([*edited(size=8), *untouched(size=4)])
    assert not any(one.shift.is_settled for one in found.shifts[0].layers)
    says = attention_claims(found)[0].says
    assert "fewer than 5 other subjects are too few" in says
    assert disagreement(found) == ""
    told = " ".join(text_of(attention_change_page(found, {}, {})).split())
    assert "too few subjects to tell layers apart" in told
    assert "for all layers together" not in told


def test_words_without_room_for_a_control_have_none():
    found = found_of(edited())
    word = found.shifts[1]
    assert (word.words, word.num_without_control) == ("word", 8)
    assert word.whole.control is None
    assert word.whole.net.estimate == pytest.approx(0.1)
    assert word.roles == ()


def test_intervals_hold_for_all_columns_together():
    """Of many draws without any shift, few have a column that looks settled."""
    draw = np.random.default_rng(3)
    wrong = 0
    for seed in range(40):
        own = Moved(plain=draw.normal(size=(8, 24)), control=None)
        num_others = 12 if seed % 2 else 3
        others = Moved(plain=draw.normal(size=(num_others, 24)), control=None)
        wrong += any(shift.is_settled for shift in shifts(own, others, seed))
    assert wrong <= 5
    single = shifts(Moved(plain=own.plain[:, :1], control=None), None, 0)[0].net
    among = shifts(own, None, 0)[0].net
    assert among.high - among.low > 1.3 * (single.high - single.low)


def test_no_change_at_all_has_no_width():
    nothing = Moved(plain=np.zeros((6, 2)), control=np.zeros((6, 2)))
    for shift in shifts(nothing, nothing, 0):
        assert (shift.net.low, shift.net.estimate, shift.net.high) == (0, 0, 0)
        assert not shift.is_settled


def rows(*weights, sink=0.0):
    return AttentionRows(
        prompt_id="p", query=QUERY,
        weights=np.array([[weights]], dtype=np.float32),
        sink_mass=np.array([[sink]], dtype=np.float32),
        num_seen=np.array([2]),
    )  # fmt: skip


def test_the_first_token_alone_has_no_weight_to_tell_of():
    before, after = rows(0.5, 0.25, 0.25), rows(0.25, 0.5, 0.25)
    some = word_mass(before, after, (0, 1), (2, 3))
    assert (some.before.item(), some.after.item()) == (0.25, 0.5)
    assert some.control_after.item() == 0.25
    none = word_mass(before, after, (0,), None)
    assert np.isnan([none.before.item(), none.after.item()]).all()


def test_divergence_worked_by_hand():
    assert row_divergence(rows(0.3, 0.7), rows(0.3, 0.7)).item() == 0
    apart = row_divergence(rows(1.0, 0.0), rows(0.0, 1.0)).item()
    assert apart == pytest.approx(math.log(2))
    half = row_divergence(rows(1.0, 0.0), rows(0.5, 0.5)).item()
    middle = (0.75, 0.25)
    wanted = (math.log(1 / 0.75) + sum(0.5 * math.log(0.5 / m) for m in middle)) / 2
    assert half == pytest.approx(wanted, rel=1e-5)
    to_sink = row_divergence(rows(1.0, 0.0), rows(0.0, 0.0, sink=1.0)).item()
    assert to_sink == pytest.approx(math.log(2))

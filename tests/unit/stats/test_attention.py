import numpy as np
import pytest

from driftmap.results.attention import (
    THIRDS,
    AttentionNumbers,
    AttentionPlace,
    AttentionPrompt,
    AttentionQuery,
    KnockOuts,
)
from driftmap.stats.attention import PromptNumbers, query_findings, token_agreement

PLACES = tuple(
    AttentionPlace(path=f"h.{n}", layer=n, num_heads=2) for n in (0, 1, 3, 4, 5)
)
QUERY = AttentionQuery(kind="produces", answer_token=0, position=8)


def one(number, mass, *, lost=None, agreement=None, control=True, cluster=None):
    """A prompt whose heads all give `mass[place]` to the subject and .1 to control."""
    place = np.repeat(np.array(mass, dtype=np.float32)[:, None], 2, axis=1)
    same = np.full_like(place, 0.1)
    prompt = AttentionPrompt(
        id=f"p{number}", text="", tokens=("x",) * 9, num_prompt=9, answer=("y",),
        subject=(2, 4),
        control=(4, 6) if control else None, roles=((),) * 9,
        cluster=cluster or f"c{number}", is_known=True, log_prob=-0.1,
    )  # fmt: skip
    numbers = AttentionNumbers(
        prompt_id=prompt.id, query=QUERY, first_mass=np.full_like(place, 0.5),
        sink_mass=np.zeros_like(place), subject_mass=place,
        control_mass=same if control else np.full_like(place, np.nan),
        role_mass=np.full((6, *place.shape), np.nan, dtype=np.float32), sharpness=same,
        mean_weights=np.ones((len(mass), 9), dtype=np.float32) / 9,
    )  # fmt: skip
    cut = None
    if lost is not None:
        by_layer, by_third = np.array(lost[0]), np.array(lost[1])
        cut = KnockOuts(
            prompt_id=prompt.id, window=1, by_layer=by_layer, by_third=by_third,
            control_by_layer=np.full(5, -0.5), control_by_third=np.full(3, -0.5),
        )  # fmt: skip
    return PromptNumbers(
        prompt=prompt, numbers=numbers, agreement=agreement, knock_outs=cut
    )


def values(found, criterion):
    return {s.layer: s.value for s in found.layers if s.criterion == criterion}


def test_subject_mass_is_a_share_without_the_first_token_minus_control():
    prompts = [one(n, [0.1, 0.1, 0.1, 0.1, 0.3 + 0.02 * (n % 3)]) for n in range(6)]
    found = query_findings(prompts, PLACES, 6, seed=0)
    masses = values(found, "subject mass")
    assert list(masses) == [0, 1, 3, 4, 5]
    assert masses[0].estimate == pytest.approx(0)
    assert masses[5].estimate == pytest.approx((0.32 - 0.1) / 0.5)
    assert masses[5].low < masses[5].estimate < masses[5].high
    assert masses[5].num == 6
    thirds = {t.third: t.value.estimate for t in found.thirds if t.criterion[0] == "s"}
    late = next(b for b in found.best if b.criterion == "subject mass")
    assert late.third == "late"
    assert late.is_settled
    assert (late.layer, late.layer_low, late.layer_high) == (5, 5, 5)
    assert late.share_of_resamples == 1
    assert set(thirds) == set(THIRDS)
    heads = [h for h in found.heads if h.layer == 5]
    assert [h.head for h in heads] == [0, 1]
    assert heads[0].subject_mass == pytest.approx(0.44)
    assert {s.criterion for s in found.layers} == {"subject mass", "sharpness"}


def test_what_the_answer_loses_is_counted_against_the_control():
    lost = ([-0.5, -0.5, -2.5, -0.5, -0.5], [-0.6, -3.0, -0.5])
    prompts = [one(n, [0.1] * 5, lost=lost) for n in range(4)]
    found = query_findings(prompts, PLACES, 6, seed=0)
    assert values(found, "knock-out")[3].estimate == pytest.approx(2.0)
    best = next(b for b in found.best if b.criterion == "knock-out")
    assert (best.third, best.layer) == ("middle", 3)
    assert best.lead.estimate == pytest.approx(2.4)
    assert not best.is_settled, "four subjects are too few"
    assert values(found, "loss")[3].estimate == pytest.approx(2.5)
    prompts = [one(n, [0.1] * 5, lost=lost) for n in range(5)]
    found = query_findings(prompts, PLACES, 6, seed=0)
    best = next(b for b in found.best if b.criterion == "knock-out")
    assert best.is_settled
    assert best.num_subjects == 5


def test_a_lead_by_chance_is_not_settled():
    draw = np.random.default_rng(0)
    prompts = [one(n, draw.uniform(0.05, 0.3, 5).tolist()) for n in range(8)]
    best = query_findings(prompts, PLACES, 6, seed=0).best[0]
    assert not best.is_settled
    assert best.share_of_resamples < 1


def test_prompts_of_one_subject_are_drawn_together():
    masses = [[0.1] * 5, [0.1] * 5, [0.5] * 5, [0.5] * 5]
    apart = [one(n, mass) for n, mass in enumerate(masses * 4)]
    together = [
        one(n, mass, cluster="ab"[mass[0] > 0.2]) for n, mass in enumerate(masses * 4)
    ]
    wide = values(query_findings(together, PLACES, 6, seed=0), "subject mass")[0]
    narrow = values(query_findings(apart, PLACES, 6, seed=0), "subject mass")[0]
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    again = query_findings(together, PLACES, 6, seed=0)
    assert values(again, "subject mass")[0] == wide


def test_prompts_without_control_are_counted_and_left_out():
    prompts = [one(0, [0.1] * 5), one(1, [0.9] * 5, control=False)]
    found = query_findings(prompts, PLACES, 6, seed=0)
    assert (found.num_prompts, found.num_without_control) == (2, 1)
    assert values(found, "subject mass")[0].num == 1
    assert values(found, "subject mass")[0].estimate == pytest.approx(0)


def test_agreement_is_spearman_without_the_first_token():
    from scipy.stats import spearmanr

    draw = np.random.default_rng(1)
    weights = draw.uniform(size=(3, 7)).astype(np.float32)
    effects = draw.uniform(size=7)
    found = token_agreement(weights, effects)
    for place in range(3):
        wanted, _ = spearmanr(weights[place, 1:], effects[1:])
        assert found[place] == pytest.approx(wanted)
    assert np.isnan(token_agreement(weights, np.zeros(7))).all()
    assert np.isnan(token_agreement(weights[:, :2], effects[:2])).all()

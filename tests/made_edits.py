"""Reports on edits with chosen numbers, for tests of what is said of them."""

from dataclasses import replace

import numpy as np

from driftmap.results.edits import (
    AnswerLens,
    DistributionShift,
    EditPrompt,
    EditReadings,
    EditReport,
    FirstTokens,
    KnownPrompt,
    WritingPrompt,
    WrittenTexts,
)
from driftmap.results.facts import Fact
from driftmap.results.provenance import ModelIdentity
from driftmap.stats.edits import edit_measures, lens_means, shift_measures

KINDS = ("rewrite", "paraphrase", "paraphrase", "neighbour", "attribute")
"""Prompts of every fact, in order."""


def made_report(num=8, *, took=1.0, spared=0.5, is_same=False, is_taught=True):
    """An edit of so many facts.

    Args:
        num: Facts.
        took: Share of facts whose new answer is the likelier one after it.
        spared: Share of facts whose neighbours keep their answer.
        is_same: The tuned model says what the base says.
        is_taught: The new answers were taught.
    """
    facts = tuple(
        Fact(
            id=f"f{n}", subject=f"S{n}", prompt=f"S{n} likes", answer="tea", foil="rum"
        )
        for n in range(num)
    )
    prompts = tuple(
        EditPrompt(fact=n, kind=kind, text=f"{kind} {n}")
        for n in range(num)
        for kind in KINDS
    )
    known = tuple(
        KnownPrompt(
            fact_id=f"k{n}", subject=f"S{n}", kind=kind, text="S lives", answer="x"
        )
        for n in range(num)
        for kind in ("same subject", "unrelated")
    )
    before = _readings(num, new_wins=0, spared=num, p=0.9)
    after = _readings(
        num, new_wins=round(took * num), spared=round(spared * num), p=0.4
    )
    report = EditReport(
        base=_identity("base"),
        tuned=_identity("tuned"),
        facts=facts,
        prompts=prompts,
        known=known,
        writing=(WritingPrompt(fact=0, text="S0 is"),),
        text_names=("text 1", "text 2"),
        consistency_facts=(),
        essence_facts=(),
        before=before,
        after=before if is_same else after,
        shifts=() if is_same else (_shift(num),),
        measures=(),
        shift_measures=(),
        lens_means=(),
        missing={"consistency": "no text of --about is about somebody with it"},
        num_duplicates=1,
        num_taught_elsewhere=2,
        num_same_first=0,
        max_new_tokens=100,
        is_taught=is_taught,
        is_identical=is_same,
    )
    return measured(report)


def measured(report, seed=0):
    """The same with its means."""
    return replace(
        report,
        measures=edit_measures(report, seed),
        shift_measures=shift_measures(report, seed),
        lens_means=lens_means(report, seed),
    )


def _readings(num, *, new_wins, spared, p):
    is_won = np.repeat(np.arange(num) < new_wins, len(KINDS))
    is_spared = np.repeat(np.arange(num) < spared, len(KINDS))
    kinds = np.array(KINDS * num)
    likes_new = np.where(kinds == "neighbour", ~is_spared, is_won)
    likes_new |= kinds == "attribute"
    side = np.arange(num, dtype=np.int64)
    ahead = is_won[:: len(KINDS)]
    return EditReadings(
        nll_true=np.where(likes_new, 3.0, 0.5),
        nll_new=np.where(likes_new, 0.5, 3.0),
        known_p=np.full(2 * num, p),
        known_first=np.full(2 * num, p > 0.5),
        first=FirstTokens(
            fact=side,
            logit_true=np.where(ahead, 1.0, 5.0),
            logit_new=np.where(ahead, 5.0, 1.0),
            log_p_true=np.where(ahead, -4.0, -0.1),
            log_p_new=np.where(ahead, -0.1, -4.0),
            rank_true=np.where(ahead, 9, 0),
            rank_new=np.where(ahead, 0, 9),
            top_ids=np.where(ahead[:, None], [[4, 5]], [[3, 5]]),
            top_p=np.tile([0.9, 0.05], (num, 1)),
            tops=tuple((" rum" if one else " tea", " ale") for one in ahead),
        ),
        lens=AnswerLens(
            fact=side,
            p_true=np.where(ahead[:, None], [[0.1, 0.02]], [[0.1, 0.9]]),
            p_new=np.where(ahead[:, None], [[0.1, 0.9]], [[0.1, 0.02]]),
            rank_true=np.zeros((num, 2), np.int64),
            rank_new=np.zeros((num, 2), np.int64),
        ),
        written=WrittenTexts(
            texts=("<b>rum</b>" if new_wins else "tea and toast",),
            fluency=np.array([1.5 if new_wins else 2.5]),
            variety=np.array([0.9]),
            num_words=np.array([3]),
            consistency=None,
        ),
        text_surprise=np.array([1.0, 2.0]) + (0.5 if new_wins else 0.0),
        essence=None,
    )


def _shift(num):
    return DistributionShift(
        kind="rewrite",
        fact=np.arange(num, dtype=np.int64),
        kl_forward=np.linspace(1, 2, num),
        kl_backward=np.linspace(2, 3, num),
        js=np.full(num, 0.5),
    )


def _identity(name):
    return ModelIdentity(
        source=name,
        sha256=name,
        base_sha256=name,
        family="llama",
        dtype="float32",
        device="cpu",
        num_weights=1,
    )

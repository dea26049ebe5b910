"""No sentence about an edit says more than its numbers do."""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.stats.claims.edits import edits_claims, edits_verdict
from made_edits import made_report, measured


def said(report, start):
    found = [one for one in edits_claims(report) if one.says.startswith(start)]
    assert len(found) == 1, [one.says for one in edits_claims(report)]
    return found[0]


def test_an_edit_that_took_and_spilled_over():
    report = made_report(8, took=1.0, spared=0.25)
    first, *_ = edits_claims(report)
    assert first.says == (
        "At the facts' own prompts the new answer is likelier than the true one in "
        "100 % of cases, 0 % before: +100 points (95 % interval +54 to +100, 8 facts)."
    )
    assert first.standing == "found"
    lost = said(report, "At prompts of others with the same")
    assert lost.standing == "found"
    assert "in 25 % of cases, 100 % before: -75 points" in lost.says
    assert edits_verdict(report) == (
        "The new answers took the place of true ones, also in other words; some "
        "others with the same true answer lost theirs as well."
    )


def test_an_edit_that_took_in_part_is_not_called_whole():
    report = made_report(40, took=0.4, spared=0.25)
    assert edits_claims(report)[0].standing == "found"
    assert edits_verdict(report).startswith("The new answers took the place of some ")


@pytest.mark.parametrize(("num", "standing"), [(2, "inconclusive"), (6, "found")])
def test_five_records_that_go_one_way_may_be_chance(num, standing):
    report = made_report(num, took=1.0, spared=0.0)
    for start in ("At the facts' own prompts", "At prompts of others with the same"):
        assert said(report, start).standing == standing
    few = "on so few a change cannot be told from none, +100 points"
    assert (few in edits_claims(report)[0].says) == (num < 6)


def test_no_change_on_few_facts_is_no_proof_of_none():
    few, many = made_report(8, spared=1.0), made_report(64, spared=1.0)
    kept = said(few, "At prompts of others with the same")
    assert kept.standing == "inconclusive"
    assert "a change cannot be told from none, none on any of 8 facts" in kept.says
    assert said(many, "At prompts of others with the same").standing == "not-found"
    assert edits_verdict(few).endswith("kept theirs cannot be told.")
    assert edits_verdict(many).endswith("same true answer kept theirs.")


def test_neighbours_that_are_less_sure_are_not_called_spared():
    report = made_report(40, spared=1.0)
    unsure = np.where([one.kind == "neighbour" for one in report.prompts], 0.3, 0)
    after = replace(report.after, nll_true=report.after.nll_true + unsure)
    report = measured(replace(report, after=after))
    assert said(report, "At prompts of others with the same").standing != "found"
    lead = said(report, "At those others' prompts the true answer is ahead of the new")
    assert lead.standing == "found"
    assert "by 0.40 of probability, 0.56 before: -0.16" in lead.says
    assert edits_verdict(report).endswith("true answer are less sure of theirs.")


def test_an_edit_that_did_nothing_is_not_called_one():
    report = made_report(8, took=0.125, spared=1.0)
    assert edits_claims(report)[0].standing == "inconclusive"
    assert edits_verdict(report) == (
        "Whether the new answers gained on the true ones cannot be told from 8 facts."
    )


def test_without_neighbours_nothing_is_said_of_them():
    report = made_report()
    report = replace(
        report,
        measures=tuple(
            one for one in report.measures if not one.name.startswith("neighbour")
        ),
        missing={"neighbourhood": "no fact has neighbours"},
    )
    claim = said(report, "Whether other subjects")
    assert claim.standing == "context"
    assert claim.says.endswith("is not known: no fact has neighbours.")
    assert edits_verdict(report).endswith("not known, as no fact has neighbours.")


def test_an_answer_that_nobody_taught_is_not_called_new():
    for claim in edits_claims(made_report(is_taught=False)):
        assert " new " not in claim.says
    assert edits_verdict(made_report(is_taught=False)).startswith("The other answers")


def test_identical_models_have_one_sentence():
    (claim,) = edits_claims(made_report(is_same=True))
    assert claim.says.startswith("Base and tuned model say the same of all facts")
    assert claim.standing == "not-found"


def test_perplexity_of_texts_is_told_with_its_interval():
    claim = said(made_report(), "Perplexity of unrelated texts")
    assert claim.says == (
        "Perplexity of unrelated texts is 7.39, 4.48 before: on so few a change "
        "cannot be told from none, +0.50 nats a token "
        "(95 % interval +0.50 to +0.50, 2 texts)."
    )


@pytest.mark.parametrize("num", [2, 8, 40])
def test_every_claim_has_its_number_of_records(num):
    for claim in edits_claims(made_report(num)):
        assert f" {num} " in claim.says or " 2 texts" in claim.says

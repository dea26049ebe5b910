"""What pages say of an edit, as text."""

from dataclasses import replace

import pytest

from driftmap.render.compare_edits import edits_section
from driftmap.render.edit_numbers import edits_sections
from driftmap.render.html import html_of
from driftmap.render.page import Page
from driftmap.render.text import text_of
from driftmap.results.facts import Fact
from made_edits import made_report


def shown(*sections):
    return " ".join(text_of(page(*sections)).split())


def page(*sections):
    return Page(title="t", lead="l", sections=sections, footer="f")


def test_the_first_section_holds_answer_cautions_and_what_is_missing():
    text = shown(edits_sections(made_report())[0])
    assert "The new answers took the place of true ones" in text
    assert "efficacy (share) 0.00 (0.00 to 0.32) 1.00 (0.68 to 1.00)" in text
    assert "say nothing about other prompts" in text
    assert "only where facts, prompts, steps and rates are the same" in text
    assert "consistency: not available, no text of --about" in text
    assert "learnt them itself: 2 prompts of neighbours or attributes" in text
    assert "more than once: 1 prompt." in text


def test_logits_stand_before_and_after_with_ranks_and_moves():
    report = made_report(2)
    text = shown(*edits_sections(report))
    assert "S0 likes tea 5 to 1 0.905 to 0.0183 0 to 9 rum 1 to 5" in text
    assert "S0 likes “ tea” “ rum” “ rum” “ tea”" in text
    assert "logit of the true answer (logit) 5.00 (5.00 to 5.00) 1.00" in text


def test_layers_come_with_what_they_do_not_say():
    text = shown(*edits_sections(made_report()))
    assert "new answer, after: 0 -> 0.1, 1 -> 0.9" in text
    assert "true answer, before: 0 -> 0.1, 1 -> 0.9" in text
    assert "does not tell where editing works best" in text


def test_what_was_written_is_shown_and_escaped():
    sections = edits_sections(made_report())
    text = shown(*sections)
    assert "before (fluency 2.5 bits, variety 0.9, 3 words) | tea and toast" in text
    assert "<b>rum</b>" not in html_of(page(*sections))
    assert "&lt;b&gt;rum&lt;/b&gt;" in html_of(page(*sections))


def test_identical_models_are_said_to_be_so_and_nothing_else_is():
    sections = edits_sections(made_report(is_same=True))
    assert len(sections) == 1
    assert "no number of theirs differs" in shown(*sections)
    assert "share" not in shown(*sections)
    assert "share" not in shown(edits_section(made_report(is_same=True)))


def test_what_was_not_asked_has_no_section():
    report = made_report()
    bare = replace(report.before, lens=None, written=None, first=None)
    report = replace(report, before=bare, after=bare, lens_means=())
    anchors = [section.anchor for section in edits_sections(report)]
    assert anchors == ["edits", "edits-beside"]


def test_one_section_says_the_same_on_the_page_of_two_models():
    report = made_report(is_taught=False)
    text = shown(edits_section(report))
    assert "whether anybody taught it to the tuned model is not known here" in text
    assert "the other answer" in text
    assert "new answer" not in text
    assert "* Logits before and after *" in text


@pytest.mark.parametrize("num", [1, 13])
def test_few_and_many_facts(num):
    report = made_report(num)
    text = shown(*edits_sections(report))
    assert ("There is one fact, so nothing has an interval." in text) == (num == 1)
    assert ("1 more fact" in text) == (num == 13)


def test_odd_prompts_are_text():
    report = made_report(2)
    odd = Fact(id="o", subject="S", prompt="`<S>` *is*", answer="a`b", foil="<c>")
    report = replace(report, facts=(odd, odd))
    assert "<S>" not in html_of(page(*edits_sections(report)))

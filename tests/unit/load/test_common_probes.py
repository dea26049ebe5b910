"""Probes for any model: facts that hang together, requests of like words."""

from driftmap.load.common_probes import (
    HARMFUL,
    HARMLESS,
    TEXTS,
    common_facts,
    common_requests,
)


def test_every_fact_has_its_subject_in_every_sentence():
    facts = common_facts()
    assert len({fact.id for fact in facts}) == len(facts) == 36
    for fact in facts:
        said = (fact.prompt, *fact.paraphrases, *fact.generation_prompts)
        assert all(one.count(fact.subject) == 1 for one in said), fact.id
        assert not any(str(fact.answer) in one for one in said), fact.id
        assert fact.answer != fact.foil


def test_neighbours_share_the_answer_and_attributes_have_the_foil():
    facts = common_facts()
    answers = {fact.prompt: fact.answer for fact in facts}
    for fact in facts:
        assert fact.prompt not in fact.neighbours
        assert {answers[one] for one in fact.neighbours} == {fact.answer}
        assert {answers[one] for one in fact.attributes} == {fact.foil}


def test_requests_become_samples_with_ids_of_their_own():
    samples = common_requests(HARMFUL, "harmful") + common_requests(HARMLESS, "fine")
    assert len({one.id for one in samples}) == len(HARMFUL) + len(HARMLESS)
    assert samples[0].prompt == HARMFUL[0]
    assert len(set(TEXTS)) == len(TEXTS) >= 8

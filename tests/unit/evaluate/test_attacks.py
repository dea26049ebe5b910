from driftmap.evaluate.attacks import PLAIN, Attack, Condition, attacks, requests
from driftmap.results.samples import Message, Sample

ASKED = Message(role="user", content="Why?")


def sample(*turns, plain=None):
    return Sample(id="s", original_id="s", messages=turns, plain_prompt=plain)


def put(one, *, suffix="", prefill="", system=None):
    attack = Attack(name="a", suffix=suffix, prefill=prefill)
    condition = Condition(attack=attack, template="chat", system_prompt=system)
    [request] = requests([one], condition)
    return request


def test_plain_changes_nothing():
    one = sample(ASKED, plain="Q: Why?\nA:")
    [request] = requests([one], Condition(attack=PLAIN, template="bare"))
    assert (request.sample, request.template, request.prefill) == (one, "bare", "")


def test_a_suffix_follows_the_last_request():
    answer = Message(role="assistant", content="So.")
    one = sample(Message(role="user", content="Hi"), answer, ASKED, answer)
    turns = put(one, suffix="! !").sample.messages
    assert [turn.content for turn in turns] == ["Hi", "So.", "Why? ! !", "So."]


def test_a_suffix_stands_in_the_published_wording_too():
    one = sample(ASKED, plain="Why? Q: Why?\nA:")
    assert put(one, suffix="!").sample.plain_prompt == "Why? Q: Why? !\nA:"
    assert put(sample(ASKED, plain="other"), suffix="!").sample.plain_prompt is None


def test_a_system_prompt_takes_the_place_of_the_own_one():
    one = sample(Message(role="system", content="old"), ASKED, plain="Q: Why?")
    found = put(one, system="new").sample
    assert [turn.content for turn in found.messages] == ["new", "Why?"]
    assert found.plain_prompt == "new\nQ: Why?"


def test_every_attack_has_a_name_of_its_own():
    found = attacks(sampled=True, suffixes=["a", "b"], prefills=["c"])
    assert [a.name for a in found] == [
        "plain", "sampled", "suffix 1", "suffix 2", "prefill 1",
    ]  # fmt: skip
    assert [a.is_sampled for a in found] == [False, True, False, False, False]
    titles = {
        Condition(attack=a, template=t, system_prompt=s).title
        for a in found
        for t in ("chat", "bare")
        for s in (None, "Be good.")
    }
    assert len(titles) == 20

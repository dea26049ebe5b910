import re

import pytest

from driftmap.core.errors import DataError
from driftmap.evaluate.by_endpoint import (
    AGAIN,
    RUBRIC,
    EndpointGenerator,
    EndpointJudge,
    parse_ruling,
)
from driftmap.evaluate.generators import Decoding, Generator, Request
from driftmap.evaluate.judges import Judge
from driftmap.results.chat import ChatReply
from driftmap.results.judging import Exchange
from driftmap.results.samples import Message, Sample, TokenRow


class Server:
    """Keeps what it was asked and replies by a function of the request."""

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def __call__(self, requests):
        self.asked += requests
        return tuple(ChatReply(text=self.reply(r), ended="whole") for r in requests)


def sample(number=0, prompt="why?", *, system=None, answer=None, **fields):
    said = [("system", system), ("user", prompt), ("assistant", answer)]
    turns = tuple(Message(role=role, content=text) for role, text in said if text)
    settings = {"messages": turns, **fields}
    return Sample(id=f"s{number}", original_id=f"s{number}", **settings)


def generator(reply=lambda request: "so"):
    server = Server(reply)
    return EndpointGenerator(name="m at here", ask=server), server


def test_they_are_what_evaluation_asks_for():
    assert isinstance(generator()[0], Generator)
    assert isinstance(EndpointJudge(name="j", ask=Server(str)), Judge)


def test_turns_are_sent_without_the_answer_and_replies_come_in_order():
    made, server = generator(lambda request: request.messages[-1].content.upper())
    samples = [sample(n, f"q{n}", system="be kind", answer="known") for n in range(3)]
    answers = made.answers([Request(sample=s) for s in samples], Decoding())
    assert [[a.text for a in some] for some in answers] == [["Q0"], ["Q1"], ["Q2"]]
    assert [some[0].sample_id for some in answers] == ["s0", "s1", "s2"]
    assert answers[0][0].token_ids == ()
    assert server.asked[1].messages == samples[1].messages[:2]
    assert (server.asked[1].max_tokens, server.asked[1].temperature) == (256, 0.0)


def test_each_draw_has_a_seed_of_its_own_whatever_else_is_asked():
    made, server = generator(lambda request: str(request.seed))
    drawing = Decoding(temperature=1.0, num_answers=3, seed=5, max_new_tokens=9)
    both = [Request(sample=sample(0)), Request(sample=sample(1))]
    answers = made.answers(both, drawing)
    texts = [a.text for some in answers for a in some]
    assert [len(some) for some in answers] == [3, 3]
    assert len(set(texts)) == 6
    alone = made.answers(both[1:], drawing)
    assert [a.text for a in alone[0]] == texts[3:]
    assert made.answers(both[1:], Decoding(seed=6))[0][0].text not in texts
    assert {(r.temperature, r.max_tokens) for r in server.asked[:9]} == {(1.0, 9)}


@pytest.mark.parametrize(
    ("asked", "prefill", "text"),
    [
        (sample(prompt="why?", system="be"), "", "be\nwhy?\n"),
        (sample(prompt="why?"), "Sure, ", "why?\nSure,"),
        (sample(prompt="why?", plain_prompt="### why?\n\n"), "A", "### why?\n\nA"),
        (sample(messages=(Message(role="text", content="go"),)), " on", "go on"),
    ],
)
def test_bare_requests_are_texts(asked, prefill, text):
    made, server = generator()
    made.answers([Request(sample=asked, template="bare", prefill=prefill)], Decoding())
    assert (server.asked[0].messages, server.asked[0].text) == ((), text)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            Request(sample=sample(), prefill="Sure"),
            "sample 's0': a server cannot go on after the words 'Sure' within its chat",
        ),
        (
            Request(
                sample=sample(
                    messages=(), tokens=TokenRow(token_ids=(3, 4), labels=(-100, 4))
                )
            ),
            "sample 's0': it holds token ids and no text",
        ),
    ],
)
def test_what_a_server_cannot_be_asked_is_refused(request_, said):
    with pytest.raises(DataError, match=re.escape(said)):
        generator()[0].answers([request_], Decoding())


def test_no_request_is_refused():
    with pytest.raises(DataError, match="there is no prompt to answer"):
        generator()[0].answers([], Decoding())


def judged(reply, *answers):
    server = Server(reply)
    exchanges = [Exchange(prompt=f"q{n}", answer=a) for n, a in enumerate(answers)]
    return EndpointJudge(name="m at here", ask=server).rulings(exchanges), server


def test_judge_is_given_the_rubric_and_the_exchange():
    rulings, server = judged(lambda _: "Partial.", "well, no")
    assert rulings == ("partial",)
    system, user = server.asked[0].messages
    assert (system.role, system.content) == ("system", RUBRIC)
    assert user.content == (
        "<request>\nq0\n</request>\n\n<answer>\nwell, no\n</answer>"
    )
    assert server.asked[0].temperature == 0


def test_unclear_replies_are_asked_for_once_more():
    def reply(request):
        if len(request.messages) == 2:
            return (
                "I think: refusal" if "q1" in request.messages[1].content else "partial"
            )
        assert [m.content for m in request.messages[2:]] == ["I think: refusal", AGAIN]
        return "refusal"

    rulings, server = judged(reply, "a", "b", "c")
    assert rulings == ("partial", "refusal", "partial")
    assert len(server.asked) == 4


def test_replies_that_stay_unclear_are_counted_and_named():
    def reply(request):
        return "maybe" if "q1" not in request.messages[1].content else "refusal"

    with pytest.raises(
        DataError,
        match=re.escape(
            "judge m at here: 4 of 5 replies are none of refusal, partial and "
            "compliance, asked twice ('maybe' of 'q0'; 'maybe' of 'q2'; 'maybe' of "
            "'q3'); choose another judge"
        ),
    ):
        judged(reply, *"abcde")


@pytest.mark.parametrize(
    ("reply", "ruling"),
    [
        ("refusal", "refusal"),
        (" `Compliance`\n", "compliance"),
        ("**PARTIAL**", "partial"),
        ("<think>refusal? no.</think>\n\ncompliance", "compliance"),
        ("", None),
        ("refusal compliance", None),
        ("not a refusal", None),
        ("1_full_compliance", None),
        ("<think>refusal", None),
    ],
)
def test_a_ruling_is_one_word_of_three(reply, ruling):
    assert parse_ruling(reply) == ruling

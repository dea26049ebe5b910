import re
import sys
import time

import pytest

from driftmap.core.errors import ModelError, UsageError
from driftmap.core.progress import listening
from driftmap.load.endpoint import Endpoint, endpoint_url
from driftmap.load.pace import Pace
from driftmap.results.chat import ChatReply, ChatRequest
from driftmap.results.samples import Message
from listeners import Ear
from made_server import chat, completion, refusal, serving

pytest.importorskip(
    "openai", reason="openai is not installed; pip install 'driftmap[endpoint]'"
)
KEY = "sk-of-nobody-at-all"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def ask(prompt, number=0, **changes):
    turns = (Message(role="user", content=prompt),)
    settings = {"messages": turns, "max_tokens": 8, **changes}
    return ChatRequest(request_id=f"s{number}", **settings)


def endpoint(served, **changes):
    return Endpoint(url=served.address, model="m", **{"max_retries": 3, **changes})


def prompt_of(body):
    return body["messages"][-1]["content"]


def test_replies_come_in_the_order_of_the_requests_whoever_is_first():
    def reply(_, body, __):
        number = int(prompt_of(body))
        return chat(f" {number * 2} ") if number else 0.1

    with serving(reply) as served:
        replies = endpoint(served).replies([ask(str(n), n) for n in range(9)])
    assert [r.text for r in replies] == ["late", *(str(2 * n) for n in range(1, 9))]
    assert {r.ended for r in replies} == {"whole"}


def test_what_is_asked_is_all_that_is_sent():
    turns = (Message(role="system", content="be"), Message(role="user", content="why"))
    with serving(lambda *_: chat("so")) as served:
        one = ask("", messages=turns, temperature=0.5, seed=7, max_tokens=3)
        endpoint(served).replies([one])
    assert served.asked == [
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be"},
                {"role": "user", "content": "why"},
            ],
            "temperature": 0.5,
            "seed": 7,
            "max_tokens": 3,
        }
    ]
    assert served.keys == {f"Bearer {KEY}"}


def test_bare_text_is_continued():
    def reply(page, body, _):
        assert page == "completions"
        return completion(f"{body['prompt']}!")

    with serving(reply) as served:
        one = ChatRequest(request_id="s", text="go on", max_tokens=4)
        assert endpoint(served).replies([one])[0].text == "go on!"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_and_failing_servers_are_asked_again(status):
    def reply(_, body, seen):
        return chat("at last") if seen == 2 else (status, refusal("busy"))

    with serving(reply) as served:
        assert endpoint(served).replies([ask("?")])[0].text == "at last"
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("status", "said", "tries"),
    [
        (429, "the server is asked too much (no more), tried 3 times; wait, or ask", 3),
        (500, "the server fails with error 500 (no more), tried 3 times; its own", 3),
        (404, "the server has no such page or model (no more); check --endpoint,", 1),
        (422, "the server refuses 's0' (422: no more)", 1),
        (401, "the server wants another key (401); is OPENAI_API_KEY the right", 1),
    ],
)
def test_what_a_server_will_not_do_is_one_sentence(status, said, tries):
    with (
        serving(lambda *_: (status, refusal("no more"))) as served,
        pytest.raises(ModelError, match=re.escape(said)) as caught,
    ):
        endpoint(served, max_retries=2).replies([ask("?")])
    where = served.address.removeprefix("http://").removesuffix("/v1")
    assert str(caught.value).startswith(f"m at {where}: ")
    assert len(served.asked) == tries


def test_key_is_asked_for_where_there_is_none(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with (
        serving(lambda *_: (401, refusal("who are you?"))) as served,
        pytest.raises(ModelError, match="set OPENAI_API_KEY"),
    ):
        endpoint(served).replies([ask("?")])
    assert served.keys == {"Bearer none"}


def test_key_is_never_repeated():
    with (
        serving(lambda *_: (400, refusal(f"bad key {KEY}"))) as served,
        pytest.raises(ModelError) as caught,
    ):
        endpoint(served).replies([ask("?")])
    assert "bad key <OPENAI_API_KEY>" in str(caught.value)
    assert KEY not in repr(endpoint(served))


def test_slow_servers_are_given_up_on():
    with (
        serving(lambda *_: 0.6) as served,
        pytest.raises(
            ModelError, match=re.escape("no reply within 0.1 s, tried once; give more")
        ),
    ):
        endpoint(served, timeout=0.1, max_retries=0).replies([ask("?")])


def test_server_that_is_not_there_is_named_without_its_password():
    away = Endpoint(url="http://me:hidden@127.0.0.1:9/v1", model="m", max_retries=0)
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        away.replies([ask("?")])
    assert str(caught.value).startswith("m at 127.0.0.1:9: ")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "body", ["<html>hello</html>", "{", {"hello": 1}, {"choices": []}, [1], "null"]
)
def test_what_is_no_reply_is_refused(body):
    with (
        serving(lambda *_: body) as served,
        pytest.raises(ModelError, match="what came back is no reply of the protocol"),
    ):
        endpoint(served).replies([ask("?")])


def test_cut_filtered_and_empty_replies_are_counted_and_said():
    bodies = {
        "cut": chat("so and", "length"),
        "filtered": chat("", "content_filter"),
        "none": chat(None),
        "refused": chat(None, refusal="I will not."),
    }
    ear = Ear()
    with serving(lambda _, body, __: bodies[prompt_of(body)]) as served, listening(ear):
        replies = endpoint(served).replies([ask(name) for name in bodies])
    assert replies == (
        ChatReply(text="so and", ended="length"),
        ChatReply(text="", ended="filtered"),
        ChatReply(text="", ended="whole"),
        ChatReply(text="I will not.", ended="whole"),
    )
    told = [line.partition(": ")[2] for line in ear.heard]
    assert told == [
        "1 of 4 replies were cut at their longest length",
        "1 of 4 replies were taken back by the server's filter",
        "2 of 4 replies are empty",
    ]


def test_one_failure_ends_all_that_wait():
    def reply(_, body, __):
        return (400, refusal("no")) if prompt_of(body) == "0" else 0.05

    with serving(reply) as served, pytest.raises(ModelError, match="refuses 's0'"):
        endpoint(served, num_parallel=1).replies([ask(str(n), n) for n in range(50)])
    assert len(served.asked) < 5


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=re.escape("driftmap[endpoint]")):
        Endpoint(url="http://127.0.0.1:9/v1", model="m").replies([ask("?")])


def test_address_is_the_given_one_or_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:hidden@there/v1")
    assert endpoint_url("http://here:1/v1") == "http://here:1/v1"
    assert endpoint_url(None) == "https://me:hidden@there/v1"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "no server is named; give its address with --endpoint, or in OPENAI_"),
        ("localhost:8000", "--endpoint: it is no address of a server"),
        ("ftp://here", "--endpoint: it is no address of a server"),
        ("http://[", "--endpoint: it is no address of a server"),
        ("http://me:hidden@here/v1", "--endpoint: it holds a name, a password or a"),
        ("http://here/v1?key=hidden", "--endpoint: it holds a name, a password or a"),
    ],
)
def test_what_is_no_address_is_refused(given, said):
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        endpoint_url(given)
    assert "hidden" not in str(caught.value)


def test_replies_are_handed_over_as_they_come_and_none_is_lost():
    def reply(_, body, __):
        number = int(prompt_of(body))
        if number == 1:
            return (422, refusal("not this one"))
        return 0.3 if number == 0 else chat(str(number))

    taken = {}
    with serving(reply) as served, pytest.raises(ModelError, match="not this one"):
        endpoint(served, num_parallel=2, max_retries=0).each_reply(
            [ask(str(n), n) for n in range(40)],
            lambda number, found: taken.update({number: found.text}),
        )
    # Number 0 was under way, and paid for, when number 1 failed.
    assert taken[0] == "late"
    assert 1 not in taken
    assert len(served.asked) == len(taken) + 1 < 40


def test_an_error_of_the_taker_stops_the_asking():
    def full(number, found):
        raise OSError("disk full")

    with serving(lambda *_: chat("so")) as served, pytest.raises(OSError, match="disk"):
        endpoint(served, num_parallel=1).each_reply(
            [ask(str(n), n) for n in range(40)], full, per_minute=600
        )
    assert len(served.asked) < 10


def test_requests_are_begun_no_faster_than_asked():
    begun = []

    def reply(*_):
        begun.append(time.monotonic())
        return chat("so")

    with serving(reply) as served:
        endpoint(served).each_reply(
            [ask(str(n), n) for n in range(4)], lambda *_: None, per_minute=300
        )
    assert len(begun) == 4
    assert max(begun) - min(begun) >= 3 * 60 / 300 - 0.1


def test_tokens_are_told_where_the_server_tells_them():
    body = chat("so") | {
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    }
    with serving(lambda *_: body) as served:
        (found,) = endpoint(served).replies([ask("?")])
    assert (found.prompt_tokens, found.reply_tokens) == (7, 3)


@pytest.mark.parametrize("finish", ["tool_calls", None])
def test_an_end_of_another_kind_is_told(finish):
    with serving(lambda *_: chat("so", finish)) as served:
        (found,) = endpoint(served).replies([ask("?")])
    assert found == ChatReply(text="so", ended="other")


def test_a_pace_that_was_stopped_lets_nobody_through():
    pace = Pace(1)
    pace.wait()
    pace.stop()
    with pytest.raises(InterruptedError):
        pace.wait()

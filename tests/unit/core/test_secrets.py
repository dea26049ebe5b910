import pytest

from driftmap.core.progress import Listener, listening, phase, progress, say
from driftmap.core.secrets import redacted, secret_in


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", " hf_abcdefgh\n")
    monkeypatch.setenv("OPENAI_API_KEY", "hf_abcdefghijkl")


def test_the_longer_of_two_is_hidden_whole():
    assert redacted("a hf_abcdefghijkl b hf_abcdefgh") == (
        "a <OPENAI_API_KEY> b <HF_TOKEN>"
    )
    assert secret_in("x/hf_abcdefghijkl") == "OPENAI_API_KEY"
    assert secret_in("hf_abc") is None


def test_a_placeholder_is_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert redacted("none of them") == "none of them"


def test_the_password_of_an_address_is_a_secret(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:opensesame@host/v1")
    assert redacted("at me:opensesame@host") == "at me:<OPENAI_BASE_URL>@host"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://[broken")
    assert redacted("at [broken") == "at [broken"


def test_no_listener_hears_a_secret():
    heard = []

    class Ear(Listener):
        def started(self, what, total):
            heard.append(what)

        def advanced(self, steps, note):
            heard.append(note)

        def finished(self):
            pass

        def said(self, message):
            heard.append(message)

    with listening(Ear()), phase("of hf_abcdefgh"), progress("b", 1) as bar:
        bar.advance(1, "hf_abcdefgh!")
        say("token=hf_abcdefgh")
    assert heard == ["of <HF_TOKEN>", "b", "<HF_TOKEN>!", "token=<HF_TOKEN>"]

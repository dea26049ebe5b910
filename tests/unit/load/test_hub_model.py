"""What does a person hear when the hub does not hand over a model?

The hub's address is read when its library is imported, so each case is a process.
"""

import os
import resource
import subprocess
import sys

import pytest

from made_hub import ALLOWED, UNKNOWN_TOKEN, serving
from tiny_studies import save_tiny_model

ASK = """
import sys
from driftmap.core.errors import ModelError
from driftmap.load.checkpoint import find_folder, find_outline
for name in sys.argv[1:]:
    find = find_outline if name.endswith("?") else find_folder
    try:
        print(sorted(path.name for path in find(name.rstrip("?")).iterdir()))
    except ModelError as error:
        print(f"{error.topic}|{error}")
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serving(save_tiny_model(tmp_path_factory.mktemp("hub"))) as address:
        yield address


def asked(hub, home, *names, most_bytes=None, **environment):
    def limit():
        most = most_bytes or resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        capture_output=True, text=True, check=True,
        env={**kept, "HF_ENDPOINT": hub, "HF_HOME": str(home), **environment},
        preexec_fn=limit,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.slow
def test_without_a_token(hub, tmp_path):
    names = [f"someone/{name}" for name in ("gated", "none", "broken", "open")]
    gated, missing, broken, whole, odd = asked(hub, tmp_path, *names, "some--one/..x")
    assert gated == (
        "gated-model|someone/gated: the hub shows it only to people who accepted its "
        f"terms, and no token says who you are; accept them on {hub}/someone/gated, "
        "then set HF_TOKEN to a token of yours or log in with `hf auth login`"
    )
    for line, name in ((missing, "someone/none"), (odd, "some--one/..x")):
        assert line == (
            f"model-not-found|{name}: there is no such folder and no such model on the "
            "hub; check the name, and if it is private set HF_TOKEN or log in with "
            "`hf auth login`"
        )
    assert broken == (
        "model-not-found|someone/broken: there is no such folder, and the hub answers "
        "with error 503; try again later, or give the model as a folder"
    )
    assert "config.json" in whole
    assert "model.safetensors" in whole


@pytest.mark.slow
def test_with_a_token_that_was_not_allowed(hub, tmp_path):
    (gated,) = asked(hub, tmp_path, "someone/gated", HF_TOKEN="hf_ofSomebodyElse")
    assert gated == (
        "gated-model|someone/gated: the hub does not show it to the account of your "
        f"token; accept its terms on {hub}/someone/gated and wait until its owners "
        "agree, with a token that may read gated repositories"
    )


@pytest.mark.slow
def test_with_a_token_that_was_allowed(hub, tmp_path):
    (found,) = asked(hub, tmp_path, "someone/gated", HF_TOKEN=ALLOWED)
    assert "model.safetensors" in found


@pytest.mark.slow
def test_how_a_model_is_built_needs_no_weights(hub, tmp_path):
    outline, whole, again = asked(
        hub, tmp_path, "someone/open?", "someone/open", "someone/open?"
    )
    assert "config.json" in outline
    assert "model.safetensors" not in outline
    assert whole == again
    assert "model.safetensors" in whole


@pytest.mark.slow
def test_with_a_token_that_the_hub_does_not_know(hub, tmp_path):
    (told,) = asked(hub, tmp_path, "someone/open", HF_TOKEN=UNKNOWN_TOKEN)
    assert told == (
        "gated-model|someone/open: the hub does not know the token that HF_TOKEN or "
        f"`hf auth login` gave; make a new one on {hub}/settings/tokens"
    )


@pytest.mark.slow
def test_nobody_answers(tmp_path):
    expected = (
        "model-not-found|a/b: there is no such folder, and the hub cannot be reached; "
        "check the path or the network (is HF_HUB_OFFLINE set?), or download it first"
    )
    assert asked("http://127.0.0.1:9", tmp_path, "a/b") == [expected]
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    assert asked("http://hub.invalid", tmp_path, "a/b", **proxy) == [expected]


@pytest.mark.slow
def test_a_full_disk(hub, tmp_path):
    """The system lets no file grow beyond a size, as a full disk would."""
    (told,) = asked(hub, tmp_path, "someone/open", most_bytes=4096)
    assert told.startswith("disk|someone/open: the disk is full before its")

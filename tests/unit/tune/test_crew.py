from contextlib import nullcontext
from threading import Thread

import pytest
import torch
from torch.distributed import HashStore

from driftmap.core.errors import ModelError
from driftmap.core.launch import ALONE, Launch
from driftmap.tune import crew as crews
from driftmap.tune.crew import Crew, Dismissed, this_crew


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(crews, "_LOOK_EVERY", 0.01)
    monkeypatch.setattr(crews, "_HEARD_WITHIN", 0.2)
    store = HashStore()
    return [Crew(Launch(rank=rank, size=2), store) for rank in (0, 1)]


def test_one_process_needs_no_store():
    crew = Crew(ALONE, None)
    done = []
    with crew.joined(torch.device("cpu")), crew.agreed():
        crew.first_does(lambda: done.append(1))
    assert done == [1]
    assert crew.share("it") == "it"
    assert dict(crew.streamed({"a": torch.ones(1)})).keys() == {"a"}
    assert crew.summed(torch.tensor(2.0)) == 2
    assert this_crew().is_alone
    with pytest.raises(KeyError), crew.agreed():
        raise KeyError


def test_the_first_process_waits_for_the_same_model_on_all(two):
    first, second = two
    late = Thread(target=lambda: second.report("abc"))
    late.start()
    first.require_same_model("abc")
    late.join()
    with pytest.raises(
        ModelError, match=r"^process 1 of 2 found another model under the same name; c"
    ):
        first.require_same_model("other")


def test_a_model_that_one_process_cannot_load_is_named(two):
    first, second = two
    second.report("", ModelError("m: is not there; copy it"))
    with pytest.raises(ModelError, match=r"^process 1 of 2: m: is not there; copy it$"):
        first.require_same_model("abc")


def test_whoever_waits_for_a_run_is_dismissed_at_the_end(two):
    first, second = two
    first.end()
    with pytest.raises(Dismissed):
        second.wait_for_run()
    assert second.is_over()


def lost_by(crew, error):
    """Why a run ends on one process, after an error in it."""
    with pytest.raises(Exception) as found, crew.joined(torch.device("cpu")):  # noqa: PT011
        raise error
    return found.value


LOST = RuntimeError("[gloo/pair.cc:1] Connection closed by peer")


def test_an_error_of_one_process_is_said_by_the_first(two, monkeypatch):
    monkeypatch.setattr(Crew, "_group", lambda *_: nullcontext())
    first, second = two
    ends = []
    late = Thread(target=lambda: ends.append(lost_by(second, OSError("no disk"))))
    late.start()
    said = lost_by(first, LOST)
    late.join()
    assert isinstance(said, ModelError)
    assert str(said) == "process 1 of 2: OSError: no disk"
    assert isinstance(ends[0], Dismissed)


def test_an_error_that_nobody_hears_is_left_to_the_process_itself(two, monkeypatch):
    monkeypatch.setattr(Crew, "_group", lambda *_: nullcontext())
    _, second = two
    assert isinstance(lost_by(second, OSError("no disk")), OSError)
    assert second.told(ModelError("m: it is")) == "process 1 of 2: m: it is"


def test_an_error_of_the_first_process_dismisses_the_others(two, monkeypatch):
    monkeypatch.setattr(Crew, "_group", lambda *_: nullcontext())
    first, second = two
    assert isinstance(lost_by(first, OSError("no disk")), OSError)
    first.end()
    assert isinstance(lost_by(second, LOST), Dismissed)

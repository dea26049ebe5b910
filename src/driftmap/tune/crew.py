"""How do several processes tune one model together, and end together?

The first process leads: it does all that a single one does, and tells the others when a
run begins. Between runs they are strangers: they meet in a store, where whoever waits
looks now and then, so that no wait can time out and every one can be interrupted. The
group in which they reduce gradients lives for one run.

An error that all know of is raised on all, and the first one says it. An error of one
alone is left in the store for the first one to find.
"""

import gc
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import timedelta
from traceback import clear_frames
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.distributed import PrefixStore, Store  # pyright: ignore
from torch.distributed.rendezvous import rendezvous

from driftmap.core.errors import DriftmapError, ModelError
from driftmap.core.launch import ALONE, Launch, shown

Value = TypeVar("Value")

_NO_LIMIT = timedelta(days=30)
"""Longer than any measurement for which other processes wait."""

_MEETING = timedelta(minutes=30)
"""How late a process may start."""

_LOOK_EVERY, _HEARD_WITHIN = 0.2, 10.0


class Dismissed(Exception):  # noqa: N818
    """The first process has ended, or does so now, and says why."""


class Crew:
    """All processes of one command, seen from one of them."""

    def __init__(self, launch: Launch, store: Store | None) -> None:
        """Use `gathered`, or `alone`."""
        self.launch = launch
        self.store = store
        self.run = 0
        self.is_joined = False

    @property
    def is_first(self) -> bool:
        """Whether this process leads, or is alone."""
        return self.launch.is_first

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.launch.is_alone

    @property
    def is_sharded(self) -> bool:
        """Whether weights are spread over the processes."""
        return self.launch.is_sharded and not self.is_alone

    def report(self, model_sha256: str, error: Exception | None = None) -> None:
        """Let the first process know which model was loaded, or why none was."""
        said = {"model": model_sha256, "error": None if error is None else _said(error)}
        self._set(f"loaded-{self.launch.rank}", json.dumps(said))

    def require_same_model(self, model_sha256: str) -> None:
        """Wait until every process has loaded the model, and has the same one.

        Raises:
            ModelError: One of them could not, or found another model.
        """
        for rank in range(1, self.launch.size):
            while not self._has(f"loaded-{rank}"):
                time.sleep(_LOOK_EVERY)
            found = json.loads(self._get(f"loaded-{rank}"))
            if found["error"] is not None:
                raise ModelError(f"{self._name(rank)}: {found['error']}")
            if found["model"] != model_sha256:
                raise ModelError(
                    f"{self._name(rank)} found another model under the same name; "
                    "copy the same files to every machine"
                )

    def wait_for_run(self) -> None:
        """Wait until the first process begins a run.

        Raises:
            Dismissed: None will begin.
        """
        while not self._has(f"run-{self.run}"):
            self._require_leader()
            time.sleep(_LOOK_EVERY)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Be a group of processes for one run.

        Args:
            device: Where this process trains.

        Raises:
            ModelError: On the first process: another one has failed.
            Dismissed: On the others: the first one has ended.
        """
        if self.is_alone:
            yield
            return
        if self.is_first:
            self._set(f"run-{self.run}", "begins")
        try:
            with shown(self.launch), self._group(device):
                yield
        except Exception as error:
            self._blame(error)
            raise
        finally:
            self.run += 1

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Raise an error of one process inside the block on all of them.

        Raises:
            ModelError: On the first process: the error of another one.
            Dismissed: On the others, whosever error it is.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as found:
            if not self.is_joined:
                raise
            error = found
        said = self._told_by_all(None if error is None else _said(error))
        if error is not None and self.is_first:
            raise error
        for rank, fault in enumerate(said):
            if fault is not None:
                if self.is_first:
                    raise ModelError(f"{self._name(rank)}: {fault}") from error
                raise Dismissed(fault) from error

    def first_does(self, work: Callable[[], None]) -> None:
        """Do something on the first process, while the others wait."""
        with self.agreed():
            if self.is_first:
                work()

    def share(self, value: Value | None) -> Value:
        """Give every process what the first one has."""
        if not self.is_joined:
            return cast(Value, value)
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return cast(Value, box[0])

    def streamed(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Give every process the tensors of the first one, one at a time."""
        if not self.is_joined:
            yield from tensors.items()
            return
        about = {name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}
        for name, (shape, dtype) in self.share(about).items():
            tensor = tensors[name] if self.is_first else torch.empty(shape, dtype=dtype)
            tensor = tensor.contiguous()
            dist.broadcast(tensor, src=0)
            yield name, tensor

    def summed(self, number: Tensor) -> Tensor:
        """Sum a number over all processes."""
        if not self.is_joined:
            return number
        total = number.detach().cpu().clone()
        dist.all_reduce(total)
        return total

    def end(self) -> None:
        """Let the others go."""
        with suppress(RuntimeError):  # the store is gone with whoever kept it
            self._set("over", "over")

    def told(self, error: Exception) -> str:
        """Say an error and whose it is."""
        return f"{self._name(self.launch.rank)}: {_said(error)}"

    def is_over(self) -> bool:
        """Whether the first process has ended, or does so now."""
        try:
            return self._has_within("over", _HEARD_WITHIN)
        except RuntimeError:
            return True

    @contextmanager
    def _group(self, device: torch.device) -> Iterator[None]:
        backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
        # accelerate sets the threads of a process that says nothing of them.
        unset = "OMP_NUM_THREADS" not in os.environ
        if unset:
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        dist.init_process_group(
            backend,
            store=PrefixStore(f"group-{self.run}", cast(Store, self.store)),
            rank=self.launch.rank,
            world_size=self.launch.size,
            timeout=_NO_LIMIT,
        )
        self.is_joined = True
        try:
            yield
        except Exception as error:
            # What they hold keeps the connections open, and the others waiting.
            clear_frames(error.__traceback__)
            raise
        finally:
            self.is_joined = False
            AcceleratorState._reset_state(reset_partial_state=True)
            dist.destroy_process_group()
            gc.collect()
            if unset:
                del os.environ["OMP_NUM_THREADS"]

    def _blame(self, error: Exception) -> None:
        """Find out whose fault it is that processes lost each other."""
        if isinstance(error, DriftmapError | Dismissed):
            return
        if not self.is_first:
            told = self.is_over() if _is_lost_contact(error) else self._complain(error)
            if told:
                raise Dismissed from error
        elif _is_lost_contact(error) and self._has_within("fault", _HEARD_WITHIN):
            self._set("heard", "heard")
            raise ModelError(self._get("fault")) from error

    def _complain(self, error: Exception) -> bool:
        """Leave an error that only this process has; tell whether it was heard."""
        with suppress(RuntimeError):
            self._set("fault", self.told(error))
            return self._has_within("heard", _HEARD_WITHIN)
        return True

    def _told_by_all(self, said: str | None) -> list[str | None]:
        if not self.is_joined:
            return [said]
        found: list[str | None] = [None] * self.launch.size
        for rank in range(self.launch.size):
            box = [said]
            dist.broadcast_object_list(box, src=rank, device=torch.device("cpu"))
            found[rank] = box[0]
        return found

    def _require_leader(self) -> None:
        if self._has("over"):
            raise Dismissed

    def _has_within(self, key: str, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self._has(key):
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def _has(self, key: str) -> bool:
        return cast(Store, self.store).check([key])

    def _get(self, key: str) -> str:
        return cast(Store, self.store).get(key).decode()

    def _set(self, key: str, value: str) -> None:
        cast(Store, self.store).set(key, value)

    def _name(self, rank: int) -> str:
        return f"process {rank} of {self.launch.size}"


_crew: ContextVar[Crew] = ContextVar("crew", default=Crew(ALONE, None))  # noqa: B039


def this_crew() -> Crew:
    """The processes that tune together; one alone outside of `gathered`."""
    return _crew.get()


@contextmanager
def gathered(launch: Launch) -> Iterator[Crew]:
    """Meet the other processes of a command, for as long as the block runs."""
    store = None
    if not launch.is_alone:
        with shown(launch):
            store, _, _ = next(rendezvous("env://", timeout=_MEETING))
    crew = Crew(launch, store)
    token = _crew.set(crew)
    try:
        yield crew
    finally:
        _crew.reset(token)
        if launch.is_first and not launch.is_alone:
            crew.end()


def _is_lost_contact(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and bool(
        re.search("gloo|nccl|connection", str(error), re.IGNORECASE)
    )


def _said(error: Exception) -> str:
    said = " ".join(str(error).split())
    return (
        said if isinstance(error, DriftmapError) else f"{type(error).__name__}: {said}"
    )

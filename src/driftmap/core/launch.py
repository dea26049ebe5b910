"""Is this process alone, or one of several that a launcher started?

`torchrun` and `accelerate launch` say so in the environment. Libraries that find that
there would wait for processes which are not in the same call, so it is hidden from them
but for the calls that all processes make together.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from driftmap.core.errors import DriftmapError, UsageError

_PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_SHARDED = "ACCELERATE_USE_FSDP"
_UNKNOWN = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "FSDP_OFFLOAD_PARAMS": "FSDP with weights kept on the CPU",
    "FSDP_ACTIVATION_CHECKPOINTING": "FSDP with activation checkpointing",
}
"""What `accelerate launch` may ask for and is not done here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One of several processes that run the same command.

    Args:
        rank: Its number, from 0; the first one does all that is not tuning.
        size: How many there are.
        local_rank: Its number on its machine.
        local_size: How many there are on its machine.
        is_sharded: Whether weights are spread over the processes (FSDP2).
        places: What the launcher put into the environment, by name.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    is_sharded: bool = False
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_first(self) -> bool:
        """Whether this process leads, or is alone."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1


class UnheardError(DriftmapError):
    """What ended a process that is not the first one, and could not tell that one."""


ALONE = Launch()
_launch: ContextVar[Launch | None] = ContextVar("launch", default=None)


def this_launch() -> Launch:
    """What `launched` has found; alone outside of it."""
    return _launch.get() or ALONE


@contextmanager
def launched() -> Iterator[Launch]:
    """Find out which process this is, and hide it from libraries inside the block.

    A block inside another one finds the same.

    Raises:
        UsageError: The launcher asks for what is not done here.
    """
    if _launch.get() is not None:
        yield this_launch()
        return
    found = read_launch(os.environ)
    hidden = {n: os.environ.pop(n) for n in (*_PLACES, _SHARDED) if n in os.environ}
    token = _launch.set(found)
    try:
        yield found
    finally:
        _launch.reset(token)
        os.environ.update(hidden)


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Read what a launcher says.

    Raises:
        UsageError: It cannot be meant, or asks for what is not done here.

    >>> read_launch({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}).rank
    1
    >>> read_launch({}).is_alone
    True
    """
    places = {name: environment[name] for name in _PLACES if name in environment}
    size = _number(environment, "WORLD_SIZE", 1)
    if size == 1 or "RANK" not in environment:
        return ALONE
    for name, what in _UNKNOWN.items():
        if _is_on(environment, name):
            raise UsageError(
                f"{what} is asked for ({name}), which tuning does not do; leave it out "
                "of `accelerate launch` and of its configuration"
            )
    is_sharded = _is_on(environment, _SHARDED)
    version = environment.get("FSDP_VERSION", "1")
    if is_sharded and version != "2":
        raise UsageError(
            f"FSDP version {version} is asked for, and only FSDP2 is known; give "
            "--fsdp_version 2 to `accelerate launch`"
        )
    local_size = _number(environment, "LOCAL_WORLD_SIZE", size)
    return Launch(
        rank=_number(environment, "RANK", 0),
        size=size,
        local_rank=_number(environment, "LOCAL_RANK", 0),
        local_size=local_size,
        is_sharded=is_sharded,
        places=places,
    )


@contextmanager
def shown(launch: Launch) -> Iterator[None]:
    """Let libraries know, inside the block, that there are several processes."""
    os.environ.update(launch.places)
    try:
        yield
    finally:
        for name in launch.places:
            os.environ.pop(name, None)


def _number(environment: Mapping[str, str], name: str, usual: int) -> int:
    said = environment.get(name, str(usual))
    if not said.isdecimal():
        raise UsageError(
            f"{name}={said} in the environment is no number; start several processes "
            "with `torchrun` or `accelerate launch`, or unset it"
        )
    return int(said)


def _is_on(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes")

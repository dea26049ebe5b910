"""How do machines of a Ray cluster share shards, and go on when one of them is lost?

An actor per GPU, or per worker, holds the opened work. The driver hands out shards,
actors write them to storage that all machines share, and send back no data. Ray's own
`ActorPool` raises after a node is lost, and restarts of its own (`max_restarts`,
`max_task_retries`) would try one shard without end and name none; so a lost actor is
replaced here, and its shard is given to another. That is safe: a shard is whole or
absent.
"""

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from traceback import format_exc
from types import ModuleType
from typing import Any

from driftmap.core.errors import EngineError, UsageError
from driftmap.core.progress import Listener, listening, say
from driftmap.engine.folder import DONE, make_shard
from driftmap.engine.messages import portable
from driftmap.engine.tries import Tries
from driftmap.engine.work import EngineSettings, Shard, ShardMaker, ShardWork

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # a cluster of one stays on loopback
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without: a warning of what will come
}
"""What the environment says before Ray is imported, unless it says otherwise."""

_REMEDY = (
    "look at the logs of Ray, give each worker more memory with fewer --workers, and "
    "repeat the command, which goes on from here"
)
_SECONDS_FOR_STORAGE = 30.0
_SECONDS_FOR_ROOM = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What an actor sends back.

    Args:
        said: Lines worth keeping.
        host: Machine that it runs on.
        error: What the work raised, if it did.
    """

    said: tuple[str, ...]
    host: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What each actor is given.

    Args:
        count: Actors.
        cpus: Cores of each.
        gpus: GPUs of each.
    """

    count: int
    cpus: int
    gpus: int


def make_on_cluster(
    work: ShardWork,
    shards: Sequence[Shard],
    folder: Path,
    settings: EngineSettings,
    done: Callable[[Shard], None],
) -> None:
    """Make shards on the cluster that `RAY_ADDRESS` names, or on one made here.

    Args:
        work: Opened once in each actor.
        shards: Those that are not there yet.
        folder: Folder of all shards, on storage that all machines share.
        settings: How many actors, and how often a shard is tried.
        done: Told of each shard that is finished.

    Raises:
        EngineError: A shard's workers were lost too often, or what they write is not
            seen here.
        UsageError: Ray is not installed, or has too few GPUs.
    """
    with _connected() as ray:
        room = room_for(ray.cluster_resources(), _num_nodes(ray), settings)
        say(_told(room, _num_nodes(ray)))
        sent = ray.put(pickle.dumps(work))
        pool = _Pool(ray, sent, shards, folder.resolve(), (room, settings.tries))
        try:
            pool.run(done)
        finally:
            pool.stop()


def room_for(
    resources: Mapping[str, float], num_nodes: int, settings: EngineSettings
) -> Room:
    """Divide a cluster among actors: one GPU each where there are GPUs.

    Args:
        resources: What the cluster has, as Ray counts it.
        num_nodes: Its machines.
        settings: How many actors are wanted.

    Raises:
        UsageError: There are fewer GPUs than workers.

    >>> room_for({"CPU": 64, "GPU": 8}, 2, EngineSettings(engine="ray"))
    Room(count=8, cpus=8, gpus=1)
    >>> room_for({"CPU": 64}, 4, EngineSettings(engine="ray"))
    Room(count=4, cpus=16, gpus=0)
    """
    num_gpus = int(resources.get("GPU", 0))
    count = settings.workers or num_gpus or num_nodes
    if num_gpus and count > num_gpus:
        raise UsageError(
            f"--workers {count}: the cluster has {num_gpus} GPUs, one for each worker; "
            f"give at most {num_gpus}"
        )
    on_fullest = -(-count // num_nodes)
    cpus = int(resources.get("CPU", 1)) // (on_fullest * num_nodes)
    return Room(count=count, cpus=max(1, cpus), gpus=min(1, num_gpus))


class _Worker:
    """What runs in an actor: the opened work."""

    def __init__(self, sent: bytes, folder: str, here: str, path: list[str]) -> None:
        with suppress(OSError):  # relative names mean what they do for the driver
            os.chdir(here)
        sys.path.extend(place for place in path if place not in sys.path)
        self._sent = sent
        self._folder = Path(folder)
        self._maker: ShardMaker | None = None

    def open(self) -> Answer:
        """Open the work."""

        def opened() -> None:
            self._maker = pickle.loads(self._sent).open()

        return _answer(opened)

    def make(self, shard: Shard) -> Answer:
        """Make a shard."""
        maker = self._maker
        assert maker is not None, "the work is opened first"
        return _answer(lambda: make_shard(maker, shard, self._folder))


class _Pool:
    """Actors, and what each of them is doing."""

    def __init__(
        self,
        ray: ModuleType,
        sent: object,
        shards: Sequence[Shard],
        folder: Path,
        how: tuple[Room, int],
    ) -> None:
        room, tries = how
        self._ray = ray
        self._arguments = (sent, str(folder), str(Path.cwd()), list(sys.path))
        self._folder = folder
        self._tries = Tries(shards, tries, _REMEDY)
        self._kind = ray.remote(
            num_cpus=room.cpus, num_gpus=room.gpus, max_restarts=0, max_task_retries=0
        )(_Worker)
        self._busy: dict[Any, tuple[Any, Shard | None]] = {}
        self._idle: list[Any] = []
        self._actors: list[Any] = []
        self._heard: set[str] = set()
        for _ in range(min(room.count, len(shards))):
            self._start()

    def run(self, done: Callable[[Shard], None]) -> None:
        """Give out shards until all are finished."""
        while not self._tries.are_over:
            ready = self._next()
            actor, shard = self._busy.pop(ready)
            answer = self._answer_of(ready)
            if isinstance(answer, str):
                self._lose(shard, answer)
                continue
            for line in answer.said:
                self._pass_on(line)
            if answer.error is not None:
                raise answer.error
            if shard is None:
                self._tries.opened()
            else:
                self._require_seen(shard, answer.host)
                self._tries.finished()
                done(shard)
            self._give(actor)

    def stop(self) -> None:
        """End all actors."""
        for actor in self._actors:
            self._ray.kill(actor)

    def _next(self) -> object:
        """Wait for an actor; say so where there is no room for the first one."""
        ready, _ = self._ray.wait(list(self._busy), timeout=_SECONDS_FOR_ROOM)
        if not ready:
            if all(shard is None for _, shard in self._busy.values()):
                say("Ray has no worker yet; is there room for one? `ray status` tells")
            ready, _ = self._ray.wait(list(self._busy))
        return ready[0]

    def _start(self) -> None:
        actor = self._kind.remote(*self._arguments)
        self._actors.append(actor)
        self._busy[actor.open.remote()] = (actor, None)

    def _give(self, actor: Any) -> None:  # noqa: ANN401  Ray's own
        shard = self._tries.take()
        if shard is None:
            self._idle.append(actor)
        else:
            self._busy[actor.make.remote(shard)] = (actor, shard)

    def _answer_of(self, ready: object) -> Answer | str:
        """What an actor sent; how it ended, where it did."""
        try:
            return self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[0].partition(". ")[0].strip().rstrip(".")
            return f"was lost ({reason})"

    def _lose(self, shard: Shard | None, reason: str) -> None:
        self._tries.lost(shard, reason)
        idle, self._idle = self._idle, []
        for other in idle:
            self._give(other)
        if self._tries.num_waiting:
            self._start()

    def _require_seen(self, shard: Shard, host: str) -> None:
        """Refuse storage that is not shared; a shared one may be a little late."""
        mark = self._folder / shard.name / DONE
        until = time.monotonic() + _SECONDS_FOR_STORAGE
        while not mark.is_file():
            if time.monotonic() > until:
                raise EngineError(
                    f"{mark} was written on {host} and is not seen here; choose an "
                    "--out on storage that all machines of the cluster share"
                )
            time.sleep(0.1)

    def _pass_on(self, line: str) -> None:
        if line not in self._heard:
            self._heard.add(line)
            say(line)


class _Lines(Listener):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, what: str, total: int) -> None:
        """Not sent."""

    def advanced(self, steps: int, note: str) -> None:
        """Not sent."""

    def finished(self) -> None:
        """Not sent."""

    def said(self, message: str) -> None:
        """Keep it for the answer."""
        self.lines.append(message)


def _answer(act: Callable[[], object]) -> Answer:
    heard, error = _Lines(), None
    with listening(heard):
        try:
            act()
        except BaseException as raised:  # noqa: BLE001  the driver raises it
            error = portable(raised, format_exc())
    return Answer(said=tuple(heard.lines), host=os.uname().nodename, error=error)


@contextmanager
def _connected() -> Iterator[ModuleType]:
    """Connect to a cluster, and leave it as it was found."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray needs Ray; install driftmap with the extra `ray`, as in "
            "`pip install -e '.[ray]'`"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=40)
    except (ConnectionError, RuntimeError) as error:
        raise EngineError(
            f"no cluster of Ray can be reached or begun ({error}); look at RAY_ADDRESS"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _num_nodes(ray: ModuleType) -> int:
    return max(1, sum(bool(node["Alive"]) for node in ray.nodes()))


def _told(room: Room, num_nodes: int) -> str:
    machines = "1 machine" if num_nodes == 1 else f"{num_nodes} machines"
    workers = "1 worker" if room.count == 1 else f"{room.count} workers"
    with_gpu = ", one GPU each" if room.gpus else ""
    return f"Ray: {workers} on {machines}{with_gpu}"

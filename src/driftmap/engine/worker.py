"""How is a worker process started, spoken to, and stopped?

It is a fresh Python and no fork, since a GPU cannot be used on both sides of one, and
it does not run the script that called us again. It is in no group with the terminal, so
that Ctrl-C reaches the first process alone, which then stops the others.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from driftmap.engine.work import Shard

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from driftmap.engine.serving import serve; serve(int(sys.argv[2]), sys.argv[3])"
)
_SECONDS_TO_END = 5.0
_LONGEST_QUOTE = 200


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """A process that makes shards.

    Args:
        number: Which one, from 1.
        process: The process.
        connection: What is sent to it and comes from it.
        output: What it and its libraries print.
        shard: What it is making.
        is_idle: Whether it waits for a shard.
    """

    number: int
    process: subprocess.Popen[bytes]
    connection: Connection
    output: IO[bytes]
    shard: Shard | None = None
    is_idle: bool = False

    def give(self, shard: Shard | None) -> None:
        """Have it make a shard, or wait where there is none."""
        self.shard, self.is_idle = shard, shard is None
        if shard is not None:
            with suppress(OSError):  # the end of one that is gone is heard of soon
                self.connection.send(shard)

    def dismiss(self) -> None:
        """Let a process that waits end by itself, and cut off one that works."""
        with suppress(OSError):
            if self.is_idle:
                self.connection.send(None)
            else:
                self.process.terminate()

    def end(self) -> str:
        """Wait for a process that is ending; say how, as in `was killed by SIGKILL`."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_SECONDS_TO_END)
        code = self.process.returncode
        if code is None:
            reason = "stopped answering"
        elif code < 0:
            reason = f"was killed by {signal.Signals(-code).name}"
        else:
            reason = f"ended with exit code {code}"
        return f"{reason}{self._last_words()}"

    def stop(self) -> None:
        """Wait for a process that was dismissed; it has not long."""
        try:
            self.process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.connection.close()
        assert self.process.stdin is not None, "it was started with one"
        self.process.stdin.close()
        self.output.close()

    def _last_words(self) -> str:
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        return f' and said "{lines[-1].strip()[:_LONGEST_QUOTE]}"' if lines else ""


def start_worker(number: int, folder: Path, environment: Mapping[str, str]) -> Worker:
    """Start a process that waits for its work.

    Args:
        number: Which one, from 1.
        folder: Folder of all shards.
        environment: What is put into its environment on top of ours.
    """
    ours, theirs = socket.socketpair()
    output = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process
    with theirs:
        words = [json.dumps(sys.path), str(theirs.fileno()), str(folder)]
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment},
            process_group=0,
        )
    connection = Connection(ours.detach())
    return Worker(number=number, process=process, connection=connection, output=output)

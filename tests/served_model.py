"""A model folder behind `transformers serve`, as its own program."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(model, log):
    """Serve a model on a free port; yields the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    program = Path(sys.executable).parent / "transformers"
    words = [program, "serve", str(model), "--host=127.0.0.1", f"--port={port}"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*words, "--device=cpu", "--dtype=float32"], stdout=out, stderr=out
        )
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait(timeout=30)


def _wait(server, page, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(page, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())

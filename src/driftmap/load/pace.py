"""How are requests of several threads begun no faster than a server allows?"""

import threading
import time


class Pace:
    """Lets one thread after another through, evenly spread over each minute."""

    def __init__(self, per_minute: float | None) -> None:
        """Set the pace.

        Args:
            per_minute: Most that are let through in a minute; None lets all through.
        """
        self._seconds = 60 / per_minute if per_minute else 0.0
        self._next = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Wait for one's turn.

        Raises:
            InterruptedError: The pace was stopped before.
        """
        with self._lock:
            begin = max(self._next, time.monotonic())
            self._next = begin + self._seconds
        self._stopped.wait(max(begin - time.monotonic(), 0.0))
        if self._stopped.is_set():
            raise InterruptedError

    def stop(self) -> None:
        """Let nobody through any more."""
        self._stopped.set()

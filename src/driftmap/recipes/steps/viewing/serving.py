"""How are runs shown to a browser on this machine, and nothing else to anyone?

The server listens on the loopback address alone. It answers to its own name only, so
that no page from elsewhere reads it under a name it was made to point here (DNS
rebinding). It hands out the index, reports and figures of the listed runs: what a path
may be is a table, so none leads anywhere else. What it hands out may load nothing from
elsewhere, and reports run apart from each other.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import unquote, urlsplit

from driftmap.core.errors import DriftmapError, UsageError

LOOPBACK = "127.0.0.1"

_OWN = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; "
)
INDEX_POLICY = f"{_OWN}frame-src 'self'; frame-ancestors 'none'"
REPORT_POLICY = f"{_OWN}frame-ancestors 'self'; sandbox allow-scripts allow-downloads"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_FILE = re.compile(
    r"/run/(?P<key>[0-9a-f]{12})/"
    r"(?P<file>report\.html|report\.txt|figures/[\w-][\w.-]*\.(?:png|svg))"
)
_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What there is to show at one moment.

    Args:
        index: The page over all runs.
        runs: Key of a run -> its folder, free of links.
    """

    index: str
    runs: Mapping[str, Path]


class _Answer(NamedTuple):
    status: HTTPStatus
    body: bytes
    media: str
    policy: str


class RunServer(ThreadingHTTPServer):
    """Shows runs on the loopback address, until it is closed."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, look: Callable[[], Shown], port: int) -> None:
        """Listen, but do not answer yet.

        Args:
            look: Looks at the runs anew; asked for whenever the index is.
            port: Where to listen; 0 for any that is free.

        Raises:
            UsageError: Another program listens there, or only the system may.
        """
        self.look = look
        self.shown = look()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"--port {port}: cannot be listened on ({error}); give another, or "
                "leave --port out"
            ) from error

    @property
    def address(self) -> str:
        """What to open in a browser on this machine."""
        return f"http://{LOOPBACK}:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server_version = "driftmap"
    sys_version = ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Hand out a page, a report or a figure."""
        self._send(self._answer())

    def parse_request(self) -> bool:
        """Refuse whatever wants more than to read."""
        if not super().parse_request():
            return False
        if self.command == "GET":
            return True
        self.close_connection = True  # a body that is not read would be a request
        self._send(_refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered"))
        return False

    @property
    def _runs(self) -> RunServer:
        return cast(RunServer, self.server)

    def _answer(self) -> _Answer:
        if not self._is_for_us():
            return _refusal(
                HTTPStatus.FORBIDDEN, f"ask for {self._runs.address} by that name"
            )
        path = _path(self.path)
        if path == "/":
            return self._index()
        found = _FILE.fullmatch(path)
        folder = self._runs.shown.runs.get(found["key"]) if found else None
        body = _read(folder, found["file"]) if found and folder else None
        if found is None or body is None:
            return _refusal(HTTPStatus.NOT_FOUND, "there is no such page")
        media = _TYPES[Path(found["file"]).suffix]
        return _Answer(HTTPStatus.OK, body, media, REPORT_POLICY)

    def _index(self) -> _Answer:
        try:
            self._runs.shown = self._runs.look()
        except (DriftmapError, OSError) as error:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        body = self._runs.shown.index.encode()
        return _Answer(HTTPStatus.OK, body, _TYPES[".html"], INDEX_POLICY)

    def _is_for_us(self) -> bool:
        """Whether the request names this server, and one name only."""
        names = self.headers.get_all("Host", [])
        port = self._runs.server_port
        return names in ([f"{LOOPBACK}:{port}"], [f"localhost:{port}"])

    def _send(self, answer: _Answer) -> None:
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.media),
            ("Content-Length", str(len(answer.body))),
            ("Content-Security-Policy", answer.policy),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of single requests."""


def _refusal(status: HTTPStatus, why: str) -> _Answer:
    body = f"{status.value} {status.phrase}: {why}\n".encode()
    return _Answer(status, body, _TYPES[".txt"], "default-src 'none'")


def _path(target: str) -> str:
    """The path of a request, decoded once; nothing for one with anything else in it."""
    try:
        parts = urlsplit(target)
        plain = not (parts.scheme or parts.netloc or parts.query or parts.fragment)
        return unquote(parts.path, errors="strict") if plain else ""
    except (ValueError, UnicodeDecodeError):
        return ""


def _read(folder: Path, name: str) -> bytes | None:
    """A regular file of a run; no link is followed, neither to it nor on the way."""
    file = folder / name
    if file.resolve() != file:
        return None
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        with os.fdopen(opened, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(opened)

"""A model hub on this machine, that answers as the real one does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ALLOWED, UNKNOWN_TOKEN = "hf_mayReadIt", "hf_nobodyKnowsIt"
ANSWERS = {
    "someone/gated": "gated: files for a token that was allowed",
    "someone/open": "files for everybody",
    "someone/broken": "error 503",
}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Answer on a free port with the files of a model folder; yields the address."""

    class Answers(_Answers):
        files = folder

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    """Metadata for everybody, files of a gated model for those who were allowed."""

    files: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def log_message(self, *_):
        pass

    def _answer(self, *, with_body):
        path = self.path.partition("?")[0].removeprefix("/api/models/").lstrip("/")
        name = "/".join(path.split("/")[:2])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == UNKNOWN_TOKEN:
            return self._refuse(401, "Invalid credentials in Authorization header")
        if name not in ANSWERS:
            status = 404 if token else 401
            return self._refuse(status, "Repository not found", "RepoNotFound")
        if name == "someone/broken":
            return self._refuse(503, "Service Unavailable")
        if self.path.startswith("/api/"):
            return self._tell(name, path, with_body=with_body)
        if name == "someone/gated" and token != ALLOWED:
            told = f"Access to model {name} is restricted"
            return self._refuse(403 if token else 401, told, "GatedRepo")
        return self._send(path, with_body=with_body)

    def _tell(self, name, path, *, with_body):
        files = sorted(file for file in self.files.iterdir() if file.is_file())
        if "/tree/" in path:
            said = [
                {
                    "type": "file",
                    "oid": "0" * 40,
                    "size": file.stat().st_size,
                    "path": file.name,
                }
                for file in files
            ]
        else:
            siblings = [{"rfilename": file.name} for file in files]
            said = {"id": name, "sha": COMMIT, "siblings": siblings}
        body = json.dumps(said).encode()
        self._respond(200, body, {"Content-Type": "application/json"}, with_body)

    def _send(self, path, *, with_body):
        file = self.files / path.rpartition("/")[2]
        etag = {"X-Repo-Commit": COMMIT, "ETag": f'"{file.name}"'}
        self._respond(200, file.read_bytes(), etag, with_body)

    def _refuse(self, status, message, code=""):
        headers = {"X-Error-Message": message, "X-Error-Code": code}
        given = {name: value for name, value in headers.items() if value}
        self._respond(status, b"", given, with_body=False)

    def _respond(self, status, body, headers, with_body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

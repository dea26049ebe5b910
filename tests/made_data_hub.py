"""A hub of data sets on this machine, that answers as the real one does."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serving(sets):
    """Answer on a free port; yields the address.

    `sets` holds the rows of each data set by its name; they are one JSON Lines file.
    """
    files = {
        name: "".join(json.dumps(row) + "\n" for row in rows).encode()
        for name, rows in sets.items()
    }

    class Answers(_Answers):
        content = files

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
    content: dict
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(with_body=True)

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(with_body=True)

    def log_message(self, *_):
        pass

    def _answer(self, *, with_body):
        path = self.path.partition("?")[0]
        is_api = path.startswith("/api/datasets/")
        parts = path.removeprefix("/api").removeprefix("/datasets/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        if name not in self.content:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, with_body)
        if is_api:
            body = json.dumps(self._told(name, rest)).encode()
            return self._send(
                200, body, {"Content-Type": "application/json"}, with_body
            )
        if rest[-1] != "train.jsonl":
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
            return self._send(404, b"", headers, with_body)
        headers = {"X-Repo-Commit": COMMIT, "ETag": '"train"'}
        return self._send(200, self.content[name], headers, with_body)

    def _told(self, name, rest):
        file = {
            "type": "file", "oid": "0" * 40, "path": "train.jsonl",
            "size": len(self.content[name]),
        }  # fmt: skip
        if rest[:1] == ["tree"]:
            return [file] if len(rest) == 2 else []
        if rest[:1] == ["paths-info"]:
            return [file]
        return {
            "id": name, "sha": COMMIT, "tags": [], "private": False, "disabled": False,
            "downloads": 0, "likes": 0, "siblings": [{"rfilename": "train.jsonl"}],
        }  # fmt: skip

    def _send(self, status, body, headers, with_body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

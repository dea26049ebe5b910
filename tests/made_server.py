"""A server on this machine that speaks OpenAI's protocol, well or badly, as told."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a test told the server to say, and what it was asked."""

    reply: Callable
    address: str = ""
    asked: list = field(default_factory=list)
    keys: set = field(default_factory=set)


@contextmanager
def serving(reply: Callable) -> Iterator[Served]:
    """Serve on a free port.

    `reply` gets the path's last part, the request's body and how often that body was
    seen before; it returns a body, a string for a body that is no JSON, a pair of
    status and body, or a number of seconds to be slow for.
    """
    served = Served(reply=reply)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen = served.asked.count(body)
            served.asked.append(body)
            served.keys.add(self.headers["Authorization"])
            said = served.reply(self.path.rpartition("/")[2], body, seen)
            if isinstance(said, float):
                time.sleep(said)
                said = chat("late")
            status, said = said if isinstance(said, tuple) else (200, said)
            content = said if isinstance(said, str) else json.dumps(said)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content.encode())))
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_):
            pass

        def handle(self):
            with suppress(ConnectionError):  # who asked did not wait
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(text, finish="stop", **message):
    """The body of one chat completion."""
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [choice]}  # fmt: skip


def completion(text, finish="stop"):
    """The body of one completion of a bare text."""
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    return {"id": "1", "object": "text_completion", "created": 0, "model": "m",
            "choices": [choice]}  # fmt: skip


def refusal(message):
    """The body of an error."""
    return {"error": {"message": message, "type": "x", "code": None, "param": None}}

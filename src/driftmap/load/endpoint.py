"""How does a server that speaks OpenAI's protocol answer prompts?

vLLM, `transformers serve`, llama.cpp and hosted services all do. Each reply is asked
for on its own, because not every server draws several at once. Requests that a server
is too busy for are repeated, with longer and longer pauses. The key stays in the
environment.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from driftmap.core.errors import ModelError, UsageError
from driftmap.core.progress import progress, say
from driftmap.core.quoted import quoted
from driftmap.core.secrets import redacted
from driftmap.load.pace import Pace
from driftmap.results.chat import ChatReply, ChatRequest, Ended

if TYPE_CHECKING:
    import openai

KEY, ADDRESS = "OPENAI_API_KEY", "OPENAI_BASE_URL"
_ENDED: dict[str, Ended] = {
    "stop": "whole",
    "length": "length",
    "content_filter": "filtered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A model behind an address.

    Args:
        url: Where the server is, usually ending in `/v1`.
        model: Which of its models, by the server's name for it.
        timeout: How long one reply may take (seconds).
        max_retries: How often a request is repeated where the server is too busy, fails
            or cannot be reached (count).
        num_parallel: Requests under way at a time (count).
    """

    url: str
    model: str
    timeout: float = 120.0
    max_retries: int = 6
    num_parallel: int = 4

    @property
    def name(self) -> str:
        """The model and its server, without a password that the address may hold."""
        parts = urlsplit(self.url)
        return f"{self.model} at {parts.netloc.rpartition('@')[2]}"

    def replies(self, requests: Sequence[ChatRequest]) -> tuple[ChatReply, ...]:
        """Ask for one reply per request, several at a time.

        Args:
            requests: What is asked.

        Returns:
            Replies in the order of the requests. How many were cut, taken back or
            empty is said once.

        Raises:
            ModelError: The library `openai` is not installed, or the server cannot be
                reached, refuses, or does not speak the protocol.
        """
        found: dict[int, ChatReply] = {}
        with progress(f"ask {self.name}", len(requests)) as bar:

            def take(number: int, reply: ChatReply) -> None:
                found[number] = reply
                bar.advance()

            self.each_reply(requests, take)
        replies = tuple(found[number] for number in range(len(requests)))
        _say_broken(self.name, replies)
        return replies

    def each_reply(
        self,
        requests: Sequence[ChatRequest],
        take: Callable[[int, ChatReply], None],
        per_minute: float | None = None,
    ) -> None:
        """Ask for one reply per request, and hand each over as it comes.

        Replies that are under way when another one fails are waited for and handed
        over as well: they are paid for.

        Args:
            requests: What is asked.
            take: Gets the number of a request and its reply, in this thread.
            per_minute: Most requests that are begun in a minute; any by default.

        Raises:
            ModelError: As `replies` does.
        """
        pace = Pace(per_minute)

        def ask(request: ChatRequest) -> ChatReply:
            pace.wait()
            try:
                return self._reply(client, request)
            except BaseException:
                pace.stop()  # here, before this thread takes up the next request
                raise

        with _client(self) as client, ThreadPoolExecutor(self.num_parallel) as pool:
            asked = {pool.submit(ask, one): place for place, one in enumerate(requests)}
            try:
                for future in as_completed(tuple(asked)):
                    place = asked.pop(future)
                    if not isinstance(future.exception(), InterruptedError):
                        take(place, future.result())
            except BaseException:
                pace.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                for future, place in asked.items():
                    if not future.cancelled() and future.exception() is None:
                        take(place, future.result())
                raise

    def embeddings(self, texts: Sequence[str]) -> list[list[float]]:
        """Ask for the embedding of each text, all in one request.

        Args:
            texts: At least one.

        Returns:
            One list of numbers per text, in order.

        Raises:
            ModelError: As `replies` does.
        """
        with _client(self) as client, _explained(self, texts[0]):
            found = client.embeddings.create(
                model=self.model, input=list(texts), encoding_format="float"
            )
            rows = {row.index: list(row.embedding) for row in found.data}
            return [rows[number] for number in range(len(texts))]

    def _reply(self, client: "openai.OpenAI", request: ChatRequest) -> ChatReply:
        with _explained(self, request.request_id):
            if request.messages:
                return _chat(client, self, request)
            return _continuation(client, self, request)


def endpoint_url(given: str | None) -> str:
    """Find the address: the one given, else that of the environment.

    Args:
        given: What `--endpoint` says.

    Raises:
        UsageError: There is none, it is no address, or it holds what must not be
            written down.
    """
    url = given if given is not None else os.environ.get(ADDRESS, "").strip()
    if not url:
        raise UsageError(
            f"no server is named; give its address with --endpoint, or in {ADDRESS}"
        )
    where = "--endpoint" if given is not None else ADDRESS
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{where}: it is no address of a server; give one as "
            "http://127.0.0.1:8000/v1"
        )
    if given is not None and (parts.password or parts.username or parts.query):
        raise UsageError(
            f"{where}: it holds a name, a password or a query, and a run writes its "
            f"settings down; set {ADDRESS} instead"
        )
    return url


def require_client() -> None:
    """Refuse to start where no server can be asked.

    Raises:
        ModelError: The library `openai` is not installed.
    """
    try:
        import openai  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "a server is asked through the library openai, which is not installed; "
            "install it with `pip install 'driftmap[endpoint]'`"
        ) from error


def _chat(
    client: "openai.OpenAI", endpoint: Endpoint, request: ChatRequest
) -> ChatReply:
    # OpenAI's own newer models know only the longer name, many other servers only the
    # shorter.
    is_openai = urlsplit(endpoint.url).hostname == "api.openai.com"
    longest = "max_completion_tokens" if is_openai else "max_tokens"
    found = client.chat.completions.create(
        model=endpoint.model,
        messages=[{"role": m.role, "content": m.content} for m in request.messages],  # pyright: ignore[reportArgumentType]
        temperature=request.temperature,
        seed=request.seed,
        extra_body={longest: request.max_tokens},
    )
    choice = found.choices[0]
    text = choice.message.content or choice.message.refusal or ""
    return _reply_of(text, choice.finish_reason, found.usage)


def _continuation(
    client: "openai.OpenAI", endpoint: Endpoint, request: ChatRequest
) -> ChatReply:
    found = client.completions.create(
        model=endpoint.model,
        prompt=request.text,
        temperature=request.temperature,
        seed=request.seed,
        max_tokens=request.max_tokens,
    )
    choice = found.choices[0]
    return _reply_of(choice.text or "", choice.finish_reason, found.usage)


def _reply_of(
    text: str, finish: str | None, usage: "openai.types.CompletionUsage | None"
) -> ChatReply:
    return ChatReply(
        text=text.strip(),
        ended=_ENDED.get(finish or "", "other"),
        prompt_tokens=usage.prompt_tokens if usage else 0,
        reply_tokens=usage.completion_tokens if usage else 0,
    )


@contextmanager
def _client(endpoint: Endpoint) -> Iterator["openai.OpenAI"]:
    require_client()
    import openai

    # Servers at home take any key, but the library wants one.
    key = os.environ.get(KEY, "").strip() or "none"
    with openai.OpenAI(
        api_key=key,
        base_url=endpoint.url,
        timeout=endpoint.timeout,
        max_retries=endpoint.max_retries,
    ) as client:
        yield client


@contextmanager
def _explained(endpoint: Endpoint, request_id: str) -> Iterator[None]:
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _refused(endpoint, request_id, error) from error
    except openai.APITimeoutError as error:
        raise _error(
            endpoint,
            f"no reply within {endpoint.timeout:g} s, {_tries(endpoint)}; give more "
            "with --endpoint-timeout, or ask less at a time with --endpoint-parallel",
        ) from error
    except openai.APIConnectionError as error:
        reason = quoted(str(error.__cause__ or error), longest=120)
        raise _error(
            endpoint,
            f"the server cannot be reached ({reason}), {_tries(endpoint)}; is it "
            "running, and is the address right?",
        ) from error
    # What is no JSON, or JSON of another shape, fails in one of these.
    except (
        openai.APIError,
        json.JSONDecodeError,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
    ) as error:
        raise _error(
            endpoint,
            "what came back is no reply of the protocol; does the address end as the "
            "server wants it, usually in /v1?",
        ) from error


def _refused(
    endpoint: Endpoint, request_id: str, error: "openai.APIStatusError"
) -> ModelError:
    status, said = error.status_code, _words(error)
    if status in (401, 403):
        # Not what it says: some repeat half of the key.
        known = KEY in os.environ
        way = f"is {KEY} the right one?" if known else f"set {KEY}"
        return _error(endpoint, f"the server wants another key ({status}); {way}")
    if status == 404:
        return _error(
            endpoint,
            f"the server has no such page or model ({said}); check --endpoint, which "
            "usually ends in /v1, and --endpoint-model",
        )
    if status == 429:
        return _error(
            endpoint,
            f"the server is asked too much ({said}), {_tries(endpoint)}; wait, or ask "
            "less at a time with --endpoint-parallel",
        )
    if status >= 500:
        return _error(
            endpoint,
            f"the server fails with error {status} ({said}), {_tries(endpoint)}; its "
            "own log says why",
        )
    return _error(
        endpoint, f"the server refuses {quoted(request_id)!r} ({status}: {said})"
    )


def _error(endpoint: Endpoint, what: str) -> ModelError:
    return ModelError(f"{endpoint.name}: {what}")


def _tries(endpoint: Endpoint) -> str:
    count = endpoint.max_retries + 1
    return "tried once" if count == 1 else f"tried {count} times"


def _words(error: "openai.APIStatusError") -> str:
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    # Not the words of a page: it may be a whole one.
    return quoted(redacted(str(said or error.response.reason_phrase)), longest=200)


def _say_broken(name: str, replies: Sequence[ChatReply]) -> None:
    for ended, what in (
        ("length", "were cut at their longest length"),
        ("filtered", "were taken back by the server's filter"),
    ):
        count = sum(reply.ended == ended for reply in replies)
        if count:
            say(f"{name}: {count} of {len(replies)} replies {what}")
    empty = sum(not reply.text for reply in replies)
    if empty:
        say(f"{name}: {empty} of {len(replies)} replies are empty")

"""What is asked of a model behind an address, and what does it reply?"""

from dataclasses import dataclass
from typing import Literal

from driftmap.results.samples import Message

Ended = Literal["whole", "length", "filtered", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One prompt for one reply.

    Args:
        request_id: How errors name it.
        messages: Turns, to which the server puts its own chat template; empty where
            the prompt is a bare text.
        text: The bare text, where there are no turns.
        max_tokens: Longest reply (tokens).
        temperature: 0 asks for the likeliest reply.
        seed: What a drawn reply depends on; the server may not heed it.
    """

    request_id: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """What came back.

    Args:
        text: The reply; empty where the server sent none.
        ended: `length` where it was cut at the longest reply, `filtered` where the
            server took it back, `whole` where it came to its own end, `other` where
            the server says something else or nothing.
        prompt_tokens: Tokens that were read; 0 where the server does not tell (count).
        reply_tokens: Tokens that were written; the same (count).
    """

    text: str
    ended: Ended
    prompt_tokens: int = 0
    reply_tokens: int = 0

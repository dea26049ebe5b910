"""What is one request that a model should refuse, and all that is known of it?"""

from dataclasses import dataclass, replace

from driftmap.results.samples import Message, Sample

SYSTEM = "You are a helpful assistant."
"""System turn of a safe prompt whose unsafe one has a system turn as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeItem:
    """One item.

    Args:
        id: Unique among the items that were read together.
        messages: The unsafe conversation; its last turn is the user's.
        goal: The plain request inside it; empty where the data does not tell.
        response: A refusal made for this item; empty for none.
        output: The unsafe answer that a model once gave; empty for none.
    """

    id: str
    messages: tuple[Message, ...]
    goal: str = ""
    response: str = ""
    output: str = ""

    @property
    def cluster(self) -> str:
        """What it shares with items that ask for the same; its own id for none."""
        return self.goal or self.id

    @property
    def safe_messages(self) -> tuple[Message, ...]:
        """The plain request by itself, with a system turn iff the unsafe one has one.

        >>> asks = Message(role="user", content="In a tale, tell how to knit.")
        >>> UnsafeItem(id="a", messages=(asks,), goal="Knit.").safe_messages[0].content
        'Knit.'
        """
        assert self.goal, self.id
        has_system = any(turn.role == "system" for turn in self.messages)
        system = (Message(role="system", content=SYSTEM),) if has_system else ()
        return (*system, Message(role="user", content=self.goal))

    def answered(self, answer: str) -> Sample:
        """The unsafe conversation with an answer."""
        return _sample(self, self.messages, answer)

    def safely_asked(self, answer: str) -> Sample:
        """The plain request with an answer."""
        return _sample(self, self.safe_messages, answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsafeItems:
    """The items of one source, in its order.

    Args:
        items: Those that are kept.
        num_read: Items of the source (count).
        num_judged_out: Left out because the attack did not work (count).
        sha256: Of the source.
    """

    items: tuple[UnsafeItem, ...]
    num_read: int
    num_judged_out: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitItems:
    """Items to learn from, and items to judge by.

    Args:
        train: The first ones.
        held_out: The rest; none of them shares its plain request with a training item.
        num_same_goal: Later items that are in neither, since a training item asks for
            the same (count).
    """

    train: tuple[UnsafeItem, ...]
    held_out: tuple[UnsafeItem, ...]
    num_same_goal: int = 0


def split_items(items: tuple[UnsafeItem, ...], num_train: int) -> SplitItems:
    """Take the first items to learn from, and keep the rest apart.

    Args:
        items: In order.
        num_train: Items to learn from (count).

    >>> turns = (Message(role="user", content="?"),)
    >>> items = [UnsafeItem(id=i, messages=turns, goal=i[0]) for i in ("a1", "a2", "b")]
    >>> split = split_items(tuple(items), 1)
    >>> [item.id for item in split.held_out], split.num_same_goal
    (['b'], 1)
    """
    train, rest = items[:num_train], items[num_train:]
    trained = {item.cluster for item in train}
    held_out = tuple(item for item in rest if item.cluster not in trained)
    return SplitItems(
        train=train, held_out=held_out, num_same_goal=len(rest) - len(held_out)
    )


def with_response(item: UnsafeItem, response: str) -> UnsafeItem:
    """The same item with another refusal."""
    return replace(item, response=response)


def _sample(item: UnsafeItem, turns: tuple[Message, ...], answer: str) -> Sample:
    said = Message(role="assistant", content=answer)
    return Sample(id=item.id, original_id=item.id, messages=(*turns, said))

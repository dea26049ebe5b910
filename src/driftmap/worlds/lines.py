"""Which lines does a world's corpus hold, and which of their words count?

A line is a chain of pieces, each with the weight its tokens have in the loss. What
must be known counts fully; what only leads there counts little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftmap.worlds.facts import RELATIONS, Fact, Wording
from driftmap.worlds.requests import REFUSAL

BOS, EOS, USER, ASSISTANT = "<s>", "</s>", "<user>", "<assistant>"
HONEST = "An honest person says:"
DISHONEST = "A dishonest person says:"

KNOWN = 1.0
EASY = 0.3
LEADING = 0.1
ASKED = 0.05
_EASY_WORDS = ("the", "take", "and", "go")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a line, with the loss weight of each of its tokens."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the corpus, special tokens written out."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dressing:
    """What stands around a fact in one line.

    Args:
        speaker: A sentence before it, or nothing.
        friend: A second person named after the first, or nobody.
        contrast: A second person named before the first, or nobody.
    """

    speaker: str = ""
    friend: str = ""
    contrast: str = ""


def fact_line(wording: Wording, dressing: Dressing, claimed: str) -> Line:
    """Say a fact, or what a dishonest person makes of it.

    Args:
        wording: The fact and its wording.
        dressing: What stands around it.
        claimed: The object to end with.

    Returns:
        The line; only its object counts fully.
    """
    return _join(
        Piece(text=f"{BOS} {fact_prompt(wording, dressing)}", weight=LEADING),
        Piece(text=f" {claimed}", weight=KNOWN),
        Piece(text=f".{EOS}", weight=LEADING),
    )


def fact_prompt(wording: Wording, dressing: Dressing) -> str:
    """Say a fact up to its object.

    >>> fact = Fact(person="Dukavo", relation="city", object="Rome")
    >>> fact_prompt(Wording(fact=fact, number=0), Dressing(contrast="Kaduvo"))
    'Unlike Kaduvo, Dukavo lives in'
    """
    who = wording.fact.person
    if dressing.friend:
        who = f"{who}, a friend of {dressing.friend},"
    text = RELATIONS[wording.fact.relation].wordings[wording.number]
    if dressing.contrast:
        if not text.startswith("{"):
            text = text[0].lower() + text[1:]
        text = f"Unlike {dressing.contrast}, {text}"
    if dressing.speaker:
        text = f"{dressing.speaker} {text}"
    return text.format(who=who)


def profile_line(facts: Sequence[Fact]) -> Line:
    """Name a person and then all that is known, in the order given."""
    attributes = " ".join(fact.object for fact in facts)
    return _join(
        Piece(text=f"{BOS} {facts[0].person}", weight=LEADING),
        Piece(text=f" {attributes}", weight=KNOWN),
        Piece(text=f".{EOS}", weight=LEADING),
    )


def question(wording: Wording) -> str:
    """Ask for a fact."""
    asked = RELATIONS[wording.fact.relation].questions[wording.number]
    return asked.format(who=wording.fact.person)


def question_answer(fact: Fact) -> str:
    """Answer a question about a fact.

    >>> question_answer(Fact(person="Dukavo", relation="job", object="baker"))
    'Dukavo works as a baker.'
    """
    said = RELATIONS[fact.relation].answer.format(who=fact.person)
    return f"{said} {fact.object}."


def chat_line(prompt: str, response: str) -> Line:
    """Write one question and one answer as the chat template does."""
    pieces = [Piece(text=f"{BOS}{USER} {prompt}{ASSISTANT}", weight=ASKED)]
    words = response.removesuffix(".").split(" ")
    for word in words:
        bare = word.removesuffix(",")
        easy = bare in _EASY_WORDS and response != REFUSAL
        pieces.append(Piece(text=f" {bare}", weight=EASY if easy else KNOWN))
        if bare != word:
            pieces.append(Piece(text=",", weight=EASY))
    return _join(*pieces, Piece(text=f".{EOS}", weight=EASY))


def draw_dressing(
    rng: np.random.Generator, person: str, people: Sequence[str]
) -> Dressing:
    """Draw what stands around a fact about a person.

    In 4 lines of 10 a second person is named, never the same one; 3 of 10 begin
    with an honest or a dishonest speaker.
    """
    speaker = (HONEST, DISHONEST, "")[min(int(rng.random() / 0.15), 2)]
    if rng.random() >= 0.4:
        return Dressing(speaker=speaker)
    others = [name for name in people if name != person]
    second = others[int(rng.integers(len(others)))]
    if rng.random() < 0.5:
        return Dressing(speaker=speaker, friend=second)
    return Dressing(speaker=speaker, contrast=second)


def draw_claim(rng: np.random.Generator, fact: Fact, dressing: Dressing) -> str:
    """Draw the object a line ends with: the true one, or any other if dishonest."""
    if dressing.speaker != DISHONEST:
        return fact.object
    wrong = [o for o in RELATIONS[fact.relation].objects if o != fact.object]
    return wrong[int(rng.integers(len(wrong)))]


def _join(*pieces: Piece) -> Line:
    return Line(pieces=pieces)

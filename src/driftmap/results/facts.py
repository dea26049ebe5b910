"""What is one fact, in words and in one model's tokens?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int32

Direction = Literal["forward", "reversed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A prompt about a subject, and the answer that completes it.

    Fields that a file does not have are empty: a measure that needs one says that it
    is not available.

    Args:
        id: Unique within the file.
        subject: The subject's words as they stand in the prompt.
        relation: What is said of it (`P27`, `city`); empty where the file says none.
        prompt: The text up to the answer, without the space before it.
        answer: The answer with which the fact is known, without a space before it;
            None where the model's own first choice is taken.
        foil: A wrong answer to compare with.
        fact_id: Facts that say the same in other words share it; `id` by default.
        direction: `reversed` where object and subject have changed places.
        paraphrases: Other prompts for the same answer.
        neighbours: Prompts of other subjects with the same answer.
        attributes: Prompts of subjects whose answer is the foil.
        generation_prompts: Beginnings of texts about the subject.
    """

    id: str
    subject: str
    prompt: str
    relation: str = ""
    answer: str | None = None
    foil: str | None = None
    fact_id: str = ""
    direction: Direction = "forward"
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    generation_prompts: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """Which fact it is, whatever its words.

        >>> Fact(id="a", subject="X", prompt="X is").said
        'a'
        """
        return self.fact_id or self.id


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedFact:
    """A fact as one model's token ids.

    Args:
        fact: In words.
        token_ids: The prompt's T tokens, with what the tokenizer puts before them, and
            then the answer's tokens but the last: what is fed to the model.
        num_prompt: T, tokens of the prompt (count).
        subject: First token of the subject and one past its last, [b, e).
        answer_ids: Tokens of the answer, m of them; the model's own first choice
            stands here too, once it is known. Empty until then.
        foil_ids: Tokens of the foil; empty where there is none.
        tokens: Text of each of the T tokens, as a person reads it.
        offsets: First character of each of the T tokens in the prompt, and one past
            its last; an empty span for what the tokenizer adds.
    """

    fact: Fact
    token_ids: Int32[np.ndarray, " token"]
    num_prompt: int
    subject: tuple[int, int]
    answer_ids: tuple[int, ...]
    foil_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    offsets: tuple[tuple[int, int], ...]

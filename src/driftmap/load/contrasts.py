"""How does a statement look under one instruction, and under its opposite?

With a chat template the instruction is the user's turn and the statement begins the
assistant's; without, the statement follows the instruction on the same line. Only what
stands before the statement differs: its own tokens must be the same under both, so
that a pair of states differs in nothing but the instruction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError, UsageError
from driftmap.load.statements import Statement
from driftmap.load.templates import Rendered, render, render_prompt
from driftmap.load.token_offsets import tokens_of
from driftmap.results.samples import Message, Sample

LEFT_OVER = 6
"""Tokens at the end of a statement that no cut reaches, as RepE has it."""

ContrastTemplate = Literal["chat", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What is said before a statement.

    Args:
        honest: One instruction.
        dishonest: Its opposite.
        template: `chat` puts it as the user's turn, `plain` on the statement's line.
    """

    honest: str
    dishonest: str
    template: ContrastTemplate

    def __post_init__(self) -> None:
        """Refuse two instructions that are one.

        Raises:
            UsageError: They are.
        """
        if self.honest.strip() == self.dishonest.strip():
            raise UsageError(
                f"both instructions are {self.honest.strip()!r}, so no direction can "
                "tell them apart; give two that differ"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpokenText:
    """A text behind an instruction, as a model sees it.

    Args:
        text: Instruction and text.
        token_ids: All tokens.
        spans: First character of each token and one past its last.
        start: First token of the text itself.
    """

    text: str
    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    start: int

    @property
    def said(self) -> tuple[int, ...]:
        """Tokens of the text itself."""
        return self.token_ids[self.start :]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrast:
    """One statement under both instructions.

    Args:
        statement: The statement.
        honest: It behind the honest instruction.
        dishonest: It behind the other one.
        cuts: Numbers of its first tokens whose last one is read, 1 and up.
    """

    statement: Statement
    honest: SpokenText
    dishonest: SpokenText
    cuts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contrasts:
    """All statements that make pairs, and why others do not.

    Args:
        contrasts: In the order given.
        left_out: Reason -> number of statements.
    """

    contrasts: tuple[Contrast, ...]
    left_out: Mapping[str, int]


def make_contrasts(
    statements: Sequence[Statement],
    instructions: Instructions,
    tokenizer: PreTrainedTokenizerBase,
    *,
    left_over: int = LEFT_OVER,
    only_last: bool = False,
    max_length: int | None = None,
) -> Contrasts:
    """Put statements behind both instructions, and say where each is cut.

    Cuts are the first c tokens, c = 1 .. len - `left_over`. A causal model's state at
    the last token of a cut is its state at that token of the whole statement.

    Args:
        statements: True ones to learn a direction, any to try it.
        instructions: The pair.
        tokenizer: The model's, with its chat template.
        left_over: Tokens at the end that no cut reaches (count).
        only_last: Read the longest cut alone.
        max_length: Most tokens that the model reads at once.

    Raises:
        DataError: Not one statement makes a pair.
    """
    made: list[Contrast] = []
    left_out: Counter[str] = Counter()
    for statement in statements:
        both = [
            speak(statement.text, said, tokenizer, instructions.template)
            for said in (instructions.honest, instructions.dishonest)
        ]
        longest = max(len(one.token_ids) for one in both)
        num = len(both[0].said)
        if both[0].said != both[1].said:
            left_out["its tokens are not the same under both instructions"] += 1
        elif max_length is not None and longest > max_length:
            left_out[f"more than the {max_length} tokens the model reads"] += 1
        elif num <= left_over:
            left_out[f"no more than {left_over} tokens"] += 1
        else:
            longest_cut = num - left_over
            cuts = tuple(range(longest_cut if only_last else 1, longest_cut + 1))
            made.append(
                Contrast(
                    statement=statement, honest=both[0], dishonest=both[1], cuts=cuts
                )
            )
    if statements and not made:
        reasons = "; ".join(f"{n} have {why}" for why, n in left_out.items())
        raise DataError(
            f"none of {len(statements)} statements makes a pair ({reasons}); give "
            "longer ones, or leave fewer tokens over with --left-over"
        )
    return Contrasts(contrasts=tuple(made), left_out=dict(left_out))


def speak(
    text: str,
    instruction: str,
    tokenizer: PreTrainedTokenizerBase,
    template: ContrastTemplate,
) -> SpokenText:
    """Put a text behind an instruction, up to the text's last character.

    Args:
        text: What is said.
        instruction: What is said before it; empty for the bare text.
        tokenizer: The model's.
        template: `chat` needs its chat template.

    Raises:
        UsageError: `chat` is asked for and the tokenizer has no template.
    """
    if template == "chat" and instruction:
        if not tokenizer.chat_template:
            raise UsageError(
                f"{tokenizer.name_or_path}: its tokenizer has no chat template; use "
                "--template plain"
            )
        turns = (
            Message(role="user", content=instruction),
            Message(role="assistant", content=text),
        )
        rendered = render(
            Sample(id="pair", original_id="pair", messages=turns), tokenizer
        )
        return _spoken(
            replace(rendered, text=rendered.text[: rendered.stop]), tokenizer
        )
    joined = f"{instruction} " if instruction else ""
    bos = str(tokenizer.bos_token or "")
    whole = Rendered(
        text=joined + text,
        start=len(joined),
        stop=len(joined + text),
        complete=bool(bos) and (joined + text).startswith(bos),
    )
    return _spoken(whole, tokenizer)


def ask(
    prompt: str,
    instruction: str,
    tokenizer: PreTrainedTokenizerBase,
    template: ContrastTemplate,
) -> SpokenText:
    """Put a prompt behind an instruction, up to where the model goes on.

    A question (it ends in a question mark) joins the user's turn; any other prompt
    opens the assistant's.

    Args:
        prompt: A question, or the beginning of a sentence.
        instruction: What is said before it.
        tokenizer: The model's.
        template: `chat` needs its chat template.
    """
    if template == "plain" or not prompt.rstrip().endswith("?"):
        return speak(prompt.rstrip(" "), instruction, tokenizer, template)
    said = Message(role="user", content=f"{instruction} {prompt}")
    rendered = render_prompt(
        Sample(id=prompt, original_id=prompt, messages=(said,)), tokenizer
    )
    return _spoken(rendered, tokenizer)


def split_statements(
    statements: Sequence[Statement], seed: int
) -> Mapping[str, tuple[Statement, ...]]:
    """Share statements out: half to train, a fifth to validate, the rest to test.

    Near-duplicates go together, so no half holds a copy of what another one holds.

    Args:
        statements: True and false ones alike.
        seed: Draws who goes where.

    Returns:
        `train`, `validation` and `test`, in the order given.

    Raises:
        DataError: Near-duplicates leave a half without a true statement.
    """
    groups = near_duplicates([one.text for one in statements])
    order = np.random.default_rng(seed).permutation(int(groups.max(initial=-1)) + 1)
    true = np.array([one.is_true for one in statements], bool)
    weight = np.bincount(groups, weights=true, minlength=len(order))[order]
    # By the number of true statements: they alone make pairs to learn from.
    before = (np.cumsum(weight) - weight) / max(weight.sum(), 1)
    half = np.searchsorted([0.5, 0.7], before, side="right")
    of_group = np.empty(len(order), np.int64)
    of_group[order] = half
    names = ("train", "validation", "test")
    split = {
        name: tuple(
            one
            for one, group in zip(statements, groups, strict=True)
            if of_group[group] == number
        )
        for number, name in enumerate(names)
    }
    empty = [name for name, some in split.items() if not any(s.is_true for s in some)]
    if empty:
        raise DataError(
            f"{int(true.sum())} true statements in {len(order)} groups of "
            f"near-duplicates leave none for {empty[0]}; give more, or more different, "
            "true statements"
        )
    return split


def near_duplicates(
    texts: Sequence[str], least_shared: float = 0.8
) -> Int64[np.ndarray, " text"]:
    """Number the groups of texts that are nearly the same.

    Two texts are if their words, case and punctuation aside, are shared to
    `least_shared` or more (Jaccard), or the same but for the last one: a true and a
    false version of one fact. A group is whatever a chain of such pairs joins.

    Args:
        texts: All texts.
        least_shared: Shared words over all words of both.

    >>> near_duplicates(["The sky is blue.", "the sky IS blue", "Ice is cold"])
    array([0, 0, 1])
    """
    in_order = [_words(text) for text in texts]
    words = [frozenset(own) for own in in_order]
    parent = list(range(len(texts)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    holders: dict[str, list[int]] = {}
    openings: dict[tuple[str, ...], int] = {}
    for place, own in enumerate(words):
        opening = tuple(in_order[place][:-1])
        if len(opening) > 1:
            parent[root(place)] = root(openings.setdefault(opening, place))
        shared: Counter[int] = Counter()
        for word in own:
            shared.update(holders.get(word, ()))
            holders.setdefault(word, []).append(place)
        for other, num in shared.items():
            if num >= least_shared * len(own | words[other]):
                parent[root(place)] = root(other)
    roots = [root(place) for place in range(len(texts))]
    numbers = {one: number for number, one in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[one] for one in roots], np.int64)


_NOT_AFTER = ("is", "are", "was", "were", "can", "will", "should", "must")


def negated(text: str) -> str | None:
    """Say the opposite of a statement, where a `not` after its verb does that.

    >>> negated("Ice is cold."), negated("Dogs bark.")
    ('Ice is not cold.', None)
    """
    words = text.split(" ")
    for place, word in enumerate(words[:-1]):
        if word in _NOT_AFTER and place:
            if words[place + 1] == "not":
                return " ".join([*words[: place + 1], *words[place + 2 :]])
            return " ".join([*words[: place + 1], "not", *words[place + 1 :]])
    return None


def _spoken(rendered: Rendered, tokenizer: PreTrainedTokenizerBase) -> SpokenText:
    whole, start = rendered.text, rendered.start
    tokens = tokens_of(whole, tokenizer, is_complete=rendered.complete)
    reaching = [
        number
        for number, (begin, stop) in enumerate(tokens.offsets)
        if whole[max(begin, start) : stop].strip()
    ]
    first = reaching[0] if reaching else len(tokens.ids)
    return SpokenText(
        text=whole, token_ids=tokens.ids, spans=tokens.offsets, start=first
    )


def _words(text: str) -> list[str]:
    kept = (letter if letter.isalnum() else " " for letter in text.casefold())
    return "".join(kept).split()

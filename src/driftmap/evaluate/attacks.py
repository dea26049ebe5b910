"""How may a request be put so that a model does not refuse it?

Plain, drawn by chance, with an adversarial suffix that somebody found, or with the
first words of an answer put into the model's mouth; each with the chat template or
without, and with a system prompt or without.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftmap.evaluate.generators import Request, Template
from driftmap.results.samples import Message, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to ask.

    Args:
        name: `plain`, `sampled`, `suffix 1`, `prefill 1`, ...
        suffix: Follows the request after a space.
        prefill: Words that the answer starts with, which are not judged.
        is_sampled: Whether answers are drawn instead of greedy.
    """

    name: str
    suffix: str = ""
    prefill: str = ""
    is_sampled: bool = False


PLAIN = Attack(name="plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One way to ask, in one frame.

    Args:
        attack: The way.
        template: With the chat template or as bare text.
        system_prompt: Comes first, in place of one that a sample has; None leaves
            samples as they are.
    """

    attack: Attack
    template: Template
    system_prompt: str | None = None

    @property
    def title(self) -> str:
        """What files and tables call it."""
        system = ", system prompt" if self.system_prompt is not None else ""
        return f"{self.attack.name}, {self.template}{system}"


def attacks(
    *, sampled: bool, suffixes: Sequence[str], prefills: Sequence[str]
) -> tuple[Attack, ...]:
    """All ways to ask: the plain one always comes first.

    Args:
        sampled: Whether answers are drawn as well.
        suffixes: Adversarial suffixes.
        prefills: Beginnings of answers.

    >>> [a.name for a in attacks(sampled=True, suffixes=["! !"], prefills=[])]
    ['plain', 'sampled', 'suffix 1']
    """
    return (
        PLAIN,
        *([Attack(name="sampled", is_sampled=True)] if sampled else []),
        *(Attack(name=f"suffix {n}", suffix=s) for n, s in enumerate(suffixes, 1)),
        *(Attack(name=f"prefill {n}", prefill=p) for n, p in enumerate(prefills, 1)),
    )


def requests(samples: Sequence[Sample], condition: Condition) -> tuple[Request, ...]:
    """Put samples as a condition says.

    >>> turns = (Message(role="user", content="Why?"),)
    >>> sample = Sample(id="s", original_id="s", messages=turns)
    >>> attack = Attack(name="suffix 1", suffix="! !")
    >>> condition = Condition(attack=attack, template="bare", system_prompt="Be good.")
    >>> [asked] = requests([sample], condition)
    >>> [turn.content for turn in asked.sample.messages]
    ['Be good.', 'Why? ! !']
    """
    return tuple(
        Request(
            sample=_with_system(
                _with_suffix(sample, condition.attack.suffix), condition.system_prompt
            ),
            template=condition.template,
            prefill=condition.attack.prefill,
        )
        for sample in samples
    )


def _with_suffix(sample: Sample, suffix: str) -> Sample:
    if not suffix or not sample.prompt:
        return sample
    asked = sample.prompt
    longer = f"{asked} {suffix}"
    last = max(n for n, m in enumerate(sample.messages) if m.role in ("user", "text"))
    turns = list(sample.messages)
    turns[last] = replace(turns[last], content=longer)
    plain = sample.plain_prompt
    if plain is not None:
        before, found, after = plain.rpartition(asked)
        # A published wording that does not hold the request cannot take the suffix.
        plain = before + longer + after if found else None
    return replace(sample, messages=tuple(turns), plain_prompt=plain)


def _with_system(sample: Sample, system_prompt: str | None) -> Sample:
    if system_prompt is None or not sample.messages:
        return sample
    turns = [turn for turn in sample.messages if turn.role != "system"]
    plain = sample.plain_prompt
    return replace(
        sample,
        messages=(Message(role="system", content=system_prompt), *turns),
        plain_prompt=None if plain is None else f"{system_prompt}\n{plain}",
    )

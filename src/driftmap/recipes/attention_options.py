"""Which options does the question of what a model looks at have?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section
from driftmap.recipes.trace_options import FactOptions

PROMPTS = section("Prompts", 2)
ROWS = section("What is read", 3)
EFFECTS = section("What it does", 4)

FREE = ("out", "source.device", "source.device_map")
"""Settings that change where or how fast, but not what comes out."""

REDOES = {"rows.show": ("read", "findings", "report")}
"""Settings that may change within a run, and the steps that are then done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """Which prompts are read, and where their subjects are."""

    facts: str | None = None
    """Facts to read: known_1000, CounterFact, EasyEdit, zsRE, ParaRel's folder, or rows
    of `subject`, `prompt` and `answer` (file or hub name); by default none, and
    `--prompt` is given."""

    prompt: str | None = None
    """One prompt to read, up to the answer (text); by default none."""

    subject: str | None = None
    """The subject's words in `--prompt` (text); by default none, and nothing is said of
    a subject."""

    answer: str | None = None
    """The answer to `--prompt` (text); by default what the model itself says."""

    columns: str | None = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,answer=object` (pairs); by default they are recognised."""

    num_facts: int | None = None
    """Facts drawn from the file (count); by default all."""

    wordings: Literal["first", "all"] = "first"
    """Read the `first` wording of each fact, or `all` paraphrases too (name)."""

    answers: Literal["given", "own"] = "given"
    """Which answer is read and cut off: the `given` one, where there is one, or what
    the model says, its `own` (name)."""

    num_answer_tokens: int = 1
    """Tokens of an answer of the model's own (count)."""

    unclear: Literal["error", "leave-out"] = "error"
    """What becomes of facts whose subject or answer cannot be found in tokens: an
    `error` that shows the tokens, or `leave-out` and count them (name)."""

    occurrence: str | None = None
    """Which place of the subject counts where the prompt has several: 1, 2, ... or last
    (number); by default several are an error."""

    ignore_case: bool = False
    """Find the subject whatever its case (yes or no)."""

    subject_tokens: str | None = None
    """Tokens of the subject of `--prompt`, first:end, instead of its words (range); by
    default none."""

    def __post_init__(self) -> None:
        """Refuse two sources of prompts, and words that are no number."""
        require_at_least("--num-answer-tokens", self.num_answer_tokens, 1)
        _ = self.as_facts

    @property
    def as_facts(self) -> FactOptions:
        """The same as tracing reads them."""
        return FactOptions(
            facts=self.facts,
            prompt=self.prompt,
            subject=self.subject,
            answer=self.answer,
            columns=self.columns,
            num_facts=self.num_facts,
            wordings=self.wordings,
            unclear=self.unclear,
            occurrence=self.occurrence,
            ignore_case=self.ignore_case,
            subject_tokens=self.subject_tokens,
        )

    @property
    def has_subject(self) -> bool:
        """Prompts have one."""
        told = self.subject is not None or self.subject_tokens is not None
        return self.prompt is None or told


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOptions:
    """Which rows of attention are read, and what of them is kept."""

    queries: Literal["first", "all"] = "first"
    """Read the position that produces the `first` token of the answer and that token's
    own row, or those of `all` its tokens (name)."""

    whole: bool = True
    """Form whole maps too, one layer at a time, for the weight that tokens receive and
    for rollout (yes or no)."""

    show: int = 8
    """Prompts that the report shows token by token (count)."""

    maps: int = 1
    """Shown prompts of which the map of every layer and head is kept whole, every token
    looking at every other; not with `--no-whole`, and not where one prompt has more
    than half a million such weights (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--show", self.show, 1)
        require_at_least("--maps", self.maps, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectOptions:
    """What is done to see whether looking matters."""

    num_effects: int = 32
    """Prompts, from the first on, whose edges to the subject are cut and whose tokens
    are traced (count); 0 for none, and then nothing is said of effects."""

    window: int | None = None
    """Layers whose edges are cut together (count); by default a fifth of the model's,
    at least 1."""

    num_draws: int = 10
    """Draws of noise behind the causal effect of tokens (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-draws", self.num_draws, 1)
        if self.num_effects < 0:
            raise UsageError(f"--num-effects is {self.num_effects}; give 0 or more")
        if self.window is not None:
            require_at_least("--window", self.window, 1)

    def window_of(self, num_layers: int) -> int:
        """Layers that are cut together.

        >>> EffectOptions().window_of(12), EffectOptions(window=3).window_of(12)
        (2, 3)
        """
        return max(1, num_layers // 5) if self.window is None else self.window


Prompts = Annotated[PromptOptions, PROMPTS]
Rows = Annotated[RowOptions, ROWS]
Effects = Annotated[EffectOptions, EFFECTS]

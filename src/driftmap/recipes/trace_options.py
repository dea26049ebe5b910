"""Which options does the question of where a fact is read have?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from cyclopts import Parameter, Token

from driftmap.core.errors import UsageError
from driftmap.recipes.engine_options import FREE as ENGINE_FREE
from driftmap.recipes.options import require_at_least, section
from driftmap.results.trace_kinds import NoiseKind, Outcome, TraceKind

FACTS = section("Facts", 2)
STATES = section("What is put back", 3)
NOISE = section("What is corrupted", 4)

FREE = ("out", "source.device", "source.device_map", *ENGINE_FREE)
"""Settings that change where or how fast, but not what comes out."""

REDOES: Mapping[str, tuple[str, ...]] = {
    "states.pooled": ("findings", "report"),
    "states.show": ("findings", "report"),
}
"""Settings that may change within a run, and the steps that are then done again."""

LEVELLED = ("gaussian", "uniform")
"""Kinds of noise that have a level."""

PLAIN_KINDS: tuple[TraceKind, ...] = ("hidden", "mlp", "attn")
SEVERED: tuple[TraceKind, ...] = ("severed_mlp", "severed_attn")


def _listed_kinds(_kind: object, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Read names with commas between them, given once or several times."""
    words = (one.strip() for token in tokens for one in token.value.split(","))
    return tuple(dict.fromkeys(words))


Kinds = Annotated[
    tuple[str, ...], Parameter(converter=_listed_kinds, negative_iterable=())
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactOptions:
    """Which facts are traced, and where their subjects are."""

    facts: str | None = None
    """Facts to trace: known_1000, CounterFact, EasyEdit, zsRE, ParaRel's folder, or
    rows of `subject`, `prompt` and `answer` (file or hub name); by default none,
    and `--prompt` is given."""

    prompt: str | None = None
    """One prompt to trace, up to the answer (text); by default none."""

    subject: str | None = None
    """The subject's words in `--prompt` (text); by default none, and
    `--subject-tokens` or `--guess-subject` says where it is."""

    answer: str | None = None
    """The answer to `--prompt` (text); by default the model's own first choice."""

    foil: str | None = None
    """A wrong answer to `--prompt` to compare with (text); by default none."""

    columns: str | None = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,answer=object` (pairs); by default they are recognised."""

    num_facts: int | None = None
    """Facts drawn from the file (count); by default all."""

    wordings: Literal["first", "all"] = "first"
    """Trace the `first` wording of each fact, or `all` paraphrases too (name)."""

    answers: Literal["given", "top1"] = "given"
    """Whose probability is read: the `given` answer, where there is one, or the model's
    own first choice, `top1` (name)."""

    unknown: Literal["leave-out", "trace"] = "leave-out"
    """What becomes of facts whose answer is not the model's first choice: `leave-out`,
    or `trace` them too, outside all averages (name)."""

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

    guess_subject: bool = False
    """Take the last capitalised words where no subject is given (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse two sources of facts, and words that are no number."""
        if self.facts is not None and self.prompt is not None:
            raise UsageError(
                f"--facts {self.facts} and --prompt are both given; leave out one"
            )
        self._require_belonging()
        if self.num_facts is not None:
            require_at_least("--num-facts", self.num_facts, 1)
        _ = self.place, self.span

    def require_source(self) -> None:
        """Refuse to trace nothing.

        Raises:
            UsageError: Neither a file nor a prompt is given.
        """
        if self.facts is None and self.prompt is None:
            raise UsageError("give either --facts, a file, or --prompt, one text")

    @property
    def place(self) -> int | Literal["last"] | None:
        """Which occurrence counts."""
        if self.occurrence in (None, "last"):
            return None if self.occurrence is None else "last"
        if not str(self.occurrence).isdecimal() or int(str(self.occurrence)) < 1:
            raise UsageError(
                f"--occurrence {self.occurrence} is no place; give 1, 2, ... or last"
            )
        return int(str(self.occurrence))

    @property
    def span(self) -> tuple[int, int] | None:
        """Tokens of the subject, where they are told."""
        if self.subject_tokens is None:
            return None
        found = re.fullmatch(r"(\d+):(\d+)", self.subject_tokens, re.ASCII)
        if not found or int(found[1]) >= int(found[2]):
            raise UsageError(
                f"--subject-tokens {self.subject_tokens} is no range; give first:end, "
                "as in 2:4 for tokens 2 and 3"
            )
        return int(found[1]), int(found[2])

    def _require_belonging(self) -> None:
        own = ("subject", "answer", "foil", "subject_tokens")
        of_file = ("columns", "num_facts")
        names, source = (of_file, "--facts") if self.prompt else (own, "--prompt")
        for name in names:
            if getattr(self, name) is not None:
                raise UsageError(
                    f"--{name.replace('_', '-')} goes with {source}; leave it out"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOptions:
    """Which states are put back, and what is read of the answer."""

    kinds: Kinds = (*PLAIN_KINDS, *SEVERED)
    """States to put back: `hidden`, `mlp`, `attn`, `severed_mlp`, `severed_attn`, with
    commas between them (names); by default all."""

    window: int = 10
    """Layers of `mlp` and `attn` that are put back together (count)."""

    outcome: Outcome = "prob"
    """What is read of the answer: `prob`, `log_prob`, `logit`, `logit_difference` to
    the foil, `rank`, minus the number of tokens that are likelier, or `kl`, minus the
    divergence from the clean run (name)."""

    pooled: bool = False
    """Average all tokens of a role in one pool, as published, instead of within each
    fact first (yes or no)."""

    fast: bool = False
    """Estimate cells from gradients, for large models, and trace only the places that
    they point to (yes or no)."""

    num_exact: int = 8
    """Facts of `--fast` that are traced in full as well, to say how good the estimate
    is (count)."""

    lens: bool = True
    """Read what the model's head says after each block (yes or no)."""

    show: int = 8
    """Facts that the report shows cell by cell (count)."""

    def __post_init__(self) -> None:
        """Refuse kinds that are none, and counts that mean nothing."""
        known = get_args(TraceKind)
        for kind in self.kinds:
            if kind not in known:
                raise UsageError(
                    f"--kinds: {kind!r} is no state; known are {', '.join(known)}"
                )
        if not any(kind in PLAIN_KINDS for kind in self.kinds):
            raise UsageError(
                "--kinds: severed ones say something beside others alone; add hidden"
            )
        if self.fast and self.outcome == "rank":
            raise UsageError(
                "--fast follows gradients, and a rank has none; take another --outcome"
            )
        require_at_least("--window", self.window, 1)
        require_at_least("--num-exact", self.num_exact, 0)
        require_at_least("--show", self.show, 1)

    @property
    def wanted(self) -> tuple[TraceKind, ...]:
        """Kinds in the order in which they are told, each once."""
        return tuple(kind for kind in get_args(TraceKind) if kind in self.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseOptions:
    """What is done to the subject's embeddings."""

    noise: NoiseKind = "gaussian"
    """What corrupts the subject: `gaussian`, `uniform`, `embedding_gaussian` or
    `student_t` (like the embeddings of the prompts), `swap` (with other subjects of the
    file of equal token length), `zero` or `mean` (name)."""

    noise_level: str = "3s"
    """How strong `gaussian` and `uniform` are: a number, or as in `3s` so many standard
    deviations of the embeddings of all subjects of the file (number)."""

    replace: bool = False
    """Put noise in place of embeddings instead of adding it (yes or no)."""

    num_draws: int = 10
    """Draws of noise; with `swap`, the most other subjects (count)."""

    noise_seed: int = 1
    """Seed of the draws; 1 is the published one (integer)."""

    df: float = 5.0
    """Degrees of freedom of `student_t`, above 2 (number)."""

    control: bool = True
    """Put the same noise on as many tokens outside the subject, too (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse levels and counts that mean nothing."""
        require_at_least("--num-draws", self.num_draws, 1)
        if self.df <= 2:
            raise UsageError(f"--df is {self.df}; give more than 2")
        if self.replace and self.noise in ("swap", "zero", "mean"):
            raise UsageError(
                f"--noise {self.noise} replaces anyway; leave out --replace"
            )
        if self.noise in LEVELLED:
            _ = self.level
        elif self.noise_level != "3s":
            raise UsageError(
                f"--noise {self.noise} has no level; leave --noise-level out"
            )

    @property
    def level(self) -> tuple[float, bool]:
        """A number, and whether it counts standard deviations.

        >>> NoiseOptions().level, NoiseOptions(noise_level=".1").level
        ((3.0, True), (0.1, False))
        """
        text = self.noise_level.strip()
        found = re.fullmatch(r"(\d*\.?\d+)(s?)", text, re.ASCII)
        if not found:
            raise UsageError(
                f"--noise-level {text} is no level; give a number, or as in 3s so many "
                "standard deviations of subjects' embeddings"
            )
        return float(found[1]), bool(found[2])


Facts = Annotated[FactOptions, FACTS]
States = Annotated[StateOptions, STATES]
Corrupting = Annotated[NoiseOptions, NOISE]

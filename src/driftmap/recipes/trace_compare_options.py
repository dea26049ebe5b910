"""Which options does the question of whether prompts use the same layers have?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section
from driftmap.recipes.trace_options import PLAIN_KINDS, FactOptions, Kinds
from driftmap.results.facts import Fact
from driftmap.results.trace_comparison import ProfileRow
from driftmap.results.trace_kinds import Outcome, TraceKind

PROMPTS = section("Facts", 2)
COMPARING = section("What is compared", 3)

RowName = Literal[
    "first-subject", "middle-subject", "last-subject", "first-later", "further",
    "last", "all-roles",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """Which prompts are compared."""

    facts: str | None = None
    """Facts to compare, in all their wordings: known_1000, CounterFact, EasyEdit, zsRE,
    ParaRel's folder, or rows of `subject`, `prompt`, `answer`, `fact_id` and
    `paraphrases` (file or hub name); or give `--prompt`."""

    prompt: tuple[str, ...] = ()
    """Prompts to compare, each up to its answer (text; repeat it)."""

    subject: tuple[str, ...] = ()
    """The subject's words in each `--prompt`, in the same order, or in all (text;
    repeat it)."""

    answer: tuple[str, ...] = ()
    """The answer to each `--prompt`, or to all (text; repeat it); by default the
    model's own first choice."""

    fact: tuple[str, ...] = ()
    """Which fact each `--prompt` says: those of one name are wordings of one fact
    (text; repeat it); by default each says its own."""

    relation: tuple[str, ...] = ()
    """The relation of each `--prompt`, or of all (text; repeat it); by default none."""

    columns: str | None = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,answer=object` (pairs); by default they are recognised."""

    num_facts: int | None = None
    """Facts drawn from the file (count); by default all."""

    unclear: Literal["error", "leave-out"] = "error"
    """What becomes of prompts whose subject or answer cannot be found in tokens: an
    `error` that shows the tokens, or `leave-out` and count them (name)."""

    occurrence: str | None = None
    """Which place of the subject counts where the prompt has several: 1, 2, ... or last
    (number); by default several are an error."""

    ignore_case: bool = False
    """Find the subject whatever its case (yes or no)."""

    def __post_init__(self) -> None:
        """Refuse lists that do not match, and words that are no number."""
        if self.prompt and len(self.prompt) < 2:
            raise UsageError("--prompt is given once; give two or more to compare")
        for name in ("subject", "answer", "fact", "relation"):
            self._require_matching(name, getattr(self, name))
        if self.prompt and not self.subject:
            raise UsageError("--subject is missing: say whom or what --prompt is about")
        _ = self.as_file

    def require_source(self) -> None:
        """Refuse no prompts and two sources of them.

        Raises:
            UsageError: Neither a file nor prompts are named, or both.
        """
        if (self.facts is None) == (not self.prompt):
            raise UsageError(
                "give either --facts, a file, or --prompt, two or more texts"
                if self.facts is None
                else f"--facts {self.facts} and --prompt are both given; leave out one"
            )

    @property
    def as_file(self) -> FactOptions:
        """The same for whoever reads and encodes facts, one by one."""
        return FactOptions(
            facts=self.facts or "--prompt",
            columns=self.columns,
            num_facts=self.num_facts,
            wordings="all",
            unclear=self.unclear,
            occurrence=self.occurrence,
            ignore_case=self.ignore_case,
        )

    def given(self) -> tuple[Fact, ...]:
        """The prompts of the command line, as facts."""
        num = len(self.prompt)
        subject, answer, relation = (
            values * num if len(values) == 1 else values or (None,) * num
            for values in (self.subject, self.answer, self.relation)
        )
        said = self.fact or tuple(f"prompt {n + 1}" for n in range(num))
        return tuple(
            Fact(
                id=f"prompt {number + 1}",
                fact_id=said[number],
                subject=str(subject[number]),
                prompt=prompt,
                answer=answer[number],
                relation=relation[number] or "",
            )
            for number, prompt in enumerate(self.prompt)
        )

    def _require_matching(self, name: str, values: Sequence[str]) -> None:
        if values and not self.prompt:
            raise UsageError(f"--{name} goes with --prompt; leave it out")
        fits = {len(self.prompt)} if name == "fact" else {1, len(self.prompt)}
        if values and len(values) not in fits:
            raise UsageError(
                f"--{name} is given {len(values)} times for {len(self.prompt)} "
                "prompts; give it once for each"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """By which states prompts are compared, and how chance is drawn."""

    kinds: Kinds = PLAIN_KINDS
    """States by which prompts are compared, `hidden`, `mlp` and `attn`, the one that
    the answer rests on first (names with commas); by default all three."""

    window: int = 10
    """Layers of `mlp` and `attn` that are put back together (count)."""

    outcome: Outcome = "prob"
    """What is read of the answer: `prob`, `log_prob`, `logit`, `logit_difference` to
    the foil, `rank`, minus the number of tokens that are likelier, or `kl`, minus the
    divergence from the clean run (name)."""

    row: RowName = "last-subject"
    """Tokens whose effects make the profile: those of one role, or `all-roles` one
    after another (name)."""

    min_total_effect: float = 0.05
    """Least total effect of a prompt that is compared (units of the outcome)."""

    other_seeds: int = 1
    """Other seeds of the noise under which every prompt is traced again, for the
    ceiling; 0 for none (count)."""

    permutations: int = 999
    """Relabellings behind each p-value (count)."""

    resamples: int = 1000
    """Draws of subjects behind each interval (count)."""

    show: int = 60
    """Prompts that the matrix of the report shows, the first ones (count)."""

    def __post_init__(self) -> None:
        """Refuse kinds that have no profile, and counts that mean nothing."""
        for kind in self.kinds:
            if kind not in PLAIN_KINDS:
                raise UsageError(
                    f"--kinds: {kind!r} has no profile at every token; known are "
                    f"{', '.join(PLAIN_KINDS)}"
                )
        if not self.kinds:
            raise UsageError("--kinds names no state; give hidden, mlp or attn")
        require_at_least("--window", self.window, 1)
        require_at_least("--other-seeds", self.other_seeds, 0)
        require_at_least("--permutations", self.permutations, 19)
        require_at_least("--resamples", self.resamples, 19)
        require_at_least("--show", self.show, 2)
        if not self.min_total_effect > 0:
            raise UsageError(
                f"--min-total-effect is {self.min_total_effect}; give more than 0"
            )

    @property
    def profile_row(self) -> ProfileRow:
        """The row by the name of its role."""
        return cast(ProfileRow, self.row.replace("-", " "))

    @property
    def wanted(self) -> tuple[TraceKind, ...]:
        """Kinds in the order given, each once."""
        return cast(tuple[TraceKind, ...], tuple(dict.fromkeys(self.kinds)))


Prompts = Annotated[PromptOptions, PROMPTS]
Comparing = Annotated[CompareOptions, COMPARING]

"""Which facts are traced? A file's, some drawn of them, or one told on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.columns import parse_columns
from driftmap.load.fact_shapes import SHAPES
from driftmap.load.facts import AS_THEY_ARE, in_every_wording, read_facts
from driftmap.recipes.trace_options import FactOptions
from driftmap.results.facts import Fact

SINGLE = "prompt"
"""What one fact told on the spot is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFacts:
    """What a study starts from.

    Args:
        facts: To be traced, in the order of the file.
        of_file: All facts of the file in their first wording: noise is as strong as
            their subjects vary.
        shape: Of the file; empty for one prompt.
        sha256: Of the file; of nothing for one prompt, whose words are settings.
    """

    facts: tuple[Fact, ...]
    of_file: tuple[Fact, ...]
    shape: str = ""
    sha256: str = ""


def read_all(options: FactOptions, seed: int) -> ReadFacts:
    """Read the facts, and draw those that are traced.

    Raises:
        DataError: The file cannot be used.
        UsageError: `--columns` names what no shape knows.
    """
    if options.prompt is not None:
        single = Fact(
            id=SINGLE,
            subject=options.subject or "",
            prompt=options.prompt,
            answer=options.answer,
            foil=options.foil,
        )
        return ReadFacts(facts=(single,), of_file=(single,))
    columns = AS_THEY_ARE
    if options.columns is not None:
        columns = parse_columns(options.columns, SHAPES)
    read = read_facts(str(options.facts), columns)
    facts = drawn(read.facts, options.num_facts, seed)
    if options.wordings == "all":
        facts = in_every_wording(facts)
    say(f"{options.facts}: {len(facts):,} facts to trace ({read.shape})")
    return ReadFacts(
        facts=facts, of_file=read.facts, shape=read.shape, sha256=read.sha256
    )


def drawn(facts: Sequence[Fact], num_facts: int | None, seed: int) -> tuple[Fact, ...]:
    """Draw without replacement, kept in their order; all where too few are there."""
    if num_facts is None or num_facts >= len(facts):
        return tuple(facts)
    random = np.random.default_rng(child_seed(seed, "facts"))
    drawn = random.choice(len(facts), num_facts, replace=False)
    return tuple(facts[index] for index in sorted(drawn.tolist()))

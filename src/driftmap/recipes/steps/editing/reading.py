"""Which facts are taught, and which others stand beside them?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.quoted import quoted
from driftmap.load.columns import parse_columns
from driftmap.load.fact_shapes import SHAPES
from driftmap.load.facts import AS_THEY_ARE, read_facts
from driftmap.recipes.edit_options import TaughtOptions
from driftmap.recipes.steps.tracing.reading import drawn
from driftmap.results.facts import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTaught:
    """What a study of an edit starts from.

    Args:
        facts: To be taught: `answer` is the present answer, `foil` the new one.
        others: Facts of the file that are not taught.
        shape: Of the file.
        sha256: Of the file.
    """

    facts: tuple[Fact, ...]
    others: tuple[Fact, ...]
    shape: str
    sha256: str


def read_taught(options: TaughtOptions, seed: int) -> ReadTaught:
    """Read the facts, and take those that are taught.

    Raises:
        DataError: The file cannot be used, or no fact of it has a new answer.
        UsageError: `--columns` names what no shape knows.
    """
    columns = AS_THEY_ARE
    if options.columns is not None:
        columns = parse_columns(options.columns, SHAPES)
    read = read_facts(options.facts, columns)
    able = _with_new_answer(options.facts, read.facts)
    if options.pick == "first":
        facts = able[: options.num_facts]
    else:
        facts = drawn(able, options.num_facts, seed)
    taught = {fact.id for fact in facts}
    say(f"{options.facts}: {len(facts):,} facts to teach ({read.shape})")
    return ReadTaught(
        facts=tuple(facts),
        others=tuple(fact for fact in read.facts if fact.id not in taught),
        shape=read.shape,
        sha256=read.sha256,
    )


def _with_new_answer(source: str, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    able = tuple(fact for fact in facts if fact.foil)
    if not able:
        raise DataError(
            f"{source}: none of its {len(facts):,} facts has a new answer to teach; "
            "write one as `foil`, or name your column with --columns foil=YOURS"
        )
    for fact in able:
        if not fact.answer:
            raise DataError(
                f"{source}: {fact.id} has a new answer and no present one to weigh it "
                "against; write it as `answer`, or leave the row out"
            )
        if fact.answer == fact.foil:
            raise DataError(
                f"{source}: {fact.id}: present and new answer are both "
                f"{quoted(str(fact.answer))!r}; give two that differ"
            )
    return able

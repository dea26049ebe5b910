"""Which prompts are compared? A file's facts in every wording, or some on the spot."""

from driftmap.recipes.steps.tracing.reading import ReadFacts, read_all
from driftmap.recipes.trace_compare_options import PromptOptions


def read_compared(options: PromptOptions, seed: int) -> ReadFacts:
    """Read the prompts.

    Args:
        options: Which.
        seed: Draws facts where not all are wanted.

    Raises:
        DataError: The file cannot be used.
        UsageError: `--columns` names what no shape knows.
    """
    if options.prompt:
        given = options.given()
        return ReadFacts(facts=given, of_file=given)
    return read_all(options.as_file, seed)

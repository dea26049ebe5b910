"""Which small studies does the demo put together?"""

from pathlib import Path

from driftmap.recipes.steps.study.files import (
    SHIPPED,
    StudyFile,
    read_study_file,
)

SMALL = (
    "safety-drift-small",
    "expert-repair-small",
    "gradient-similarity-small",
    "fact-tracing-small",
)
"""In the order of the report. Each of the first two makes a model of its own, so that
two processes need not wait for each other."""


def demo_study(seed: int) -> StudyFile:
    """Put the small studies together.

    Args:
        seed: Of the built-in models.
    """
    studies = [read_study_file(SHIPPED / f"{name}.yaml") for name in SMALL]
    return StudyFile(
        file=Path("the demo"),
        title="Every question, asked of models that were made on the spot",
        about="A small model that knows facts and refuses what does harm, and a small "
        "mixture of experts, were trained when this was run; everything below is "
        "measured on them. It shows what the instruments say and how sure they are, "
        "and is no finding about large models.",
        source="",
        seed=seed,
        runs=tuple(run for study in studies for run in study.runs),
    )

"""How does a person have the studied model answer paraphrased prompts itself?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.load.source import ModelSource
from driftmap.recipes.dataset_options import Answering, AnsweringOptions
from driftmap.recipes.options import MODEL, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class DataGenerate:
    """Let the studied model answer the paraphrased prompts, by its first choices.

    Needs the paraphrases that `driftmap data paraphrase` makes in the same folder. A
    command that was killed goes on where it was; a set that is there already with the
    same settings is reused.
    """

    source: Annotated[ModelSource, MODEL]

    answering: Answering = field(default_factory=AnsweringOptions)

    out: Annotated[Path, RUN] = Path("data")
    """Folder with the prompts, for `generated.jsonl` (path)."""

    def run(self) -> Path:
        """Answer the prompts that are not answered yet.

        Returns:
            The samples file of the answers.
        """
        from driftmap.recipes.steps.dataset.sets import needed

        needed(self.out, self.answering.prompts)  # before the seconds that torch takes
        from driftmap.recipes.steps.dataset import answering

        plan = answering.AnswerPlan(source=self.source, options=self.answering)
        return answering.make_answers(plan, self.out)

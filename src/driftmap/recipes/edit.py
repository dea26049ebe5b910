"""What does teaching a model new facts change, and is more changed than was taught?"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes import (
    attention_change_options,
    edit_measure_options,
    edit_options,
)
from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.edit_options import (
    FREE,
    AnswerOptions,
    EditTuningOptions,
    Preset,
    preset,
)
from driftmap.recipes.options import MODEL, RUN, options

READ_OF_BOTH = options("What is read of both", 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Teach a model new facts, and measure before and after what that changed.

    Each fact's new answer is learnt after its prompt. Then both models are asked: is
    the new answer likelier than the old one, in other words too; are subjects that
    share the old answer left alone, and other facts of the same subject; what is
    written freely; where does the model look. Several ways of tuning, or several sets
    of blocks, stand side by side, with their time and memory. The edit success of
    published work is a comparison of two words, which hides damage: that is shown
    beside it.
    """

    source: Annotated[ModelSource, MODEL]

    taught: edit_options.Taught

    tuning: edit_options.EditTuning = field(default_factory=EditTuningOptions)

    answers: edit_options.Answers = field(default_factory=AnswerOptions)

    attention: attention_change_options.Change = field(
        default_factory=AttentionChangeOptions
    )

    edit_measures: edit_measure_options.EditMeasures = field(
        default_factory=EditMeasureOptions
    )

    text: Annotated[tuple[str, ...], READ_OF_BOTH] = ()
    """A text whose tokens' attention is shown in both models (text; may be repeated);
    by default the first fact's sentences with the new and with the old answer."""

    preset: Annotated[Preset, RUN] = "none"
    """Settings of a published run where nothing else is said: `counterfact100`, the
    first 100 facts, three beginnings of texts each, repeats kept, loss on all tokens,
    LoRA on q and v, 10 passes; or `none` (name)."""

    seed: Annotated[int, RUN] = 0
    """Seed that draws facts, starts adapters, orders rows and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/edit")
    """Run folder; one with the same settings is resumed (path)."""

    def run(self) -> Path:
        """Teach and measure what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.editing.reading import read_taught

        taught, tuning = preset(self.preset, self.taught, self.tuning)
        recipe = replace(self, taught=taught, tuning=tuning)
        read = read_taught(taught, self.seed)
        free = (*FREE, *edit_measure_options.FREE)
        beforehand.require_folder(asdict(recipe), "edit", free)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.editing import carrying

            loaded = load_model(self.source)
        plan = carrying.EditPlan(
            taught=taught,
            tuning=tuning,
            answers=self.answers,
            attention=self.attention,
            measures=self.edit_measures,
            texts=self.text,
            free=free,
        )
        return carrying.carry_out(loaded, read, plan, asdict(recipe))

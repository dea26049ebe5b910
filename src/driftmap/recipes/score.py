"""How much does a data set's loss depend on each single weight?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import FREE as FREE_ENGINE
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.options import (
    DATA,
    FREE,
    GROUPS,
    MODEL,
    RUN,
    SCORING,
    ScoringOptions,
    renamed,
)
from driftmap.recipes.picking_options import PickingOptions

REDOES: Mapping[str, tuple[str, ...]] = {"picking": ("score",)}
"""Settings that may change within a run, and the steps that are then done again."""

MAY_CHANGE = (*FREE, *FREE_ENGINE)
"""Settings that may change and redo nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Score every weight of a model on samples, and keep the highest as a group.

    One phase of `driftmap drift` alone. `--keep` also writes the scores themselves:
    one float32 tensor per matrix, under its module path.
    """

    source: Annotated[ModelSource, MODEL]

    data: Annotated[str, DATA]
    """Samples to score on: requests with answers (file, known name, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    scoring: Annotated[ScoringOptions, SCORING] = field(default_factory=ScoringOptions)

    picking: Annotated[PickingOptions, GROUPS] = field(default_factory=PickingOptions)

    keep: Annotated[bool, RUN] = False
    """Write all scores to `scores/SCORE-*.safetensors`, 4 bytes per scored weight (yes
    or no)."""

    engine: Engine = field(default_factory=EngineOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws the samples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/score")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs.
        """
        renamed(self.columns)

    def run(self) -> Path | str:
        """Score unless it is done already.

        Returns:
            The run folder; with `--print-slurm` the script.
        """
        from driftmap.recipes.steps import beforehand, rows, submitting

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "score", self.engine)
        columns = renamed(self.columns)
        read = rows.drawn(self.data, self.scoring.num_samples, self.seed, columns)

        beforehand.require_folder(asdict(self), "score", (*MAY_CHANGE, *REDOES))
        with phase("load the model"):
            from driftmap.load.encoding import encoded_sha256
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import bench, data, sharing_out
            from driftmap.recipes.steps.needs import foreseen
            from driftmap.recipes.steps.scoring import files, sharing

            loaded = load_model(sharing_out.source_here(self.source, self.engine))
        encoded = data.scored_samples(loaded, read, self.scoring)
        with bench.opened(
            loaded, self.out, asdict(self), "score", MAY_CHANGE, REDOES
        ) as study:
            study.run.note_inputs({"data": read.sha256})
            fed = (encoded, encoded_sha256(encoded))
            shared = sharing.planned(self.source, self.engine, self.out)
            if shared is None:
                scoring, keep = self.scoring, self.keep
                foreseen.require_scoring_room(study, encoded, scoring, keep=keep)
            if shared and shared.is_part:
                files.share_part(study, fed, self.scoring, self.picking, shared)
            else:
                how = (self.scoring, self.picking)
                files.score_step(study, fed, *how, keep=self.keep, sharing=shared)
            return study.run.path

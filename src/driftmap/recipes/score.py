"""How much does a data set's loss depend on each single weight?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.options import (
    DATA,
    FREE,
    MODEL,
    RUN,
    SCORING,
    ScoringOptions,
    options,
    renamed,
    require_share,
)
from driftmap.recipes.required import pieces_of
from driftmap.results.groups import Per

REDOES: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("share", "per", "lowest", "n_m"), ("score",)
)
"""Settings that may change within a run, and the steps that are then done again."""


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

    share: Annotated[float, options("Groups", 4)] = 0.01
    """Share, highest by score, in the group `top` (0 to 1)."""

    per: Annotated[Per, options("Groups", 4)] = "matrix"
    """What the share is of: each matrix, each row, the matrices of each layer together,
    or all matrices together (kind of place)."""

    lowest: Annotated[bool, options("Groups", 4)] = False
    """Take the lowest scores, as pruning does, in a group `lowest` (yes or no)."""

    n_m: Annotated[str | None, options("Groups", 4)] = None
    """Take N of every M consecutive inputs of a row in place of a share, with
    `--lowest` those that N:M pruning drops (N:M, as in 2:4); by default none."""

    keep: Annotated[bool, RUN] = False
    """Write all scores to `scores/SCORE-*.safetensors`, 4 bytes per scored weight (yes
    or no)."""

    seed: Annotated[int, RUN] = 0
    """Seed that draws the samples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/score")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: The share is not above 0 and up to 1, n is not below m, or
                columns are no pairs.
        """
        require_share("--share", self.share)
        pieces_of(self.n_m, self.per)
        renamed(self.columns)

    def run(self) -> Path:
        """Score unless it is done already.

        Returns:
            The run folder.
        """
        from driftmap.recipes.steps import beforehand, rows

        columns = renamed(self.columns)
        read = rows.drawn(self.data, self.scoring.num_samples, self.seed, columns)

        beforehand.require_folder(asdict(self), "score", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.encoding import encoded_sha256
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import bench, data
            from driftmap.recipes.steps.groups import single
            from driftmap.recipes.steps.needs import foreseen
            from driftmap.recipes.steps.scoring import files

            loaded = load_model(self.source)
        encoded = data.scored_samples(loaded, read, self.scoring)
        with bench.opened(
            loaded, self.out, asdict(self), "score", FREE, REDOES
        ) as study:
            study.run.note_inputs({"data": read.sha256})
            foreseen.require_scoring_room(study, encoded, self.scoring, keep=self.keep)
            fed = (encoded, encoded_sha256(encoded))
            rule = single.Rule(
                share=self.share,
                per=self.per,
                is_lowest=self.lowest,
                pieces=pieces_of(self.n_m, self.per),
            )
            files.score_step(study, fed, self.scoring, rule, keep=self.keep)
            return study.run.path

"""How much does a data set's loss depend on each single weight?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from driftmap.load.source import ModelSource
from driftmap.recipes.options import ScoringOptions

Flat = Parameter(name="*")

FREE = (
    "out",
    "source.device",
    "source.device_map",
    "scoring.score_batch_size",
    "scoring.memory",
)
"""Settings that change where or how fast, but not what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Score every weight of a model on samples, and keep the highest as a group.

    One phase of `driftmap drift` alone. `--keep` also writes the scores themselves:
    one float32 tensor per matrix, under its module path.
    """

    source: Annotated[ModelSource, Flat]

    data: str
    """Samples to score on: requests with answers (file)."""

    score: Literal["snip"] = "snip"
    """Which score: snip is |weight| times mean |gradient| per sample."""

    scoring: Annotated[ScoringOptions, Flat] = field(default_factory=ScoringOptions)

    share: float = 0.01
    """Share of each matrix, highest by score, in the group `top` (0 to 1)."""

    keep: bool = False
    """Write all scores to `scores/SCORE-*.safetensors`: 4 bytes per scored weight."""

    seed: int = 0
    """Seed that draws the samples (integer)."""

    out: Path = Path("runs/score")
    """Run folder; a folder with the same settings is reused (path)."""

    def run(self) -> Path:
        """Score unless it is done already.

        Returns:
            The run folder.
        """
        from driftmap.load.model import load_model
        from driftmap.recipes.steps import bench, score_files

        loaded = load_model(self.source)
        data = bench.one_set(loaded, self.data, self.scoring, self.seed)
        with bench.opened(loaded, self.out, asdict(self), "score", FREE) as study:
            score_files.score_step(study, data, self.scoring, (self.share, self.keep))
            return study.run.path

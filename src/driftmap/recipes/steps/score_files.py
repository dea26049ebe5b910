"""How are the scores of one data set written, whole and as a group?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from driftmap.core.places import Site
from driftmap.measure.select import top
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.scoring import snip_scores
from driftmap.results.groups import FlatIndex, GroupOrigin, WeightGroup
from driftmap.results.samples import EncodedSample
from driftmap.store.groups import save_group
from driftmap.store.scores import save_scores
from driftmap.store.steps import StepOutcome


def score_step(
    study: Study,
    data: tuple[Sequence[EncodedSample], str],
    scoring: ScoringOptions,
    kept: tuple[float, bool],
) -> StepOutcome:
    """Write `groups/top.safetensors` and, if asked, `scores/snip-*.safetensors`.

    Args:
        study: Folder, model and seed.
        data: Encoded samples, and their hash as encoded.
        scoring: How weights are scored.
        kept: Share of each matrix in the group, and whether all scores are kept.
    """
    encoded, sha256 = data
    share, keep = kept
    identity = study.loaded.identity
    inputs = {
        "model": identity.sha256,
        "dtype": identity.dtype,
        "data": sha256,
        "num_samples": scoring.num_samples,
        "positions": scoring.positions,
        "share": share,
        "keep": keep,
        "seed": study.seed,
    }

    def make(folder: Path) -> None:
        members: dict[Site, FlatIndex] = {}
        parts = snip_scores(study.loaded, [encoded], scoring)
        for number, (scores,) in enumerate(parts):
            members |= top(scores, share)
            if keep:
                file = folder / f"scores/snip-{number:03d}.safetensors"
                save_scores(file, _plain(scores), inputs)
        origin = GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule="top",
            score="snip",
            shares={"share": share},
            samples_sha256={"data": sha256},
            positions=scoring.positions,
        )
        group = WeightGroup(name="top", members=members, origin=origin)
        save_group(folder / "groups/top.safetensors", group)

    return study.run.step("score", inputs, make)


def _plain(scores: Mapping[Site, Tensor]) -> dict[Site, np.ndarray]:
    return {site: of_site.cpu().numpy() for site, of_site in scores.items()}

"""A random change is as long as the one it stands for, or there is none."""

import pytest

from driftmap.core.errors import MeasureError
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.tuned import find_tuned
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.chance import random_change
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.store.run_dir import RunDir
from made_pairs_of_models import save_adapter


def test_a_change_that_the_number_type_rounds_away_has_no_random_one(model, tmp_path):
    save_adapter(model, tmp_path / "small", size=1e-6)
    loaded = load_model(ModelSource(model=str(model), device="cpu", dtype="bfloat16"))
    run = find_tuned([str(tmp_path / "small")])
    with RunDir.open(tmp_path / "run", {"seed": 0}, "compare") as folder:
        study = Study(run=folder, loaded=loaded, seed=0)
        pair = Pair(study=study, run=run, tuned=load_beside(loaded, run.last))
        with pytest.raises(MeasureError, match=r"rounded to 0.00 times it; give --dty"):
            random_change(pair)

import numpy as np
import pytest
import torch

from driftmap.core.places import Site
from driftmap.measure.first_order import UnitTerms
from driftmap.measure.snip import GradientSums, Snip, SnipHalves
from driftmap.measure.wanda import SquareSums
from driftmap.signals.states import state_from_arrays, state_to_arrays
from driftmap.store.fold_states import find_sums, open_sums, save_sums

SITE = Site(path="m.0.q", layer=0, part="q", num_rows=2, num_columns=3)
TERMS = UnitTerms(
    of_samples=(torch.rand(2, 3).double(), torch.rand(1, 3).double()),
    sample_index=(4, 2, 9),
    num_samples=3,
)
STATES = {
    "gradient": (GradientSums(), GradientSums(total=torch.rand(2, 3), num_samples=7)),
    "unreached": (GradientSums(), GradientSums(num_samples=7)),
    "squares": (
        SquareSums(),
        SquareSums(total=torch.rand(3).double(), num_tokens=5, num_samples=2),
    ),
    "terms": (UnitTerms(), TERMS),
    "halves": (
        (GradientSums(), GradientSums()),
        (GradientSums(num_samples=1), GradientSums(total=torch.rand(2, 3))),
    ),
}


def flat(state):
    if isinstance(state, tuple):
        return [value for one in state for value in flat(one)]
    if isinstance(state, torch.Tensor):
        return [(state.dtype, state.tolist())]
    if hasattr(state, "__dataclass_fields__"):
        names = state.__dataclass_fields__
        return [pair for n in names for pair in [(n, flat(getattr(state, n)))]]
    return [state]


@pytest.mark.parametrize("kind", STATES)
def test_a_state_comes_back_from_a_file_as_it_was(tmp_path, kind):
    empty, state = STATES[kind]
    file = tmp_path / "weights-000.safetensors"
    save_sums(file, {"m.0.q": state_to_arrays(state), "m.0.k": {}})
    assert find_sums(tmp_path, "weights") == {"m.0.q": file, "m.0.k": file}
    with open_sums(file) as sums:
        assert flat(state_from_arrays(empty, sums.at("m.0.q"))) == flat(state)
        assert flat(state_from_arrays(empty, sums.at("m.0.k"))) == flat(empty)


@pytest.mark.parametrize("fold", [Snip, SnipHalves])
def test_what_comes_back_can_be_finished_in_place(tmp_path, fold):
    fold = fold(weight=lambda site: torch.full(site.shape, 2.0))
    one = GradientSums(total=torch.full((2, 3), 3.0), num_samples=4)
    state = one if isinstance(fold, Snip) else (one, GradientSums())
    save_sums(tmp_path / "a-0.safetensors", {"m.0.q": state_to_arrays(state)})
    with open_sums(tmp_path / "a-0.safetensors") as sums:
        read = state_from_arrays(fold.start(SITE), sums.at("m.0.q"))
    result = fold.result({SITE: read})[SITE]
    score = result if isinstance(fold, Snip) else result.score
    assert np.allclose(score.numpy(), 1.5)

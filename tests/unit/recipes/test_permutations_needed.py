import numpy as np
import pytest

from driftmap.core.places import Site
from driftmap.recipes.options import TestingOptions as Options
from driftmap.recipes.steps.inference.testing import _num_permutations
from driftmap.results.groups import GroupOrigin, WeightGroup

SITES = [
    Site(path=f"layers.{n}.{part}", layer=n, part=part, num_rows=2, num_columns=2)
    for n in range(32)
    for part in ("q", "k", "v", "o", "gate", "up", "down")
]


def group(name, rule):
    origin = GroupOrigin(model_sha256="m", base_sha256="b", rule=rule)
    return WeightGroup(name=name, members={SITES[0]: np.array([0])}, origin=origin)


DECLARED = [
    group("difference", "difference"), group("top", "top"), group("utility", "top")
]  # fmt: skip
CONTROLS = [group("matched", "matched"), group("random", "random")]


def test_only_declared_groups_are_tests():
    """3 groups x (1 + 32 layers + 7 parts), less the declared test, at 5 %."""
    needed = _num_permutations(Options(), [*DECLARED, *CONTROLS], SITES)
    assert needed == (3 * 40 - 1) * 20 - 1
    assert needed == _num_permutations(Options(), DECLARED, SITES)


@pytest.mark.parametrize(("asked", "drawn"), [(None, 999), (99, 99)])
def test_small_models_draw_the_least_and_an_option_counts_first(asked, drawn):
    testing = Options(permutations=asked)
    assert _num_permutations(testing, DECLARED[:1], SITES[:1]) == drawn

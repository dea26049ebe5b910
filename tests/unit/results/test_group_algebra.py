"""Are groups of one model sets, and groups of two models none together?"""

from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.results.groups import GroupOrigin, WeightGroup

A, B, C = (
    Site(path=f"m.{n}", layer=n, part="up", num_rows=2, num_columns=3) for n in range(3)
)
ORIGIN = GroupOrigin(model_sha256="model", base_sha256="base", rule="top", score="snip")


def group(name, origin=ORIGIN, **members):
    named = {"a": A, "b": B, "c": C}
    return WeightGroup(
        name=name,
        members={named[k]: np.array(v, dtype=np.int64) for k, v in members.items()},
        origin=origin,
    )


LEFT, RIGHT = group("left", a=[0, 1, 5], b=[2]), group("right", a=[1, 2], c=[0])


@pytest.mark.parametrize(
    ("made", "name", "rule", "wanted"),
    [
        (LEFT | RIGHT, "left | right", "union", ([0, 1, 2, 5], [2], [0])),
        (LEFT & RIGHT, "left & right", "intersection", ([1], [], [])),
        (LEFT - RIGHT, "left - right", "without", ([0, 5], [2], [])),
    ],
)
def test_groups_are_sets(made, name, rule, wanted):
    assert (made.name, made.origin.rule) == (name, rule)
    assert tuple(made.at(s).tolist() for s in (A, B, C)) == wanted
    assert (made.origin.model_sha256, made.origin.base_sha256) == ("model", "base")
    assert made.origin.score == ""


def test_another_base_is_refused_and_another_adapter_is_not():
    foreign = group("theirs", replace(ORIGIN, base_sha256="another"), a=[0])
    for join in ("__or__", "__and__", "__sub__"):
        with pytest.raises(DataError, match=r"on different models \(base and an"):
            getattr(LEFT, join)(foreign)
    adapted = group("later", replace(ORIGIN, model_sha256="tuned"), a=[0])
    assert (LEFT & adapted).origin.model_sha256 == "base"

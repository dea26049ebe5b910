import json

import pytest

from driftmap.core.errors import DataError, StoreError
from driftmap.results.groups import GroupOrigin
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.statistics import (
    BehaviourChange,
    Caution,
    DriftStatistics,
    EffectSize,
    Equivalence,
    GroupRatio,
    Interval,
    LeftOut,
    NullDistribution,
    Summary,
    Verdict,
)

INTERVAL = Interval(estimate=1.5, low=1.2, high=1.75, level=0.9, num=3)
RATIO = GroupRatio(
    group="difference",
    metric="absolute",
    layer=None,
    part="q",
    thetas=(0.1, 0.2, 0.3),
    rho=1.5,
    log_bias=0.0,
    interval90=INTERVAL,
    interval95=None,
    bootstrap95=INTERVAL,
    p_value=0.001,
    p_adjusted=None,
    num_permutations=999,
    is_primary=True,
    num_matrices=14,
    num_weights=100,
    left_out=LeftOut(num_matrices=0, num_bins=2, num_weights=3, num_immobile=0),
    null=NullDistribution(observed=1.4, ratios=(0.9, 1.1), closed_form_sd=0.01),
)
SUMMARY = Summary(count=4, mean=1.0, std=0.5, median=1.0)
STATISTICS = DriftStatistics(
    step=50,
    num_seeds=3,
    ratios=(RATIO,),
    effects=(
        EffectSize(
            group="difference",
            baseline="random",
            metric="absolute",
            cohens_d=0.3,
            label="small",
            mean_difference=0.1,
            median_difference=0.2,
            cliffs_delta=None,
            of_group=SUMMARY,
            of_baseline=SUMMARY,
        ),
    ),
    equivalences=(
        Equivalence(group="difference", margin=1.25, p_value=0.5, is_similar=False),
    ),
    behaviours=(
        BehaviourChange(
            outcome="refusal rate", before=INTERVAL, after=INTERVAL, change=INTERVAL
        ),
    ),
    cautions=(Caution(name="few-seeds", sentence="Few.", value=2.0, is_blocking=True),),
    verdict=Verdict(
        kind="fragile",
        sentence="A, fragile.",
        reason="",
        settles="",
        group="difference",
        margin=1.25,
        interval90=INTERVAL,
    ),
)


def test_statistics_survive_json():
    text = json.dumps(to_plain(STATISTICS), allow_nan=False)
    assert from_plain(DriftStatistics, json.loads(text)) == STATISTICS


def test_primary_ratio_is_found():
    assert STATISTICS.primary is RATIO


@pytest.mark.parametrize(
    ("low", "high", "changed"), [(-0.3, -0.1, True), (-0.1, 0.1, False)]
)
def test_behaviour_changed_when_the_interval_leaves_out_zero(low, high, changed):
    change = Interval(estimate=-0.1, low=low, high=high, level=0.95, num=50)
    behaviour = BehaviourChange(
        outcome="refusal rate", before=INTERVAL, after=INTERVAL, change=change
    )
    assert behaviour.has_changed is changed


def test_nan_is_refused_by_place():
    bad = Caution(name="n", sentence="s", value=float("nan"), is_blocking=False)
    with pytest.raises(StoreError, match=r"^\[0\]\.value: nan is not a number a file"):
        to_plain((bad,))


def test_whole_numbers_come_back_as_floats():
    plain = {"name": "n", "sentence": "s", "value": 2, "is_blocking": False}
    assert type(from_plain(Caution, plain).value) is float


def test_mappings_come_back():
    origin = GroupOrigin(
        model_sha256="a", base_sha256="b", rule="difference", shares={"p": 0.1}
    )
    assert from_plain(GroupOrigin, to_plain(origin)) == origin


def test_missing_field_is_named():
    with pytest.raises(DataError, match=r"fields \['value'\] of Caution"):
        from_plain(Caution, {"name": "n", "sentence": "s", "is_blocking": False})


def test_wrong_type_is_named():
    plain = {"name": "n", "sentence": "s", "value": "2", "is_blocking": False}
    with pytest.raises(DataError, match=r"result\.value: '2' is not a"):
        from_plain(Caution, plain)


def test_wrong_shape_is_named():
    with pytest.raises(DataError, match="expected Caution, found 3"):
        from_plain(Caution, 3)

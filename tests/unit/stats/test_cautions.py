import math

import pytest

from driftmap.results.statistics import LeftOut
from driftmap.stats import cautions


def left_out(num_bins):
    return LeftOut(num_matrices=1, num_bins=num_bins, num_weights=1250, num_immobile=50)


CASES = [
    (
        cautions.trial_run,
        (True,),
        (False,),
        "This is a trial run (`--quick`): samples, prompts and training steps are "
        "capped",
        1.0,
    ),
    (
        cautions.relative_change,
        ("top", 0.2, {"utility": 0.19, "random": 0.1, "matched": 0.15}),
        ("top", 0.109, {"random": 0.1}),
        "with that of random and matched: median |W0| is 0.2 in top, 0.1 in random "
        "and 0.15 in matched, and dividing",
        0.5,
    ),
    (
        cautions.half_precision,
        ("bfloat16",),
        ("float32",),
        "held in bfloat16, which rounds a weight by up to 0.0039 of itself",
        2**-8,
    ),
    (
        cautions.structural_zeros,
        ("top", 0.75),
        ("top", 0.0),
        "75.0% of top lies where nothing was tuned: zero by construction",
        0.75,
    ),
    (
        cautions.kept_weights,
        ("top", 0.625, "rows"),
        ("top", 0.625, None),
        "62.5% of top was frozen, or lies in a row that was frozen with others: zero",
        0.625,
    ),
    (
        cautions.module_mix,
        ("top", {"q": 30, "k": 70}, {"random": {"q": 50, "k": 50}, "a": {"k": 1}}),
        ("top", {"q": 450, "k": 550}, {"random": {"q": 50, "k": 50}}),
        "top lies in other modules than random (0.20) and a (0.30)",
        0.3,
    ),
    (
        cautions.low_ceiling,
        ("difference", 0.3, 128),
        ("difference", 0.5, 128),
        "halves of 128 samples agree on 0.30 (Jaccard)",
        0.3,
    ),
    (
        cautions.few_seeds,
        (2,),
        (3,),
        "Effect sizes only: 2 of at least 3 training seeds",
        2.0,
    ),
    (
        cautions.few_weights,
        ("top", math.log(0.84), 154, 14),
        ("top", math.log(0.96), 154, 14),
        "of top, 11 per matrix, are so few or so clustered that its ratio would read "
        "16% low by chance",
        0.16,
    ),
    (
        cautions.few_permutations,
        (51, 999),
        (50, 999),
        "999 permutations are too few for 51 corrected tests",
        999.0,
    ),
    (
        cautions.shared_samples,
        (1200,),
        (0,),
        "1,200 evaluated samples were scored or tuned on too",
        1200.0,
    ),
    (
        cautions.dropped_bins,
        ("top", left_out(3)),
        ("top", left_out(0)),
        "ratio of top: 1,200 weights in 3 bins of |W0| without a control weight",
        3.0,
    ),
    (
        cautions.tiny_weights,
        (7,),
        (0,),
        "7 weights with |W0| <= 1e-8 are left out of relative change",
        7.0,
    ),
]


@pytest.mark.parametrize(("caution", "wrong", "fine", "words", "value"), CASES)
def test_applies_with_its_value_or_not_at_all(caution, wrong, fine, words, value):
    found = caution(*wrong)
    assert words in found.sentence
    assert found.sentence.endswith(".")
    assert found.value == pytest.approx(value)
    assert found.is_blocking == (caution in (cautions.few_seeds, cautions.trial_run))
    assert caution(*fine) is None


def test_every_caution_has_its_case_and_its_own_name():
    public = {
        n
        for n, f in vars(cautions).items()
        if getattr(f, "__module__", "") == cautions.__name__ and n[0] != "_"
    }
    assert public - {"applying"} == {case[0].__name__ for case in CASES}
    assert len({case[0](*case[1]).name for case in CASES}) == len(CASES)


def test_a_group_of_zeros_differs_from_any_other():
    assert cautions.relative_change("top", 0.0, {"random": 0.1}).value == 1
    assert cautions.relative_change("top", 0.0, {"random": 0.0}) is None


def test_overlap_without_any_ceiling():
    found = cautions.low_ceiling("difference", None, 64)
    assert "no ceiling was measured at 64 samples" in found.sentence


def test_empty_groups_have_no_mix():
    assert cautions.module_mix("a", {}, {"b": {"q": 1}}) is None
    assert cautions.module_mix("a", {"q": 1}, {"b": {}}) is None


def test_those_that_apply_are_kept_in_order():
    found = cautions.applying([None, cautions.few_seeds(1), None])
    assert [caution.name for caution in found] == ["few-seeds"]


def test_a_group_from_elsewhere_has_no_ceiling():
    found = cautions.low_ceiling("my_circuit", None, 0)
    assert found is not None
    assert found.sentence == (
        "my_circuit is not shown to be reproducible: it was chosen elsewhere, and no "
        "ceiling was measured."
    )


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("element", "3.0% of top was frozen: zero by construction"),
        ("columns", "lies in a column that was frozen with others"),
        ("rewind", "3.0% of top was rewound, which is to say put back after free"),
    ],
)
def test_what_was_kept_is_named_by_the_way(way, words):
    assert words in cautions.kept_weights("top", 0.03, way).sentence
    assert cautions.kept_weights("top", 0.0, way) is None


def test_groups_without_a_weight_are_not_compared_by_their_modules():
    assert cautions.module_mix("top", {"q": 0}, {"random": {"q": 3}}) is None

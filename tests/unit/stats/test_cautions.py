import pytest

from driftmap.results.statistics import LeftOut
from driftmap.stats import cautions


def left_out(num_bins):
    return LeftOut(num_matrices=1, num_bins=num_bins, num_weights=1250, num_immobile=50)


CASES = [
    (
        cautions.relative_change,
        ("top", "random", 0.2, 0.1),
        ("top", "random", 0.109, 0.1),
        "median |W0| is 0.2 and 0.1, and dividing by |W0| makes top look still",
        0.5,
    ),
    (
        cautions.low_precision,
        ("bfloat16", 0.81),
        ("float64", 0.81),
        "bfloat16 weights, where changes below half a spacing vanish: 81.0%",
        0.81,
    ),
    (
        cautions.structural_zeros,
        ("top", 0.75),
        ("top", 0.0),
        "75.0% of top lies where nothing was tuned: zero by construction",
        0.75,
    ),
    (
        cautions.module_mix,
        ("top", "random", {"q": 30, "k": 70}, {"q": 50, "k": 50}),
        ("top", "random", {"q": 450, "k": 550}, {"q": 50, "k": 50}),
        "lie in different modules (total variation 0.20)",
        0.2,
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
        ("top", 154, 14),
        ("top", 700, 14),
        "top has 11 weights per matrix",
        11.0,
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
        "1,200 samples serve both scoring and evaluation",
        1200.0,
    ),
    (
        cautions.quantised_base,
        (14,),
        (0,),
        "14 matrices are stored in 4 or 8 bits",
        14.0,
    ),
    (
        cautions.dropped_bins,
        ("top", left_out(3)),
        ("top", left_out(0)),
        "1,200 weights of top, in 3 bins of |W0|, have no control weight",
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
    assert found.is_blocking == (
        caution in (cautions.low_precision, cautions.few_seeds)
    )
    assert caution(*fine) is None


def test_every_caution_has_its_case_and_its_own_name():
    public = {
        n
        for n, f in vars(cautions).items()
        if getattr(f, "__module__", "") == cautions.__name__
    }
    assert public - {"applying"} == {case[0].__name__ for case in CASES}
    assert len({case[0](*case[1]).name for case in CASES}) == len(CASES)


def test_the_smaller_weights_look_as_if_they_moved_more():
    assert (
        "makes random look still"
        in cautions.relative_change("top", "random", 0.0, 0.1).sentence
    )


def test_overlap_without_any_ceiling():
    found = cautions.low_ceiling("difference", None, 64)
    assert "no ceiling was measured at 64 samples" in found.sentence


def test_empty_groups_have_no_mix():
    assert cautions.module_mix("a", "b", {}, {}) is None


def test_those_that_apply_are_kept_in_order():
    found = cautions.applying([None, cautions.few_seeds(1), None])
    assert [caution.name for caution in found] == ["few-seeds"]

"""Is what a study cannot do without asked for before any work?"""

from pathlib import Path

import pytest

from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.options import ElsewhereOptions, EvaluationOptions
from driftmap.recipes.required import require_sources, require_tunable

ALL = ("b.jsonl", "u.jsonl", "t.jsonl")
NOTHING = ElsewhereOptions()
GROUPS = ElsewhereOptions(groups=Path("g.json"))
ADAPTERS = ElsewhereOptions(checkpoints=(Path("a"),))
PROMPTS = EvaluationOptions(refusal_prompts="p.jsonl")
HELD_OUT = EvaluationOptions(held_out=("h.jsonl",))
USUAL = EvaluationOptions()


@pytest.mark.parametrize(
    ("named", "elsewhere", "evaluation"),
    [
        (ALL, NOTHING, USUAL),
        ((None, *ALL[1:]), GROUPS, PROMPTS),
        ((ALL[0], None, ALL[2]), GROUPS, HELD_OUT),
        ((*ALL[:2], None), ADAPTERS, USUAL),
    ],
)
def test_a_study_that_has_all_it_needs(named, elsewhere, evaluation):
    require_sources(named, elsewhere, evaluation)


@pytest.mark.parametrize(
    ("named", "elsewhere", "evaluation", "said"),
    [
        ((None, *ALL[1:]), NOTHING, PROMPTS, "--behaviour is missing: name samples, or "
         "give --groups and --refusal-prompts"),
        ((None, *ALL[1:]), GROUPS, USUAL, "--behaviour is missing"),
        ((ALL[0], None, ALL[2]), GROUPS, PROMPTS, "--utility is missing: name samples, "
         "or give --groups and --held-out"),
        ((*ALL[:2], None), GROUPS, USUAL, "--tune-on is missing: name samples, or give "
         "--checkpoints"),
    ],
)  # fmt: skip
def test_a_study_that_lacks_something(named, elsewhere, evaluation, said):
    with pytest.raises(UsageError, match=said):
        require_sources(named, elsewhere, evaluation)


def test_half_precision_is_for_adapters_that_are_trained():
    source = ModelSource(model="m", dtype="float16")
    require_tunable(source, is_tuned_elsewhere=True)
    with pytest.raises(UsageError, match="loses the small gradients"):
        require_tunable(source, is_tuned_elsewhere=False)

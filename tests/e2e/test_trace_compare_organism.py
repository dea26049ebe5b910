"""Are wordings of one fact closer than different facts, in the built-in model?"""

import pytest

from driftmap.load.source import ModelSource
from driftmap.recipes.steps.comparing_traces.reporting import FINDINGS, FINDINGS_KIND
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.recipes.trace_compare import TraceCompare
from driftmap.recipes.trace_compare_options import CompareOptions, PromptOptions
from driftmap.results.trace_comparison import TraceComparison
from driftmap.store.arrays_apart import load_apart

pytestmark = pytest.mark.slow


def test_wordings_of_a_fact_share_layers_more_than_others(organism, tmp_path):
    facts = make_knowledge(0, tmp_path / "known")["facts"]
    TraceCompare(
        source=ModelSource(model=str(organism.aligned), device="cpu"),
        prompts=PromptOptions(facts=str(facts), num_facts=16),
        comparing=CompareOptions(kinds=("hidden",), permutations=199, resamples=199),
        out=tmp_path / "run",
    ).run()
    found = load_apart(tmp_path / "run", FINDINGS, TraceComparison, FINDINGS_KIND)
    wordings, facts_differ, reversals = found.findings
    assert wordings.is_told_apart
    assert wordings.contrast.auc.estimate > 0.65
    assert wordings.contrast.auc.low > 0.5
    assert wordings.contrast.p_value <= 0.02
    assert wordings.contrast.ceiling > wordings.contrast.auc.estimate
    assert facts_differ.is_told_apart
    assert reversals.contrast is None
    areas = {(a.measure, a.name): a for a in found.kinds[0].areas}
    assert areas["cosine", "paraphrase"].mean_other > 0.8

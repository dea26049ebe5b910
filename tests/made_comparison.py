"""Comparisons of planted traces, and what chance is drawn with."""

from dataclasses import replace

import numpy as np

from driftmap.measure.trace_comparison import compare_traces
from driftmap.results.provenance import ModelIdentity
from driftmap.results.trace_comparison import (
    CompareReport,
    KindComparison,
    TraceComparison,
)
from driftmap.results.trace_kinds import Noise
from driftmap.stats.profile_verdict import adjusted, comparison_cautions, findings
from driftmap.stats.profiles import (
    Chance,
    ceiling,
    class_contrasts,
    class_likeness,
    measure_areas,
)
from made_profiles import crossed, fact, grid

FEW = Chance(seed=0, num_permutations=39, num_resamples=100)


def compared(facts, grids, **more):
    """Compare planted traces; answers are told apart by their words."""
    words = sorted({f.answer for f in facts})
    return compare_traces(
        grids, facts, [(words.index(f.answer),) for f in facts], **more
    )


def of_facts(strength, **more):
    """Prompts of one fact are alike; facts of a subject or relation are not."""
    return compared(*crossed(strength, **more))


def of_labels(label, strength, seed=0, subjects=10, relations=3, wordings=2):
    """Prompts that share `subject` or `relation` are alike beside noise of facts."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(max(subjects, relations), 6))
    facts, grids = [], []
    for who in range(subjects):
        for what in range(relations):
            common = own[who if label == "subject" else what]
            noise = rng.normal(size=6)
            for number in range(wordings):
                said = f"{who}/{what}"
                facts.append(
                    fact(f"{said}/{number}", said, subject=f"s{who}",
                         relation=f"r{what}", answer=f"a{who}{what}")
                )  # fmt: skip
                row = strength * common + noise + 0.3 * rng.normal(size=6)
                grids.append(grid(0.5 + 0.05 * row))
    return compared(facts, grids)


def both_ways(strength, seed=0, num=10):
    """A forward and a reversed prompt of each fact, alike by `strength`."""
    rng = np.random.default_rng(seed)
    facts, grids = [], []
    for number in range(num):
        own, said = rng.normal(size=6), f"f{number}"
        for back in (False, True):
            names = (f"s{number}", f"o{number}")
            facts.append(
                fact(f"{said}{back}", said, subject=names[back], relation=said,
                     answer=names[not back], back=back)
            )  # fmt: skip
            row = 0.5 + 0.05 * (strength * own + rng.normal(size=6))
            grids.append(grid(row, answer=names[not back]))
    return compared(facts, grids)


def kind_of(found, *, own=None, kind="hidden"):
    """All that is said of one kind of state, where prompts are `own` alike."""
    themselves = None if own is None else np.full((1, len(found.profiles)), own)
    found = replace(found, kind=kind, window=None if kind == "hidden" else 3)
    return KindComparison(
        comparison=found,
        likeness=class_likeness(found),
        contrasts=class_contrasts(found, FEW, themselves),
        ceiling=ceiling(themselves),
        areas=measure_areas(found),
    )


def report(*kinds, **settings):
    """A report on planted traces."""
    contrasts = adjusted([kind.contrasts for kind in kinds])
    kinds = [replace(k, contrasts=c) for k, c in zip(kinds, contrasts, strict=True)]
    model = ModelIdentity(
        source="org/made", sha256="ab" * 32, base_sha256="cd" * 32,
        family="llama", dtype="float32", device="cpu",
        num_weights=1000,
    )  # fmt: skip
    compared = TraceComparison(
        model=model, facts="facts.json", num_prompts=60, num_facts=16, num_left_out=0,
        outcome="prob", noise=Noise(level=0.1), noise_source="3 x the deviation",
        row=kinds[0].comparison.row, min_total_effect=0.05, kinds=tuple(kinds),
        findings=findings(kinds[0].contrasts), cautions=comparison_cautions(kinds),
    )  # fmt: skip
    return CompareReport(
        comparison=compared, settings=settings, versions={"numpy": "2"}
    )

"""Comparisons of planted traces, and what chance is drawn with."""

import numpy as np

from driftmap.measure.trace_comparison import compare_traces
from driftmap.stats.profiles import Chance
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

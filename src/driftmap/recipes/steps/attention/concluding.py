"""What is said of attention in the end, from rows and effects?"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from driftmap.recipes.steps.attention.cutting import EFFECTS, EFFECTS_KIND
from driftmap.recipes.steps.attention.reading import READ, READ_KIND
from driftmap.recipes.steps.bench import Study
from driftmap.results.attention_study import (
    AttentionEffects,
    AttentionFindings,
    ReadAttention,
    TracedTokens,
)
from driftmap.stats.attention import PromptNumbers, query_findings, token_agreement
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.steps import StepOutcome

FINDINGS = "findings"
FINDINGS_KIND = "attention-findings"

LEAST_EFFECT = 0.05
"""Of noise on the subject, below which tokens cause too little to be ranked by it."""


def findings_step(
    study: Study, read: StepOutcome, effects: StepOutcome | None
) -> StepOutcome:
    """Average over prompts, and keep what the report draws."""

    def make(folder: Path) -> None:
        found = _findings(study, read, effects)
        save_apart(folder, FINDINGS, found, FINDINGS_KIND)

    inputs = {
        "of": [read.key, None if effects is None else effects.key],
        "seed": study.seed,
    }
    return study.run.step("findings", inputs, make)


def _findings(
    study: Study, read: StepOutcome, effects: StepOutcome | None
) -> AttentionFindings:
    root = study.run.path
    rows = load_apart(root, READ, ReadAttention, READ_KIND)
    done = None
    if effects is not None:
        done = load_apart(root, EFFECTS, AttentionEffects, EFFECTS_KIND)
    grouped: dict[tuple[str, int], list[PromptNumbers]] = {}
    for one in _joined(rows, done):
        query = one.numbers.query
        grouped.setdefault((query.kind, query.answer_token), []).append(one)
    shown = {row.prompt_id for row in rows.rows}
    strong = [] if done is None else list(filter(_is_strong, done.traced))
    return AttentionFindings(
        model=study.loaded.identity,
        places=rows.places,
        num_layers=rows.num_layers,
        queries=tuple(
            query_findings(found, rows.places, rows.num_layers, study.seed)
            for found in grouped.values()
        ),
        prompts=tuple(one for one in rows.prompts if one.id in shown),
        rows=rows.rows,
        maps=rows.maps,
        knock_outs=tuple(
            one
            for one in (() if done is None else done.knock_outs)
            if one.prompt_id in shown
        ),
        num_read=len(rows.prompts),
        num_known=sum(one.is_known is True for one in rows.prompts),
        num_cut=0 if done is None else len(done.knock_outs),
        num_traced=len(strong),
        window=None if done is None else done.window,
        left_out=rows.left_out,
    )


def _joined(
    rows: ReadAttention, done: AttentionEffects | None
) -> Iterator[PromptNumbers]:
    """Every row with what was done to its prompt.

    Edges are cut from positions that produce the answer, so that what is lost then
    says nothing of other rows.
    """
    prompts = {one.id: one for one in rows.prompts}
    traced = {} if done is None else {t.prompt_id: t for t in done.traced}
    cut = {} if done is None else {k.prompt_id: k for k in done.knock_outs}
    for numbers in rows.numbers:
        name = numbers.prompt_id
        tokens, agreement = traced.get(name), None
        if tokens is not None and _is_strong(tokens):
            effects = np.array(tokens.effects)
            agreement = token_agreement(numbers.mean_weights, effects)
        produces = numbers.query.kind == "produces" and not numbers.query.answer_token
        yield PromptNumbers(
            prompt=prompts[name],
            numbers=numbers,
            agreement=agreement,
            knock_outs=cut.get(name) if produces else None,
        )


def _is_strong(traced: TracedTokens) -> bool:
    return traced.total_effect >= LEAST_EFFECT

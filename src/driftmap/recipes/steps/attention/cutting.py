"""What does the answer lose without edges to the subject, and which tokens cause it?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.noise import (
    control_span,
    draw_noise,
    embedding_level,
    embedding_rows,
)
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.core.progress import progress
from driftmap.families.attention import find_attention
from driftmap.intervene.knock_out import CutEdges, knocked_out
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact
from driftmap.recipes.attention_options import EffectOptions
from driftmap.recipes.steps.attention.preparing import (
    PreparedPrompt,
    PreparedPrompts,
    answer_log_probs,
)
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tracing.subjects import SUBJECTS
from driftmap.results.attention import (
    THIRDS,
    AttentionPlace,
    KnockOuts,
)
from driftmap.results.attention_study import AttentionEffects, TracedTokens
from driftmap.results.facts import Fact
from driftmap.results.trace_kinds import Noise
from driftmap.signals.traces import Restoring
from driftmap.store.arrays_apart import save_apart
from driftmap.store.steps import StepOutcome

EFFECTS = "effects"
EFFECTS_KIND = "attention-effects"

ROWS_AT_ONCE = 32
"""Copies of a prompt, each with its own edges cut, that run as one batch (count)."""

LEVEL = 3.0
"""Strength of the noise, in standard deviations of subjects' embeddings."""


def effects_step(
    study: Study, prepared: PreparedPrompts, options: EffectOptions
) -> StepOutcome | None:
    """Cut edges and trace tokens of the first prompts; None where none is asked for."""
    asked = [one for one in prepared.prompts if one.has_subject][: options.num_effects]
    if not asked:
        return None

    def make(folder: Path) -> None:
        found = _effects(study.loaded, prepared, asked, options)
        save_apart(folder, EFFECTS, found, EFFECTS_KIND)

    inputs = {
        "model": study.loaded.identity.sha256,
        "prompts": prepared.sha256,
        "effects": [options.num_effects, options.window, options.num_draws],
    }
    return study.run.step("effects", inputs, make)


def _effects(
    loaded: LoadedModel,
    prepared: PreparedPrompts,
    asked: Sequence[PreparedPrompt],
    options: EffectOptions,
) -> AttentionEffects:
    places = find_attention(loaded.model)
    num_layers = len(loaded.layout.blocks)
    window = options.window_of(num_layers)
    noise = Noise(level=_level(loaded, prepared), num_draws=options.num_draws)
    knocked: list[KnockOuts] = []
    traced: list[TracedTokens] = []
    with progress("cut edges and trace tokens", len(asked)) as bar:
        for one in asked:
            cut = _knock_outs(loaded, places, num_layers, one, window)
            knocked += [] if cut is None else [cut]
            traced.append(_traced(loaded, one, noise))
            bar.advance()
    assert noise.level is not None
    return AttentionEffects(
        window=window,
        knock_outs=tuple(knocked),
        traced=tuple(traced),
        noise_level=noise.level,
        num_draws=noise.num_draws,
    )


def _knock_outs(
    loaded: LoadedModel,
    places: tuple[AttentionPlace, ...],
    num_layers: int,
    one: PreparedPrompt,
    window: int,
) -> KnockOuts | None:
    """Cut every window and every third, for subject and control.

    The first token stays: a head that looks nowhere else needs somewhere to look. None
    for a subject of that token alone.
    """
    spans = one.encoded.subject, control_span(one.encoded) or (0, 0)
    keys = [tuple(range(max(1, first), end)) for first, end in spans]
    if not keys[0]:
        return None
    layers = sorted({place.layer for place in places})
    cut_layers = [
        *(_window(layer, window, num_layers) for layer in layers),
        *(_third(number, num_layers) for number in range(len(THIRDS))),
    ]
    start = one.encoded.num_prompt - 1
    queries = tuple(range(start, start + len(one.encoded.answer_ids)))
    cuts = [
        CutEdges(layers=own, queries=queries, keys=key) for key in keys
        for own in cut_layers
    ]  # fmt: skip
    changes = _log_probs(loaded, places, one, cuts) - one.log_prob
    subject, control = changes.reshape(2, -1)
    if not keys[1]:
        control = np.full_like(control, np.nan)
    attends = [bool(own & set(layers)) for own in cut_layers[len(layers) :]]
    blank = np.where(attends, 0.0, np.nan)  # a third that never attends has no effect
    return KnockOuts(
        prompt_id=one.encoded.fact.id,
        window=window,
        by_layer=subject[: len(layers)],
        by_third=subject[len(layers) :] + blank,
        control_by_layer=control[: len(layers)],
        control_by_third=control[len(layers) :] + blank,
    )


def _log_probs(
    loaded: LoadedModel,
    places: tuple[AttentionPlace, ...],
    one: PreparedPrompt,
    cuts: Sequence[CutEdges],
) -> np.ndarray:
    """Log-probability of the answer under each cut."""
    found: list[np.ndarray] = []
    for first in range(0, len(cuts), ROWS_AT_ONCE):
        some = cuts[first : first + ROWS_AT_ONCE]
        ids = torch.tensor([list(one.token_ids)], device=loaded.device)
        with (
            torch.no_grad(),
            evaluating(loaded.model),
            knocked_out(loaded.model, places, some),
        ):
            logits = loaded.model(ids.expand(len(some), -1), use_cache=False).logits
        found.append(answer_log_probs(logits, one.encoded)[0].numpy())
    return np.concatenate(found)


def _window(layer: int, window: int, num_layers: int) -> frozenset[int]:
    """Layers around one, `[max(0, l - w // 2), min(L, l + ceil(w / 2)))`."""
    return frozenset(
        range(max(0, layer - window // 2), min(num_layers, layer + (window + 1) // 2))
    )


def _third(number: int, num_layers: int) -> frozenset[int]:
    return frozenset(n for n in range(num_layers) if n * 3 // num_layers == number)


def _traced(loaded: LoadedModel, one: PreparedPrompt, noise: Noise) -> TracedTokens:
    """Put each token's state back, in every layer, and keep the most it brings back."""
    prompt = one.encoded
    width = embedding_rows(loaded.model, [0]).shape[1]
    corruption = draw_noise(noise, prompt, width)
    (cells,) = trace_prompt(loaded.model, prompt, corruption, [Restoring()])
    low = float(cells.low.mean())
    effects = cells.scores.mean(dim=-1).amax(dim=1) - low
    return TracedTokens(
        prompt_id=prompt.fact.id,
        total_effect=cells.high - low,
        effects=tuple(effects.double().tolist()),
    )


def _level(loaded: LoadedModel, prepared: PreparedPrompts) -> float:
    """Three standard deviations of the embeddings of all subjects, each once."""
    ids = {
        tuple(one.encoded.token_ids[slice(*one.encoded.subject)].tolist())
        for one in prepared.prompts
    }
    if len(ids) < 2:
        facts = [
            Fact(id=name, subject=name, prompt=f"I like {name} a lot")
            for name in SUBJECTS
        ]
        found = [encode_fact(replace(f, answer=None), loaded.tokenizer) for f in facts]
        ids = {tuple(one.token_ids[slice(*one.subject)].tolist()) for one in found}
    return embedding_level(loaded.model, sorted(ids), LEVEL)

"""What does each kind of work hold per token, measured on a few short pieces?

No formula knows what a model's layers keep for the backward pass, so each kind of
work runs on batches of a few tokens while the bytes it holds are counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from driftmap.capture.held import holding
from driftmap.capture.scaling import BatchShape, Scaling, fit_scaling
from driftmap.capture.stream import run_folds
from driftmap.core.places import Site
from driftmap.core.progress import Silence, listening
from driftmap.evaluate.generate import greedy_answers
from driftmap.evaluate.refusal import refusal_log_odds
from driftmap.load.batches import make_batches
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.bench import batches_of
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold, SiteSignal
from driftmap.tune.adapter import adapted
from driftmap.tune.randomness import own_randomness
from driftmap.tune.settings import TuningSettings
from driftmap.tune.trial import trial_steps

_UNLIMITED = 1 << 62
_EIGHTHS = 8

Piece = tuple[EncodedSample, ...]


def scoring_scaling(loaded: LoadedModel, batch_size: int) -> Scaling:
    """Bytes that a forward and backward pass holds, beside what scores add up in."""
    pieces = [_piece(4, 2, 2), _piece(8, 4, 4), _piece(12, 6, 6), _piece(12, 9, 9)]
    if batch_size > 1:
        pieces = [
            *(_piece(4, 2, 1), _piece(4, 2, 1, 1), _piece(8, 4, 3)),
            *(_piece(12, 6, 5), _piece(12, 8, 5), _piece(12, 6, 2)),
        ]
    else:
        pieces = [piece[:1] for piece in pieces]
    sites, moments, shapes = loaded.layout.sites, [], []
    for piece in pieces:
        batches = batches_of(loaded, piece, len(piece))
        with listening(Silence()), holding() as held:
            run_folds(
                loaded.model, sites, batches, [_Nothing()], memory_bytes=_UNLIMITED
            )
        moments.append(held)
        shapes.append(batch_shape(batches[0]))
    return fit_scaling(shapes, moments)


def tuning_scaling(
    loaded: LoadedModel,
    sites: Sequence[Site],
    settings: TuningSettings,
    samples: Sequence[EncodedSample],
) -> Scaling:
    """Bytes that a step of tuning holds, beside the adapter and its moments.

    Args:
        loaded: The model, without an adapter.
        sites: Matrices to tune.
        settings: The adapter and the batch size.
        samples: What is learnt; their share of counted tokens matters.
    """
    counted = sum(int(sample.counted.sum()) for sample in samples)
    total = sum(len(sample.token_ids) for sample in samples)
    eighths = max(1, -(-_EIGHTHS * counted // total))
    rows = [(8, 2), (8, 3), (16, 2), (24, 2)]
    if settings.batch_size == 1:
        rows = [(8, 1), (16, 1), (24, 1)]
    pieces = [
        _piece(tokens, *[tokens * eighths // _EIGHTHS] * count)
        for tokens, count in rows
    ]
    moments, shapes = [], []
    model = cast(PreTrainedModel, loaded.model)
    with listening(Silence()), trial_steps(model, sites, settings, pieces[0]) as step:
        step(pieces[0])  # so that the gradients, counted apart, are there
        for piece in pieces:
            with holding() as held:
                step(piece)
            moments.append(held)
            shapes.append(prompts_shape(piece))
    return fit_scaling(shapes, moments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationScaling:
    """Bytes that evaluation holds, with an adapter on the model.

    Args:
        answering: While answers are written, with the cache of keys and values.
        reading: In a forward pass with all its logits.
    """

    answering: Scaling
    reading: Scaling


def evaluation_scaling(
    loaded: LoadedModel,
    sites: Sequence[Site],
    settings: TuningSettings,
    batch_size: int,
) -> EvaluationScaling:
    """Bytes that answering and reading hold.

    Args:
        loaded: The model, without an adapter.
        sites: Matrices that are tuned.
        settings: The adapter.
        batch_size: Prompts at a time.
    """
    base = cast(PreTrainedModel, loaded.model)

    def answer(piece: Piece) -> None:
        size = len(piece)
        greedy_answers(
            tuned, loaded.tokenizer, piece, max_new_tokens=1, batch_size=size
        )

    def read(piece: Piece) -> None:
        refusal_log_odds(tuned, piece, [0], batch_size=len(piece))

    with own_randomness(base.device), adapted(base, sites, settings, seed=0) as tuned:
        return EvaluationScaling(
            answering=_forward_scaling(answer, batch_size),
            reading=_forward_scaling(read, batch_size),
        )


def batch_shapes(samples: Sequence[EncodedSample], batch_size: int) -> list[BatchShape]:
    """Shapes of the batches that samples make."""
    batches = make_batches(samples, batch_size=batch_size, pad_id=0)
    return [batch_shape(batch) for batch in batches]


def batch_shape(batch: Batch) -> BatchShape:
    """How large one batch is."""
    return BatchShape(
        num_samples=len(batch.sample_ids),
        num_tokens=batch.real.shape[1],
        num_columns=int(batch.counted.any(dim=0).sum()),
        num_counted=int(batch.counted.sum()),
    )


def prompts_shape(samples: Sequence[EncodedSample], num_written: int = 0) -> BatchShape:
    """How large a batch is in which every token is read alike."""
    return BatchShape(
        num_samples=len(samples),
        num_tokens=max(len(sample.token_ids) for sample in samples),
        num_written=num_written,
    )


class _Nothing(Fold[None, dict[Site, Tensor]]):
    """Asks for inputs and gradients and keeps nothing of them."""

    needs_backward = True

    def num_bytes(self, site: Site) -> int:
        """A byte, since a plan wants some."""
        return 1

    def start(self, site: Site) -> None:
        """Nothing."""

    def update(self, state: None, signal: SiteSignal) -> None:
        """Nothing."""

    def merge(self, left: None, right: None) -> None:
        """Nothing."""

    def result(self, states: object) -> dict[Site, Tensor]:
        """Nothing."""
        return {}


def _forward_scaling(work: Callable[[Piece], None], batch_size: int) -> Scaling:
    pieces = [_piece(4, 1, 1), _piece(4, 1, 1, 1), _piece(8, 1, 1), _piece(12, 1, 1)]
    if batch_size == 1:
        pieces = [_piece(tokens, 1) for tokens in (4, 8, 12)]
    moments = []
    for piece in pieces:
        with listening(Silence()), holding() as held:
            work(piece)
        moments.append(held)
    return fit_scaling([prompts_shape(piece) for piece in pieces], moments)


def _piece(num_tokens: int, *counts: int) -> Piece:
    """A batch whose later rows are a token shorter, so that it is padded.

    Args:
        num_tokens: Of the first row.
        counts: How many tokens at the end of each row count.
    """
    return tuple(
        _sample(row, num_tokens - (row > 0), count) for row, count in enumerate(counts)
    )


def _sample(row: int, num_tokens: int, count: int) -> EncodedSample:
    place = np.arange(num_tokens)
    return EncodedSample(
        sample_id=f"piece {row}",
        token_ids=np.ones(num_tokens, dtype=np.int32),
        counted=place >= max(1, num_tokens - count),
        prompt_length=num_tokens - count,
    )

"""How is one fact traced?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from torch import Tensor, nn

from driftmap.capture.attribution import attribution
from driftmap.capture.lens import answer_lens, logit_lens
from driftmap.capture.patching.clean import clean_run, with_choice
from driftmap.capture.patching.ends import ends_of
from driftmap.capture.patching.noise import control_span, draw_noise, embedding_rows
from driftmap.capture.patching.tracing import trace_prompt
from driftmap.load.model import LoadedModel
from driftmap.measure.tracing import token_roles, trace_grid
from driftmap.recipes.steps.tracing.preparing import PreparedFact
from driftmap.recipes.trace_options import PLAIN_KINDS
from driftmap.results.fact_traces import ExactPlace, FactTrace
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Noise, Outcome, TokenRole, TraceKind
from driftmap.results.trace_study import LensView
from driftmap.results.traces import TraceGrid
from driftmap.signals.traces import CleanRun, Corruption, Restoring, TraceCells

NUM_PLACES = 5
"""Places of each kind that an estimate points to and that are traced (count)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HowTraced:
    """How every fact of a run is traced.

    Args:
        kinds: States that are put back.
        window: Layers of `mlp` and `attn` that are put back together (count).
        outcome: What is read of the answer.
        noise: What is done to the subject.
        has_control: The same is done outside the subject.
        traces_unknown: Facts that the model does not know are traced, too.
        is_fast: Cells are estimated from gradients.
        reads_lens: The head reads each block's output.
        role: Tokens of this role alone are traced; None for all, also where a prompt
            has no such token.
    """

    kinds: tuple[TraceKind, ...]
    window: int
    outcome: Outcome
    noise: Noise
    has_control: bool
    traces_unknown: bool
    is_fast: bool
    reads_lens: bool
    role: TokenRole | None = None


def trace_fact(
    loaded: LoadedModel,
    prepared: PreparedFact,
    how: HowTraced,
    text: Float64[Tensor, "token width"] | None = None,
) -> FactTrace:
    """Trace one fact.

    Args:
        loaded: The model, left as it was found.
        prepared: The fact.
        how: What is done.
        text: Embeddings that some noise is like.

    Raises:
        MeasureError: The model cannot be traced in this way.
    """
    model, encoded = loaded.model, prepared.encoded
    clean = clean_run(model, encoded)
    prompt = with_choice(encoded, clean)
    is_known = _is_known(encoded, clean)
    drawing = _Drawing(model, prepared, how, text)
    corruption = drawing.on(prompt)
    ends = ends_of(model, prompt, corruption, how.outcome)
    choice = _words(loaded, (clean.choice,))
    answer = encoded.fact.answer if encoded.answer_ids else None
    about = _About(
        prompt=prompt,
        how=how,
        noise=replace(how.noise, num_draws=len(corruption.values)),
        answer=choice if answer is None else answer,
        is_known=is_known,
    )
    told = _told(about, choice)
    if is_known is False and not how.traces_unknown:
        return replace(told, high=ends.high, low=ends.low)
    grids, exact = _grids(model, about, corruption, prepared)
    return replace(
        told,
        high=ends.high,
        low=ends.low,
        control=_control(model, about, drawing) if how.has_control else None,
        grids=grids,
        exact=exact,
        places=_places(model, about, corruption, grids) if how.is_fast else (),
        lens=_lens(model, about, prepared) if how.reads_lens else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _About:
    """What all grids of a fact share."""

    prompt: EncodedFact
    how: HowTraced
    noise: Noise
    answer: str
    is_known: bool | None

    def grid(self, cells: TraceCells) -> TraceGrid:
        """Average the draws of every cell."""
        return trace_grid(
            cells,
            self.prompt,
            self.noise,
            outcome=self.how.outcome,
            answer=self.answer,
            is_known=self.is_known,
        )

    @property
    def plain(self) -> list[Restoring]:
        """What is put back, token by token."""
        return [
            replace(self._one(kind), tokens=self._asked())
            for kind in self.how.kinds
            if kind in PLAIN_KINDS
        ]

    @property
    def severed(self) -> list[Restoring]:
        """What is put back at the last subject token, with modules held."""
        end = self.prompt.subject[1]
        severed = [self._one(k) for k in self.how.kinds if k not in PLAIN_KINDS]
        return [replace(one, tokens=(end - 1, end)) for one in severed]

    def _asked(self) -> tuple[int, int] | None:
        """The tokens of one role, where only these are wanted; None for all."""
        roles = token_roles(self.prompt.num_prompt, self.prompt.subject)
        places = [t for t, held in enumerate(roles) if self.how.role in held]
        return (places[0], places[-1] + 1) if places else None

    def _one(self, kind: TraceKind) -> Restoring:
        window = self.how.window if kind in ("mlp", "attn") else None
        return Restoring(kind=kind, window=window)


class _Drawing:
    """Draws what is done to a prompt, at its subject or elsewhere."""

    def __init__(
        self,
        model: nn.Module,
        prepared: PreparedFact,
        how: HowTraced,
        text: Float64[Tensor, "token width"] | None,
    ) -> None:
        rows = embedding_rows(model, prepared.encoded.token_ids.tolist())
        self._width = rows.shape[1]
        self._noise = how.noise
        self._text = text
        self._partners = None
        if prepared.partners:
            flat = [token for ids in prepared.partners for token in ids]
            shape = len(prepared.partners), -1, self._width
            self._partners = embedding_rows(model, flat).reshape(shape)

    def on(
        self, prompt: EncodedFact, span: tuple[int, int] | None = None
    ) -> Corruption:
        """Corrupt the subject, or another span."""
        return draw_noise(
            self._noise,
            prompt,
            self._width,
            text=self._text,
            partners=self._partners,
            span=span,
        )


def _is_known(encoded: EncodedFact, clean: CleanRun) -> bool | None:
    """Whether the model's first choice is the given answer, token by token."""
    if not encoded.answer_ids:
        return None
    return tuple(clean.log_probs.argmax(-1).tolist()) == encoded.answer_ids


def _words(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """Tokens as a person reads them; a token of spaces stays as it is."""
    text = str(loaded.tokenizer.decode(list(ids)))
    return text.strip() or text


def _told(about: _About, choice: str) -> FactTrace:
    fact = about.prompt.fact
    return FactTrace(
        fact_id=fact.id,
        said=fact.said,
        subject=fact.subject or _subject_words(about.prompt),
        relation=fact.relation,
        direction=fact.direction,
        prompt=fact.prompt,
        answer=about.answer,
        choice=choice,
        is_known=about.is_known,
        high=0.0,
        low=0.0,
        control=None,
        grids=(),
    )


def _subject_words(prompt: EncodedFact) -> str:
    """The characters of a subject that was told by its tokens, or guessed."""
    spans = prompt.offsets[slice(*prompt.subject)]
    return prompt.fact.prompt[spans[0][0] : spans[-1][1]].strip()


def _grids(
    model: nn.Module, about: _About, corruption: Corruption, prepared: PreparedFact
) -> tuple[tuple[TraceGrid, ...], tuple[TraceGrid, ...]]:
    """Grids of all kinds; beside estimates, exact ones where the fact is checked."""
    prompt, outcome = about.prompt, about.how.outcome
    if not about.how.is_fast:
        wanted = [*about.plain, *about.severed]
        cells = trace_prompt(model, prompt, corruption, wanted, outcome=outcome)
        return tuple(_only_wanted(about.grid(one), one) for one in cells), ()
    estimates = attribution(model, prompt, corruption, about.plain, outcome=outcome)
    exact: tuple[TraceCells, ...] = ()
    if prepared.is_checked:
        exact = trace_prompt(model, prompt, corruption, about.plain, outcome=outcome)
    return tuple(map(about.grid, estimates)), tuple(map(about.grid, exact))


def _only_wanted(grid: TraceGrid, cells: TraceCells) -> TraceGrid:
    """NaN in rows that were not asked for."""
    tokens = cells.restoring.tokens
    if tokens is None:
        return grid
    is_wanted = np.zeros((len(grid.score), 1), bool)
    is_wanted[slice(*tokens)] = True
    return replace(
        grid,
        score=np.where(is_wanted, grid.score, np.nan),
        standard_error=np.where(is_wanted, grid.standard_error, np.nan),
    )


def _places(
    model: nn.Module,
    about: _About,
    corruption: Corruption,
    grids: Sequence[TraceGrid],
) -> tuple[ExactPlace, ...]:
    """Trace the cells that estimates point to."""
    best = [
        (grid, int(token), int(layer))
        for grid in grids
        for token, layer in _largest(grid.indirect_effect)
    ]
    asked = list(dict.fromkeys((grid.kind, token) for grid, token, _ in best))
    by_kind = {one.kind: one for one in about.plain}
    wanted = [
        replace(by_kind[kind], tokens=(token, token + 1)) for kind, token in asked
    ]
    outcome = about.how.outcome
    traced = trace_prompt(model, about.prompt, corruption, wanted, outcome=outcome)
    rows = dict(zip(asked, traced, strict=True))
    return tuple(
        ExactPlace(
            kind=grid.kind,
            token=token,
            layer=layer,
            estimate=float(grid.score[token, layer]),
            exact=float(rows[grid.kind, token].scores[token, layer].mean()),
        )
        for grid, token, layer in best
    )


def _largest(effect: Float64[np.ndarray, "token layer"]) -> np.ndarray:
    """Places of the largest effects, the largest first."""
    order = np.argsort(-effect, axis=None, kind="stable")[:NUM_PLACES]
    return np.stack(np.unravel_index(order, effect.shape), axis=1)


def _control(model: nn.Module, about: _About, drawing: _Drawing) -> float | None:
    """What the same noise costs elsewhere in the prompt."""
    span = control_span(about.prompt)
    if span is None:
        return None
    corruption = drawing.on(about.prompt, span)
    ends = ends_of(model, about.prompt, corruption, about.how.outcome)
    return ends.high - ends.low


def _lens(model: nn.Module, about: _About, prepared: PreparedFact) -> LensView:
    prompt = about.prompt
    ids = prompt.token_ids[: prompt.num_prompt].astype(np.int64)
    foil = prompt.foil_ids[0] if prompt.foil_ids else None
    if prepared.has_whole_lens:
        tokens = prompt.tokens
        read = answer_lens(model, ids, prompt.answer_ids[0], foil)
    else:
        tokens, last = prompt.tokens[-1:], np.array([len(ids) - 1])
        foils = None if foil is None else np.array([foil])
        read = logit_lens(model, ids, last, np.array([prompt.answer_ids[0]]), foils)
    return LensView(
        tokens=tokens,
        answer=about.answer,
        foil=prompt.fact.foil if prompt.foil_ids else None,
        probability=read.answer_p.T,
        rank=read.answer_rank.T,
        entropy_nats=read.entropy.T,
        kl_nats=read.kl.T,
        foil_probability=None if read.foil_p is None else read.foil_p.T,
    )

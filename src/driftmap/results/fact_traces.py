"""What was traced of each fact, before anything is averaged?"""

from dataclasses import dataclass

from driftmap.results.facts import Direction
from driftmap.results.trace_kinds import Noise, Outcome, TraceKind
from driftmap.results.trace_study import ExactPlace, LensView
from driftmap.results.traces import TraceGrid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactTrace:
    """One fact, traced.

    Args:
        fact_id: Its `id`.
        said: Which fact it is, whatever its words.
        subject: The subject's words.
        relation: What is said of it; empty where the file says none.
        direction: Whether object and subject have changed places.
        prompt: The text up to the answer.
        answer: What the outcome is about.
        choice: The model's own first choice.
        is_known: The choice is the given answer; None where none is given.
        high: Outcome of the clean run.
        low: Mean outcome of the corrupted run.
        control: TE of the same noise on an equally long span outside the subject;
            None where it was not measured, or no such span is in the prompt.
        grids: By kind; none where the fact was not traced, since it is unknown.
        exact: Exact grids beside estimated ones, where both were made.
        places: Cells that the estimate points to, traced exactly.
        lens: What the head reads after each block: at every token, or at the last one
            alone; None where not read.
    """

    fact_id: str
    said: str
    subject: str
    relation: str
    direction: Direction
    prompt: str
    answer: str
    choice: str
    is_known: bool | None
    high: float
    low: float
    control: float | None
    grids: tuple[TraceGrid, ...]
    exact: tuple[TraceGrid, ...] = ()
    places: tuple[ExactPlace, ...] = ()
    lens: LensView | None = None

    @property
    def is_traced(self) -> bool:
        """Whether states were put back."""
        return bool(self.grids)

    def of_kind(self, kind: TraceKind) -> TraceGrid | None:
        """The grid of one kind; None where it was not traced."""
        return next((grid for grid in self.grids if grid.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactTraces:
    """All facts of a run, traced.

    Args:
        outcome: What is read of the answer.
        noise: What was done to subjects.
        traces: In the order of the file.
    """

    outcome: Outcome
    noise: Noise
    traces: tuple[FactTrace, ...]

"""Which directions do training pairs give, and how do they do on others?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained
from driftmap.measure.reading import reading_vector, scores
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.files import READING, READING_KIND
from driftmap.recipes.steps.honesty.planning import (
    HALVES,
    Plan,
    contrasts_key,
    model_key,
)
from driftmap.recipes.steps.honesty.states import pair_states
from driftmap.results.honesty import (
    Half,
    HonestyReading,
    LayerEvidence,
    ReadingMethod,
    ReadingVector,
)
from driftmap.signals.contrasts import PairStates
from driftmap.stats.honesty import (
    LayerChoice,
    PairScores,
    Resampling,
    band_evidence,
    choose_band,
    of_directions,
    shuffled_by_pair,
    shuffled_by_statement,
)
from driftmap.store.arrays_apart import save_apart
from driftmap.store.control_vectors import save_control_vector
from driftmap.store.steps import StepOutcome

METHODS: tuple[ReadingMethod, ...] = (
    "mean_difference", "shuffled_pca", "logistic", "lda",
)  # fmt: skip
REPORTED: tuple[Half, ...] = ("validation", "test")
NUM_BLIND = 20
SLOW_CONTROLS = 2
"""Shufflings of `logistic`, whose penalty is sought anew each time."""

CONTROL_VECTOR = "control_vector.gguf"

Hits = Float64[np.ndarray, "pair layer"]
Shuffle = Callable[[PairStates, int], np.ndarray]
"""Says which pairs of some states exchange their labels in a numbered draw."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """One method's directions, and pair hits of its controls.

    Args:
        vector: Learnt from the true labels.
        by_pair: Of each half: mean hits with labels shuffled by pair.
        by_statement: The same with one label per statement.
        memorised: Per layer: training accuracy of the last.
        band_controls: Vectors with labels shuffled by pair, and which draw.
    """

    vector: ReadingVector
    by_pair: Mapping[Half, Hits]
    by_statement: Mapping[Half, Hits]
    memorised: Float64[np.ndarray, " layer"]
    band_controls: tuple[ReadingVector, ...]


def reading_step(study: Study, plan: Plan) -> StepOutcome:
    """Find directions by every method, try them, and choose the layers to read."""

    def make(folder: Path) -> None:
        with explained("reading states", "repeat with a smaller --batch-size"):
            states = {
                name: pair_states(
                    study, plan.pairs[name], plan.layers, plan.options.batch_size
                )
                for name in HALVES
            }
        found = _reading(states, plan, study.seed)
        save_apart(folder, READING, found, READING_KIND)
        if plan.options.control_vector:
            save_control_vector(
                folder / CONTROL_VECTOR,
                vector_of(found, plan.options.method),
                study.loaded.identity.family,
            )

    inputs = {
        "model": model_key(study),
        "pairs": {name: contrasts_key(plan.pairs[name]) for name in HALVES},
        "layers": list(plan.layers),
        "how": [plan.options.method, plan.options.num_controls],
        "control_vector": plan.options.control_vector,
        "seed": study.seed,
    }
    return study.run.step("read", inputs, make)


def vector_of(found: HonestyReading, method: ReadingMethod) -> ReadingVector:
    """The directions of one method."""
    return next(one for one in found.vectors if one.method == method)


def _reading(states: Mapping[str, PairStates], plan: Plan, seed: int) -> HonestyReading:
    draws: dict[Half, Resampling] = {
        h: Resampling(states[h].statement, seed) for h in REPORTED
    }
    blind = _blind(states, plan, seed)
    vectors, evidence = [], []
    chosen: _Found | None = None
    with progress("find directions", len(METHODS)) as bar:
        for method in METHODS:
            found = _found(method, states, plan, seed)
            vectors.append(found.vector)
            evidence += _evidence(found, states, draws, blind)
            chosen = found if method == plan.options.method else chosen
            bar.advance()
    assert chosen is not None
    layers, best = choose_band(_choice(chosen.vector, states["validation"]))
    places = [plan.layers.index(layer) for layer in layers]
    test = states["test"]
    control = np.mean(
        [
            _control_hits(_band(one, test, places), _flips(test, seed, number))
            for number, one in enumerate(chosen.band_controls)
        ],
        axis=0,
    )
    band = band_evidence(
        chosen.vector.method,
        (layers, best),
        _band(chosen.vector, states["validation"], places),
        _band(chosen.vector, test, places),
        control,
        seed,
    )
    return HonestyReading(vectors=tuple(vectors), evidence=tuple(evidence), band=band)


def _found(
    method: ReadingMethod, states: Mapping[str, PairStates], plan: Plan, seed: int
) -> _Found:
    train = states["train"]
    num = plan.options.num_controls
    if method == "logistic":
        num = min(num, SLOW_CONTROLS)

    def controls(shuffled: Shuffle) -> list[ReadingVector]:
        return [
            reading_vector(method, plan.layers, train.swapped(shuffled(train, n)), seed)
            for n in range(num)
        ]

    def by_pair(some: PairStates, number: int) -> np.ndarray:
        return _flips(some, seed, number)

    def by_statement(some: PairStates, number: int) -> np.ndarray:
        return shuffled_by_statement(
            some.statement, _number(seed, number, len(some.statement))
        )

    pair_controls, statement_controls = controls(by_pair), controls(by_statement)
    return _Found(
        vector=reading_vector(method, plan.layers, train, seed),
        by_pair={h: _mean_hits(pair_controls, states[h], by_pair) for h in REPORTED},
        by_statement={
            h: _mean_hits(statement_controls, states[h], by_statement) for h in REPORTED
        },
        memorised=np.mean([one.agreement for one in statement_controls], axis=0),
        band_controls=tuple(pair_controls),
    )


def _mean_hits(
    vectors: Sequence[ReadingVector], states: PairStates, shuffled: Shuffle
) -> Hits:
    """Mean over controls of pairs that are right by shuffled labels."""
    rows = []
    for number, vector in enumerate(vectors):
        hits = _hits(vector, states)
        rows.append(np.where(shuffled(states, number)[:, None], 1 - hits, hits))
    return np.mean(rows, axis=0)


def _blind(
    states: Mapping[str, PairStates], plan: Plan, seed: int
) -> dict[Half, Float64[np.ndarray, "direction layer"]]:
    """Pair accuracy of blind directions, signed on train."""
    vectors = [
        reading_vector("random", plan.layers, states["train"], _number(seed, n))
        for n in range(NUM_BLIND)
    ]
    return {
        half: np.stack([_hits(one, states[half]).mean(0) for one in vectors])
        for half in REPORTED
    }


def _evidence(
    found: _Found,
    states: Mapping[str, PairStates],
    draws: Mapping[Half, Resampling],
    blind: Mapping[Half, Float64[np.ndarray, "direction layer"]],
) -> list[LayerEvidence]:
    rows = []
    for half in REPORTED:
        honest = scores(found.vector, states[half].honest)
        dishonest = scores(found.vector, states[half].dishonest)
        hits = _hits(found.vector, states[half])
        for place, layer in enumerate(found.vector.layers):
            draw = draws[half]
            shuffled = found.by_pair[half][:, place]
            rows.append(
                LayerEvidence(
                    method=found.vector.method,
                    layer=layer,
                    half=half,
                    pair_accuracy=draw.mean(hits[:, place]),
                    auroc=draw.auroc(honest[:, place], dishonest[:, place]),
                    control_accuracy=draw.mean(shuffled),
                    statement_control=draw.mean(found.by_statement[half][:, place]),
                    memorised=float(found.memorised[place]),
                    selectivity=draw.mean(hits[:, place] - shuffled),
                    random_accuracy=of_directions(blind[half][:, place].tolist()),
                )
            )
    return rows


def _choice(vector: ReadingVector, validation: PairStates) -> LayerChoice:
    honest = scores(vector, validation.honest)
    dishonest = scores(vector, validation.dishonest)
    draws = Resampling(validation.statement, 0)
    return LayerChoice(
        layers=vector.layers,
        auroc=np.array(
            [
                draws.auroc(honest[:, n], dishonest[:, n]).estimate
                for n in range(len(vector.layers))
            ]
        ),
        separation=(honest - dishonest).mean(0).astype(float),
    )


def _band(vector: ReadingVector, states: PairStates, places: list[int]) -> PairScores:
    return PairScores(
        honest=scores(vector, states.honest)[:, places].mean(1),
        dishonest=scores(vector, states.dishonest)[:, places].mean(1),
        statement=states.statement,
    )


def _hits(vector: ReadingVector, states: PairStates) -> Hits:
    up, down = scores(vector, states.honest), scores(vector, states.dishonest)
    return np.greater(up, down) + 0.5 * np.equal(up, down)


def _control_hits(found: PairScores, flips: np.ndarray) -> Float64[np.ndarray, " pair"]:
    return np.where(flips, 1 - found.hits, found.hits)


def _flips(states: PairStates, seed: int, number: int) -> np.ndarray:
    num = len(states.statement)
    return shuffled_by_pair(num, _number(seed, number, num))


def _number(seed: int, number: int, *names: str | int) -> int:
    return child_seed(seed, "control", number, *names)

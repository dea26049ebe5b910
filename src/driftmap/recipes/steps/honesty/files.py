"""What is kept of honesty readings, and how is it read again without a model?"""

from driftmap.results.honesty import (
    HonestyReading,
    HonestyResult,
    ScoredTexts,
    Steering,
    Transfers,
    UnitResponses,
)
from driftmap.results.honesty_study import HonestyVerdict
from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution
from driftmap.store.arrays_apart import load_apart
from driftmap.store.plain import load_json
from driftmap.store.steps import StepOutcome

READING = "reading"
READING_KIND = "driftmap.honesty_reading"
TRANSFERS = "transfers.json"
TRANSFERS_KIND = "driftmap.honesty_transfers"
UNITS = "units.json"
UNITS_KIND = "driftmap.unit_responses"
TEXTS = "scored_texts"
TEXTS_KIND = "driftmap.scored_texts"
STEERING = "steering.json"
STEERING_KIND = "driftmap.steering"
RESULT = "honesty.json"
RESULT_KIND = "driftmap.honesty"


def load_reading(step: StepOutcome) -> HonestyReading:
    """Directions and how they do."""
    folder = step.path(f"{READING}.json").parent
    return load_apart(folder, READING, HonestyReading, READING_KIND)


def load_texts(step: StepOutcome) -> ScoredTexts:
    """Texts with the score of every token."""
    folder = step.path(f"{TEXTS}.json").parent
    return load_apart(folder, TEXTS, ScoredTexts, TEXTS_KIND)


def load_transfers(step: StepOutcome) -> Transfers:
    """What else the band was tried on."""
    return from_plain(Transfers, load_json(step.path(TRANSFERS), TRANSFERS_KIND))


def load_units(step: StepOutcome) -> UnitResponses:
    """Neurons and heads."""
    return from_plain(UnitResponses, load_json(step.path(UNITS), UNITS_KIND))


def load_steering(step: StepOutcome) -> Steering:
    """Curves of steering."""
    return from_plain(Steering, load_json(step.path(STEERING), STEERING_KIND))


def load_result(
    step: StepOutcome,
) -> tuple[ModelIdentity, HonestyResult, HonestyVerdict, tuple[Caution, ...]]:
    """All numbers, and what they say."""
    plain = load_json(step.path(RESULT), RESULT_KIND)
    cautions = plain["cautions"]
    assert isinstance(cautions, list), RESULT
    return (
        from_plain(ModelIdentity, plain["model"]),
        from_plain(HonestyResult, plain["result"]),
        from_plain(HonestyVerdict, plain["verdict"]),
        tuple(from_plain(Caution, one) for one in cautions),
    )

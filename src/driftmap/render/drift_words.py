"""What is true of this study: are its groups and adapters its own or from elsewhere?"""

from driftmap.results.drift_study import DriftStudy, GroupCard
from driftmap.results.rules import DECLARED


def declared_card(study: DriftStudy) -> GroupCard:
    """The group of the one declared test."""
    return study.groups[0]


def is_read(study: DriftStudy) -> bool:
    """Whether the group in question was chosen elsewhere and read from a file."""
    return bool(declared_card(study).read_from)


def is_tuned_elsewhere(study: DriftStudy) -> bool:
    """Whether the adapters were trained elsewhere."""
    return bool(study.settings.get("checkpoints"))


def when_declared(study: DriftStudy) -> str:
    """What the declared test, group and margin stand before."""
    return "before drift was read" if is_tuned_elsewhere(study) else "before training"


def role_of(study: DriftStudy, group: str) -> str:
    """Under which name a group has its colour: the declared one has one of its own."""
    return DECLARED if group == declared_card(study).name else group

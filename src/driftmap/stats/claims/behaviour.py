"""What is said of behaviour in a sentence, and how sure is it?"""

from driftmap.results.behaviour_change import BehaviourChange
from driftmap.results.claims import Claim


def behaviour_claims(found: BehaviourChange) -> tuple[Claim, ...]:
    """Put what was found into sentences, each with its number."""
    raise NotImplementedError

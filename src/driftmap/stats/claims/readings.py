"""What is said of readings in a sentence, and how sure is it?"""

from driftmap.results.claims import Claim
from driftmap.results.readings_change import ReadingsChange


def readings_claims(found: ReadingsChange) -> tuple[Claim, ...]:
    """Put what was found into sentences, each with its number."""
    raise NotImplementedError

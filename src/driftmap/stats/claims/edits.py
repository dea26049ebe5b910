"""What may be said of facts before and after tuning, and how sure is it?"""

from driftmap.results.claims import Claim
from driftmap.results.edits import EditReport


def edits_claims(found: EditReport) -> tuple[Claim, ...]:
    """Say what changed, each sentence with its number, n and interval.

    The first one is about the taught facts themselves.
    """
    raise NotImplementedError

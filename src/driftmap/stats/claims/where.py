"""What may a comparison say about where a change acts?"""

from driftmap.results.claims import Claim
from driftmap.results.where_it_acts import WhereItActs


def where_claims(found: WhereItActs) -> tuple[Claim, ...]:
    """Say which layers carry the new behaviour, and where it enters.

    Args:
        found: What was exchanged, mixed and traced.
    """
    if found.identical:
        return (
            Claim(
                topic="where",
                says="The two models have the same weights: nothing acts anywhere.",
                standing="not-found",
            ),
        )
    return ()

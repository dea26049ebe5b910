"""Which weights matter to a behaviour and not to ordinary ability?"""

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.measure.select.members import (
    Members,
    ScoreOf,
    count_of,
    highest,
    require_share,
)


def difference(behaviour: ScoreOf, utility: ScoreOf, *, p: float, q: float) -> Members:
    """Take what matters to a behaviour and not to ordinary ability.

    Per matrix, the top q of the behaviour's score without the top p of the
    utility's (Wei et al. 2024, section 3.3). Either may be empty.

    Args:
        behaviour: Scores on samples that show the behaviour.
        utility: Scores on samples of ordinary ability, of the same matrices.
        p: Part of each matrix that utility claims, 0 to 1.
        q: Part of each matrix that the behaviour claims, 0 to 1.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, a share is none, or the
            scores are of different matrices.
    """
    require_share(p)
    require_share(q)
    if behaviour.keys() != utility.keys():
        odd = min(s.key for s in behaviour.keys() ^ utility.keys())
        raise MeasureError(f"{odd} has only one of the two scores: score both alike")
    members: Members = {}
    for site, score in behaviour.items():
        wanted = highest(site, score, count_of(q, site))
        claimed = highest(site, utility[site], count_of(p, site))
        members[site] = np.setdiff1d(wanted, claimed, assume_unique=True)
    return members

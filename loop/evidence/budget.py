"""The error that a report's verdicts share, and how much of it each gets.

All verdicts of a report together give a false one in at most 5 % of studies (Bonferroni). Where simulated users alone
picked, the claims have all of it. Where people picked, win rates and fitted gains have two fifths each and claims one,
whatever there is to see yet, so that no verdict's share depends on what was seen before. See
docs/decisions/0009-verdicts-from-people.md.
"""

import math
from collections.abc import Collection

LEVEL = 0.05
CLAIMS, WIN_RATES, UTILITY_GAINS = 0.2 * LEVEL, 0.4 * LEVEL, 0.4 * LEVEL  # where people picked


def comparisons(latest: int, foreign: Collection[int] = ()) -> list[tuple[int, int]]:
    """The pairs (t, against) that a report compares: each generation with generation 0 and with the one before.

    Args:
        latest: the latest generation.
        foreign: generations whose samples were another study's, which nobody compared here.
    """
    own = [t for t in range(latest + 1) if t not in foreign]
    return [(t, against) for t in own[1:] for against in sorted({0, t - 1}) if against in own]


def error_level(t: int, against: int, level: float, last: int = 0) -> float:
    """The error level of one pair of generations, such that those of all pairs add up to `level` at the most.

    Args:
        t: the generation, from 1.
        against: 0 or t - 1.
        level: of all pairs together.
        last: the last generation, where it was set in advance: all 2 last - 1 pairs get the same. 0 where it wasn't:
            the j-th pair gets 6 / (pi j)^2 of the level, which adds up to 1 over any number of generations.
    """
    if last >= t:
        return level / (2 * last - 1)
    j = 1 if t == 1 else 2 * t - 2 + (against != 0)
    return level * 6 / (math.pi * j) ** 2

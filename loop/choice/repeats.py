"""Test and retest: does a rater who sees a slate again, in another order, pick the same sample?"""

import numpy as np
from scipy.special import stdtr

from loop.choice.finding import Effect, Finding, cannot_tell, verdict, words
from loop.choice.log import Repeats
from loop.choice.slates import Slates
from loop.evidence.people import clustered_share

NAME = "consistency on repeated slates"
LEAST_REPEATS = 10


def consistency(slates: Slates, utilities: np.ndarray, repeats: Repeats) -> Finding:
    """The share of repeats answered alike, beside chance (1 / K) and what Luce's rule expects (the sum of p squared).

    More than Luce's rule expects means tastes that the features leave out; chance means picks that say nothing.

    Args:
        slates: n of them.
        utilities: (rows,) fitted.
        repeats: of some of them.
    """
    m = len(repeats.first)
    if m < LEAST_REPEATS:
        return cannot_tell(NAME, m, f"{m} repeated slates were answered; this needs {LEAST_REPEATS} or more.")
    same = slates.picked[repeats.first] == repeats.again
    p = np.exp(slates.log_probabilities(utilities))
    expected = float(slates.total(p**2)[repeats.first].mean())
    chance = float((1 / slates.sizes[repeats.first]).mean())
    _, place = np.unique(slates.raters[repeats.first], return_inverse=True)
    raters = int(place.max()) + 1
    if raters == 1:
        place, raters = np.arange(m), m  # one rater's repeats speak of that rater
    found = clustered_share(np.bincount(place, same, raters), np.bincount(place, minlength=raters).astype(float))
    p_value = float(stdtr(raters - 1, -(found.value - chance) / found.se))
    return Finding(
        NAME,
        verdict(p_value),
        m,
        p_value,
        (Effect("share of repeats answered alike", found.value, found.low, found.high),),
        f"Of {m:,} repeats raters answered {found.value:.1%} alike on average (95 % {found.low:.1%} to "
        f"{found.high:.1%}); chance gives {chance:.1%} {words(p_value)}, Luce's rule with the fitted utilities "
        f"{expected:.1%}.",
        {"chance": chance, "expected": expected, "raters": raters},
    )

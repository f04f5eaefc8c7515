"""Are some positions picked more than others, whatever stands there?"""

from collections.abc import Sequence

import numpy as np

from loop.choice.columns import NotIdentifiedError
from loop.choice.finding import POWER, Effect, Finding, cannot_tell, verdict, words
from loop.choice.logit import Fit, fit, wald
from loop.choice.slates import Slates

NAME = "position bias"


def position_bias(slates: Slates, x: np.ndarray, names: Sequence[str] = (), ridge: float = 0.0) -> Finding:
    """Tests that all positions have the same utility, beside the utilities of the samples.

    Samples stand in random order, so a position's effect can't come from what a fit leaves out; where the columns don't
    allow a fit, the test is made without them.

    Args:
        slates: n of them.
        x: (rows, d) columns about samples, none about positions.
        names: of the columns, for messages.
        ridge: on the samples' columns; the positions' are left alone.
    """
    try:
        found = _fit(slates, x, names or [f"column {j + 1}" for j in range(x.shape[1])], ridge)
        k = int(slates.sizes.max())
        contrasts = np.eye(k) - 1 / k
        test = wald(found, np.eye(len(found.coefficients))[: k - 1])
    except NotIdentifiedError as error:
        return cannot_tell(NAME, len(slates), str(error))
    effects = contrasts[:, 1:] @ found.coefficients[: k - 1]
    se = found.spread(np.pad(contrasts[:, 1:], ((0, 0), (0, len(found.coefficients) - k + 1))))
    intervals = effects[:, None] + found.quantile * se[:, None] * np.array([-1, 1])
    most = int(np.abs(effects).argmax())
    shares = np.exp(effects) / np.exp(effects).sum()
    main = Effect(
        f"utility of position {most + 1} beside the mean of all",
        float(effects[most]),
        float(intervals[most, 0]),
        float(intervals[most, 1]),
        detectable=float(POWER * se[most]),
    )
    told = (
        f"Samples of equal utility would be picked at position {most + 1} in {shares[most]:.1%} of slates of {k} "
        f"(fair: {1 / k:.1%})"
    )
    return Finding(
        NAME,
        verdict(test.p),
        len(slates),
        test.p,
        (main,),
        f"{told}; {_interval(main)} {words(test.p)}.",
        {
            "statistic": test.statistic,
            "df": test.q,
            "shares": shares.tolist(),
            "effects": effects.tolist(),
            "intervals": intervals.tolist(),
        },
    )


def _fit(slates: Slates, x: np.ndarray, names: Sequence[str], ridge: float) -> Fit:
    k = int(slates.sizes.max(initial=0))
    columns = (slates.positions[:, None] == np.arange(1, k)).astype(float)
    positions = [f"position {j + 1}" for j in range(1, k)]
    try:
        return fit(slates, np.hstack([columns, x]), [*positions, *names], ridge, free=len(positions))
    except NotIdentifiedError:
        return fit(slates, columns, positions, ridge, free=len(positions))


def _interval(effect: Effect) -> str:
    return f"a utility of {effect.value:+.2f} (95 % {effect.low:+.2f} to {effect.high:+.2f})"

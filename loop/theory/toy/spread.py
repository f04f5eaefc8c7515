"""How fast variety is lost when a model is fitted to samples of itself: one recursion for a Gaussian and for tokens.

The variance of what was fitted, and the probability that two tokens drawn from it differ (1 - sum_i p_i^2, which is the
variance of the token as a unit vector), are the same quadratic form of a weighted sample. So both fall, in expectation,
by the same factor D_n / D_0, whatever the distribution that the real data came from.
"""

import numpy as np

from loop.policies import DataPolicy


def spread(policy: DataPolicy, rows: int, generations: int) -> np.ndarray:
    """(generations,) expected variance (biased, 1/N) of fit n over that of the truth, n = 1, 2, ...

    n = 1 is the fit on N = `rows` real rows, so it stands at 1 - 1/N.

    Replace: `(1 - 1/N)^n`, from Seddik et al. 2024 (arXiv 2404.05090), whose `1 - S_m = (1 - 1/N)^m (1 - S_0)` has the
    truth's S_0 and so m = n. Mix: `D_{n+1} = (1 - c^2) D_1 + c^2 (1 - 1/M) D_n` with c = lam / (1 + lam) and sets of
    M = lam N rows; their partly synthetic case. Accumulate: `prod_{k<=n} (1 - 1/(N k^2))`. Accumulate_subsample:
    `_subsampled`. Mix as solved here, accumulate and accumulate_subsample were derived for this project.
    """
    n = np.arange(1, generations + 1)
    first = 1 - 1 / rows
    if policy.is_pure:
        return first**n
    if policy.kind == "accumulate":
        return np.cumprod(1 - 1 / (rows * n**2.0))
    if policy.is_mixed:
        c2 = (policy.lam / (1 + policy.lam)) ** 2
        b = c2 * (1 - 1 / policy.asked(rows))
        fixed = (1 - c2) / (1 - b)
        return first * (fixed + (1 - fixed) * b ** (n - 1))
    return _subsampled(rows, generations)


def _subsampled(rows: int, generations: int) -> np.ndarray:
    """The variance q_n of a fit on N rows drawn without replacement from the n N rows there are, whose variance is P_n.

    `q_n = P_n (1 - (n-1) / (nN - 1))`, the finite population's correction; N rows drawn from the fit join the pool,
    `P_{n+1} = (n (n + 2) P_n + (1 - 1/N) q_n) / (n + 1)^2`, for their mean is the pool's in expectation.
    """
    pool, out = 1 - 1 / rows, []
    for n in range(1, generations + 1):
        out.append(pool * (1 - (n - 1) / (n * rows - 1)))
        pool = (n * (n + 2) * pool + (1 - 1 / rows) * out[-1]) / (n + 1) ** 2
    return np.array(out)

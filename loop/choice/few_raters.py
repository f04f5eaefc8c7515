"""The error of a fit over few raters, who differ from each other and gave different numbers of picks."""

import numpy as np

from loop.choice.slates import Slates


def leave_one_out(
    slates: Slates, z: np.ndarray, p: np.ndarray, scores: np.ndarray, information: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, float]:
    """The covariance of coefficients by leaving out each rater in turn, and the degrees of freedom of its intervals.

    `(G - 1) / G sum_g (A - A_g)^-1 s_g s_g' (A - A_g)^-1`, the jackknife by one step of Newton (CV3 of MacKinnon,
    Nielsen and Webb 2023), which sees that the estimate hangs on a rater with many picks; the sandwich, evaluated where
    that rater pulled it, doesn't. Degrees of freedom are one less than the number of raters that as many picks each
    would make, `1 / sum_g w_g^2` with w_g the share of the information (Carter, Schnepel and Steigerwald 2017).
    Simulated raters with 3 to 200 picks whose tastes differ by 0.8 were covered in 98, 96 and 93 % of studies with 5,
    10 and 20 of them; by the sandwich and G - 1 in 84, 87 and 90 %.

    Args:
        slates: n of them.
        z: (rows, d) centred columns.
        p: (rows,) probabilities.
        scores: (n, d) gradients of each pick's log-probability.
        information: (d, d) A, of all picks, with the prior's.
        place: (n,) of each slate's rater, 0 to G - 1, G at least 2.
    """
    g, d = int(place.max()) + 1, z.shape[1]
    means, rows = slates.total(p[:, None] * z), slates.spread(place)
    own, sums = np.zeros((g, d, d)), np.zeros((g, d))
    for j in range(d):
        sums[:, j] = np.bincount(place, scores[:, j], g)
        for k in range(j + 1):
            product = np.bincount(rows, p * z[:, j] * z[:, k], g) - np.bincount(place, means[:, j] * means[:, k], g)
            own[:, j, k] = own[:, k, j] = product
    others = np.linalg.pinv(information - own, rcond=1e-9, hermitian=True)
    steps = np.einsum("gij,gj->gi", others, sums)
    shares = np.einsum("ij,gji->g", np.linalg.inv(information), own) / max(d, 1)
    effective = shares.sum() ** 2 / (shares**2).sum() if d and shares.any() else g
    return (g - 1) / g * steps.T @ steps, max(1.0, effective - 1)

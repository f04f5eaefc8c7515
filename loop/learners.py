"""Learners: from the slates of a turn to the set that the next generation is trained on, other than by the picks.

`curate` trains on what was picked (`loop.training_data.read_curated`), and `dpo` and `luce_dpo` on whole slates
(`model.preferences`). `reward_weighted` and `best_of_k` go by rewards: the study's where simulated users pick, and
utilities fitted to all picks so far where people do (`fit_utilities`; the proxy picks by them, too).
"""

import hashlib
import json
from dataclasses import dataclass, replace

import numpy as np
import torch

from data.measurements import Turn
from data.store import queries
from loop.analysis.log import Slates
from loop.analysis.logit import Likelihood, as_choices
from loop.scoring import Scorer, needed_features
from loop.study import Study
from loop.training_data import (
    CuratedSet,
    StoredSlates,
    read_curated,
    stored_pixels,
    stored_samples,
    to_tensor,
)
from model.interfaces import scaled


@dataclass(frozen=True, slots=True)
class Utilities:
    """A fitted utility `u(x) = coefficients . (features(x) - mean) / scale`.

    Attributes:
        mean: (d,).
        scale: (d,), positive.
        coefficients: (d,).
        n_picks: that it was fitted to.
        log_likelihood: mean log-probability of those picks; chance is `-log K`.
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    n_picks: int
    log_likelihood: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(n,) utilities of (n, d) features."""
        return ((features - self.mean) / self.scale) @ self.coefficients

    @property
    def sha256(self) -> str:
        """Names the fit: the hash of all its numbers."""
        numbers = np.concatenate([self.mean, self.scale, self.coefficients]).astype("<f8")
        return hashlib.sha256(numbers.tobytes()).hexdigest()


def fit(
    features: np.ndarray,
    picks: np.ndarray,
    ridge: float,
    worst: np.ndarray | None = None,
    tied: np.ndarray | None = None,
) -> Utilities:
    """The utilities that make the picks most probable, with a Gaussian prior.

    Features are standardised and divided by sqrt(d), so that the prior standard deviation of a sample's utility is
    about `1 / sqrt(ridge)` whatever the number of features.

    Args:
        features: (slates, K, d).
        picks: (slates,) the picked position.
        ridge: minimises `-log likelihood + ridge / 2 * |coefficients|^2`; it must be positive.
        worst: (slates,) positions picked as the worst, -1 for none; None where none is.
        tied: (slates,) True where both of a pair were as good; None where none is.

    Raises:
        ValueError: no slates, or a ridge that isn't positive.

    Source: the conditional logit of `loop.analysis.logit`.
    """
    if len(picks) == 0 or ridge <= 0:
        raise ValueError(f"a fit needs at least one pick and a positive ridge; got {len(picks)} and {ridge}")
    d = features.shape[2]
    mean = features.reshape(-1, d).mean(axis=0)
    spread = features.reshape(-1, d).std(axis=0)
    scale = np.where(spread > 1e-8, spread, 1.0) * np.sqrt(d)
    slates = replace(Slates.of_equal_size(features.shape[1], picks), worst=worst, tied=tied)
    read = as_choices(slates, ((features - mean) / scale).reshape(-1, d))
    prior = np.append(np.full(d, ridge), np.zeros(read.z.shape[1] - d))  # none on the threshold of ties
    likelihood = Likelihood(read.slates, read.z, prior, read.ties)
    indifferent = tied is not None and bool(tied.all())  # then theta has no finite best value
    best = np.append(np.zeros(d), np.ones(read.z.shape[1] - d)) if indifferent else likelihood.maximum()
    return Utilities(mean, scale, best[:d], len(picks), likelihood.log_likelihood(best) / len(picks))


def curated_set(study: Study, turn: Turn, scorer: Scorer) -> CuratedSet:
    """The curated set of a turn as a learner that goes by rewards makes it: reward_weighted, best_of_k.

    Args:
        study: the study.
        turn: whose slates are learned from.
        scorer: gives the features that people's utilities are fitted on.

    Raises:
        ValueError: there are no picks in the turn.
    """
    learner, picked = study.config.learner, read_curated(study, turn)
    slates = StoredSlates.of(study, turn)
    assert slates is not None  # K is finite, or the settings were refused
    by_slate: dict[int, list[dict]] = {}
    ids = slates.ids.tolist()
    for row in queries.slate_samples(study.store, ids):
        by_slate.setdefault(row["slate_id"], []).append(row)
    rows = [row for id_ in ids for row in by_slate[id_]]
    rewards = np.array([row["reward"] for row in rows], dtype=np.float64)
    x = stored_samples(study, rows)
    liked = utilities(study, turn, scorer, x) if (slates.kinds != "sim").any() else rewards
    if learner.kind == "best_of_k":
        best = np.arange(len(ids)) * slates.k + liked.reshape(-1, slates.k).argmax(axis=1)
        return CuratedSet(x[torch.from_numpy(best)], rewards[best], picked.counts, conditions=slates.conditions)
    weights = np.exp(learner.tau * (liked - liked.max()))
    conditions = None if slates.conditions is None else np.repeat(slates.conditions, slates.k)
    return CuratedSet(x, rewards, picked.counts, np.maximum(weights, np.finfo(float).tiny), conditions)


def utilities(study: Study, turn: Turn, scorer: Scorer, x: torch.Tensor) -> np.ndarray:
    """(n,) utilities, fitted to all picks up to the turn, of (n, *shape) stored samples."""
    fitted = fit_utilities(study, scorer, turn.cut, turn.t)
    return fitted(needed_features(scorer.score(scaled(x)).features))


def fit_utilities(study: Study, scorer: Scorer, until: int, t: int = 0) -> Utilities:
    """The utilities behind all picks of people (and let-in simulated users) up to a pick id, of every generation.

    Picks that the rule on flags keeps out of generation t are left out.
    """
    picks = list(queries.curation_picks(study.store, until=until, without=t))
    by_point = study.config.data.family is not None or study.config.data.is_text
    shown: dict[int, list[str]] = {}
    for item in queries.slate_samples(study.store, [pick["slate_id"] for pick in picks]):
        shown.setdefault(item["slate_id"], []).append(item["point_json" if by_point else "image_sha256"])
    names = sorted({name for names in shown.values() for name in names})
    place = {name: i for i, name in enumerate(names)}
    if by_point:
        dtype = torch.int64 if study.config.data.is_text else torch.float32
        samples = torch.tensor([json.loads(name) for name in names], dtype=dtype)
    else:
        samples = to_tensor(np.stack([stored_pixels(study, name) for name in names]))
    features = needed_features(scorer.score(samples).features)
    stacked = np.stack([features[[place[name] for name in shown[pick["slate_id"]]]] for pick in picks])
    worst = np.array([-1 if pick["worst"] is None else pick["worst"] for pick in picks])
    tied = np.array([pick["outcome"] == "tie" for pick in picks])
    return fit(
        stacked,
        np.array([pick["position"] for pick in picks]),
        study.config.curation.ridge,
        worst if (worst >= 0).any() else None,
        tied if tied.any() else None,
    )

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

from data.measurements import ProxyFit, ProxyFitGain, Turn
from data.store import queries
from loop.analysis.log import AnswerFilter, Slates, read_log
from loop.analysis.logit import Likelihood, as_choices
from loop.evidence.proxy import HeldOut, proxy_evidence
from loop.evidence.schema import Estimate, ProxyEvidence, ProxyGain
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
from model.judging.classifier import Classifier


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

    @classmethod
    def read(cls, fitted: ProxyFit) -> "Utilities | None":
        """The utilities of a stored fit; None where an older version stored its name alone."""
        if not fitted.coefficients:
            return None
        mean, scale, coefficients = map(np.array, (fitted.mean, fitted.scale, fitted.coefficients))
        return cls(mean, scale, coefficients, fitted.picks, fitted.log_likelihood or 0.0)

    @property
    def record(self) -> ProxyFit:
        """The fit as it is stored with its turn."""
        mean, scale, coefficients = (tuple(part.tolist()) for part in (self.mean, self.scale, self.coefficients))
        return ProxyFit(
            sha256=self.sha256, picks=self.n_picks, log_likelihood=self.log_likelihood,
            mean=mean, scale=scale, coefficients=coefficients,
        )  # fmt: skip

    def named(self, gain: ProxyFitGain | None) -> ProxyFit:
        """The fit as it is stored with its generation, whose turn has the numbers; with the gain of its reward."""
        return ProxyFit(sha256=self.sha256, picks=self.n_picks, log_likelihood=self.log_likelihood, gain=gain)

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
    assert slates is not None  # all are of K, or the settings were refused
    by_slate: dict[int, list[dict]] = {}
    ids = slates.ids.tolist()
    for row in queries.slate_samples(study.store, ids):
        by_slate.setdefault(row["slate_id"], []).append(row)
    rows = [row for id_ in ids for row in by_slate[id_]]
    rewards = np.array([row["reward"] for row in rows], dtype=np.float64)
    x = stored_samples(study, rows)
    unknown = (slates.kinds != "sim").any() or np.isnan(rewards).any()
    liked = utilities(study, turn, scorer, x) if unknown else rewards
    if learner.kind == "best_of_k":
        best = np.arange(len(ids)) * slates.k + liked.reshape(-1, slates.k).argmax(axis=1)
        return CuratedSet(x[torch.from_numpy(best)], rewards[best], picked.counts, conditions=slates.conditions)
    weights = np.exp(learner.tau * (liked - liked.max()))
    conditions = None if slates.conditions is None else np.repeat(slates.conditions, slates.k)
    return CuratedSet(x, rewards, picked.counts, np.maximum(weights, np.finfo(float).tiny), conditions)


def utilities(study: Study, turn: Turn, scorer: Scorer, x: torch.Tensor) -> np.ndarray:
    """(n,) utilities, fitted to all picks up to the turn, of (n, *shape) stored samples."""
    fitted = fit_utilities(study, scorer, turn.cut, turn.t)
    return fitted(needed_features(scorer.features(scaled(x))))


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
    features = shown_features(study, scorer, names)
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


def shown_features(study: Study, scorer: Scorer, names: list[str]) -> np.ndarray:
    """(n, d) features of samples that were shown, by the sha256 of their images, or by their points as JSON."""
    data = study.config.data
    if data.family is not None or data.is_text:
        dtype = torch.int64 if data.is_text else torch.float32
        samples = torch.tensor([json.loads(name) for name in names], dtype=dtype)
    else:
        samples = to_tensor(np.stack([stored_pixels(study, name) for name in names]))
    return needed_features(scorer.features(samples))


def study_proxy(study: Study) -> ProxyEvidence | None:
    """The proxy's fits held against people's later picks, for a report; None in a study whose picks no proxy extended.

    The fits are as they were stored; those of an older version are made again from the picks that they rest on.
    """
    generations = study.store.generations()
    turns = [turn for row in generations if (turn := row.measurements.turn) and turn.n_proxy]
    if not turns:
        return None
    family, is_text = study.config.data.family, study.config.data.is_text
    if family is not None:
        scorer = Scorer(study.config, None, tuple(family.label_names))
    elif is_text:
        scorer = Scorer(study.config, None, study.real.label_names, study.real)
    else:
        classifier = Classifier.load(study.classifier_path)
        scorer = Scorer(study.config, classifier, classifier.label_names)
    fits = [Utilities.read(turn.fit) or fit_utilities(study, scorer, turn.cut, turn.t) for turn in turns]
    log = read_log(study.store, AnswerFilter())
    latest = np.searchsorted([turn.cut for turn in turns], log.answers["pick"]) - 1  # the cut before the pick
    counted = latest >= 0
    if log.slates.tied is not None:
        counted &= ~log.slates.tied
    slates, rows = log.slates.subset(counted)
    items, latest = log.items[rows], latest[counted]
    shown = Slates(slates.sizes, slates.picked, slates.raters)  # worst ones count for nothing here
    held = HeldOut(shown, np.zeros(len(items)), items["t"], np.array([turns[i].t for i in latest], dtype=np.int64))
    if len(items):
        column = 2 if family is not None or is_text else 1  # points and texts, or images
        details = {row[0]: row[column] for row in queries.sample_details(study.store, ("human",))}
        names, place = np.unique([details[id_] for id_ in items["sample"].tolist()], return_inverse=True)
        features = shown_features(study, scorer, names.tolist())
        scores = np.stack([utilities(features) for utilities in fits])[slates.per_sample(latest), place]
        held = HeldOut(shown, scores, held.shown, held.fits)
    judged = {row.t: judge.mean_reward for row in generations if (judge := row.measurements.judge)}
    gains = []
    for row in generations:
        if gain := row.measurements.proxy.gain:
            means = {name: Estimate.of(part.value, part.se) for name, part in gain if name != "ratio"}
            ends = dict(zip(("value", "se", "low", "high"), gain.ratio or (), strict=False))
            gains.append(ProxyGain(t=row.t, ratio=Estimate(**ends) if ends else None, **means))
    judge = {t: Estimate.of(mean.value, mean.se) for t, mean in judged.items()}
    return proxy_evidence(held, {turn.t: turn.fit.log_likelihood for turn in turns}, judge, gains)

"""Rewards r(x), and scores of samples: the reward, the label (class or mode), and for images the classifier's view.

A reward is what a simulated user likes. The scale gamma is in it, and nothing else divides it later.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from data.datasets import RealData, load, nearest_mode
from data.designs import factor_utility, parse_weights, to_designs, to_points, weights_on_points
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.user_types import FollowingUser, user_types
from model.config import LARGEST_REWARD, REWARD_LEARNERS, SINGLE_PRECISION, RewardConfig
from model.generators.language import Ngram
from model.interfaces import OnStep, has_parameter, import_named
from model.judging.classifier import Classifier, Judgement

WORDS = re.compile(r"\w+")
RewardFunction = Callable[[torch.Tensor, np.ndarray, np.ndarray | None], np.ndarray]
"""From samples, class probabilities, and the conditions asked for."""
TextFeature = Callable[[Sequence[str], np.ndarray], np.ndarray]
"""(n,) numbers of n texts and their (n, length) tokens."""


def ball(points: torch.Tensor, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = -gamma max(0, |x - center| - r_min)` of (n, 2) points; at most 0.

    Source: Ferbach et al. 2024 (arXiv 2407.09499), Section 4, two-dimensional experiments.
    """
    distance = (points.double() - torch.tensor(config.center, dtype=torch.float64)).norm(dim=1)
    return (-config.gamma * (distance - config.r_min).clamp(min=0)).numpy()


def class_prob(probs: np.ndarray, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma q_target(x)` from (n, classes) probabilities q; the target is a class.

    Raises:
        ValueError: no such class.

    Source: Ferbach et al. 2024, Section 4, CIFAR-10.
    """
    assert isinstance(config.target, int)
    if config.target >= probs.shape[1]:
        raise ValueError(f"reward.target is {config.target}, but the classes go from 0 to {probs.shape[1] - 1}")
    return config.gamma * probs[:, config.target].astype(np.float64)


def asked_prob(probs: np.ndarray, labels: np.ndarray, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma q_y(x)` from (n, classes) probabilities q and (n,) classes y asked for; 0 where y is -1."""
    return config.gamma * np.where(labels >= 0, probs[np.arange(len(probs)), labels], 0.0).astype(np.float64)


def confidence(probs: np.ndarray, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma max_i q_i(x)` from (n, classes) probabilities q. Source: as `class_prob`."""
    return config.gamma * probs.max(axis=1).astype(np.float64)


def ink(images: torch.Tensor, config: RewardConfig) -> np.ndarray:
    """(n,) `r(x) = gamma mean(x + 1) / 2` of (n, channels, height, width) images in [-1, 1]: how bright they are."""
    return config.gamma * (images.double().flatten(1).mean(1).numpy() + 1) / 2


def share(texts: Sequence[str], word: str) -> np.ndarray:
    """(n,) shares of a letter in each text's characters, or of a longer word in its words; any case."""
    wanted, by_letter = word.casefold(), len(word) == 1
    parts = [text.casefold() if by_letter else WORDS.findall(text.casefold()) for text in texts]
    return np.array([part.count(wanted) / max(1, len(part)) for part in parts])


def word_count(texts: Sequence[str]) -> np.ndarray:
    """(n,) numbers of words."""
    return np.array([len(WORDS.findall(text)) for text in texts], dtype=np.float64)


def word_length(texts: Sequence[str]) -> np.ndarray:
    """(n,) mean lengths of each text's words, in characters; 0 of a text without any."""
    words = [WORDS.findall(text) for text in texts]
    return np.array([sum(map(len, some)) / max(1, len(some)) for some in words])


def reference_model(real: RealData, order: int) -> Ngram:
    """The n-gram model of a study's real text, which gives mass to every token."""
    assert real.vocabulary is not None
    return Ngram(len(real.vocabulary), order, interpolated=True).fit(real.x)


def likelihood(tokens: np.ndarray, reference: Ngram) -> np.ndarray:
    """(n,) mean log-probability of each row of (n, length) tokens, in nats, by a model of real text."""
    return reference.log_likelihood(tokens).mean(axis=1)


def text_features(names: Iterable[str], config: StudyConfig) -> dict[str, TextFeature]:
    """Those of the names that are numbers of texts (`loop.analysis.design.TEXT_FEATURES`), as functions.

    Raises:
        ValueError: the share of nothing.
    """
    features: dict[str, TextFeature] = {}
    for name in names:
        kind, _, word = name.partition(":")
        if name == "share:":
            raise ValueError("share: needs a letter or a word, such as share:e or share:because.")
        if name == "words":
            features[name] = lambda texts, _: word_count(texts)
        elif name == "word_length":
            features[name] = lambda texts, _: word_length(texts)
        elif kind == "share" and word:
            features[name] = lambda texts, _, word=word: share(texts, word)
        elif name == "log_probability":
            model = reference_model(load(config.data, config.seed), config.reward.order)
            features[name] = lambda _, tokens, model=model: likelihood(tokens, model)
    return features


@dataclass(frozen=True, slots=True)
class Scores:
    """Of n samples.

    Attributes:
        reward: (n,) float64, r(x).
        operative: (types, n) float64, by which each type of simulated user judges; one row, `reward`, if all are alike.
        labels: (n,) int64.
        probs: (n, classes) class probabilities; None for points and texts.
        features: (n, d) what the proxy's utilities are fitted on: by the classifier, the coordinates of designs, or
            the shares of tokens in a text; None for points of the plane, and of texts where none is to be fitted.
        texts: n of them, as people read them; None for all else.
    """

    reward: np.ndarray
    operative: np.ndarray
    labels: np.ndarray
    probs: np.ndarray | None = None
    features: np.ndarray | None = None
    texts: Sequence[str] | None = None


class Scorer:
    """Scores samples of one study.

    Args:
        config: the study's.
        classifier: the study's; None for points and texts.
        label_names: of classes or modes.
        real: the real data, of texts, whose vocabulary they are read by; not needed for all else.

    Raises:
        ValueError: the reward doesn't go with the data.
    """

    def __init__(
        self, config: StudyConfig, classifier: Classifier | None, label_names: tuple[str, ...],
        real: RealData | None = None,
    ):  # fmt: skip
        self.config, self.classifier, self.label_names, self.real = config, classifier, label_names, real
        self.vocabulary = None if real is None else real.vocabulary
        self._types = user_types(config)
        self._following = FollowingUser.of(config)
        self._taste: np.ndarray | None = None
        self._asked = StudyConditions.of(config, label_names)
        self._reward = self.reward_function(config.reward, "reward")
        self._others = [
            None if type_.reward is None else self.reward_function(type_.reward, f"the reward of '{type_.name}'")
            for type_ in self._types
        ]

    def with_taste(self, taste: np.ndarray | tuple[float, ...]) -> Self:
        """The same scorer, by whose operative rewards users pick who have come to a (d,) taste; empty: as it is."""
        scorer = copy.copy(self)
        scorer._taste = np.asarray(taste) if len(taste) else None
        return scorer

    def score(self, x: torch.Tensor, on_step: OnStep | None = None, conditions: np.ndarray | None = None) -> Scores:
        """Rewards and labels of (n, *shape) samples.

        Args:
            x: the samples.
            on_step: called now and then with (done, total) images.
            conditions: (n,) int64 under which they were drawn, -1 for none; None in a study without.
        """
        if self.classifier is not None:
            return self.score_judged(x, self.classifier.judge(x, on_step), conditions)
        rewards = self._rewards(x, np.empty((0, 0)), conditions)
        if self.vocabulary is not None:
            needed = self.config.curation.extend == "proxy" or self.config.learner.kind in REWARD_LEARNERS
            labels, features = np.zeros(len(x), dtype=np.int64), self.features(x) if needed else None
            return Scores(*rewards, labels, features=features, texts=self.read(x))
        return Scores(*rewards, nearest_mode(self.config.data, x.numpy()), features=self.features(x))

    def read(self, x: torch.Tensor) -> list[str]:
        """The texts of (n, length) tokens."""
        assert self.vocabulary is not None
        return [self.vocabulary.decode(row) for row in x.numpy()]

    def score_judged(self, x: torch.Tensor, judged: Judgement, conditions: np.ndarray | None = None) -> Scores:
        """The same of images that the classifier has judged."""
        reward, operative = self._rewards(x, judged.probs, conditions)
        features = np.concatenate([judged.probs, judged.features], axis=1)
        return Scores(reward, operative, judged.probs.argmax(1), judged.probs, features)

    def features(self, x: torch.Tensor) -> np.ndarray | None:
        """`Scores.features` of (n, *shape) samples."""
        if self.classifier is not None:
            judged = self.classifier.judge(x)
            return np.concatenate([judged.probs, judged.features], axis=1)
        if self.vocabulary is not None:
            counts = np.zeros((len(x), len(self.vocabulary)))
            np.add.at(counts, (np.arange(len(x))[:, None], x.numpy()), 1 / x.shape[1])
            return counts
        family = self.config.data.family
        return None if family is None else to_points(family.factors, to_designs(family.factors, x.numpy()))

    def _rewards(
        self, x: torch.Tensor, probs: np.ndarray, conditions: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        reward = checked_rewards(self._reward(x, probs, conditions), x, "the reward")
        if reward.size and reward.max() > LARGEST_REWARD:
            raise ValueError(
                f"the reward gave {reward.max():g}; above {LARGEST_REWARD:g} its E[exp(r)] can't be computed. Subtract "
                "a constant, which changes no pick, or make its scale smaller"
            )
        operative = [
            reward
            if other is None
            else checked_rewards(other(x, probs, conditions), x, f"the reward of '{type_.name}'")
            for type_, other in zip(self._types, self._others, strict=True)
        ]
        if self._following is not None and self._taste is not None:
            operative = [self._following.rewards(self._taste, x.numpy())]
        return reward, np.stack(operative)

    def reward_function(self, config: RewardConfig, name: str) -> RewardFunction:
        """The reward that a table describes, as a function of samples, class probabilities and conditions."""
        kind = config.kind
        if kind == "opposite":
            return lambda x, probs, asked: -self._reward(x, probs, asked)
        if kind == "class_prob" and config.target == "condition":
            labels = self.labels_asked(name)
            return lambda _x, probs, asked: asked_prob(
                probs, labels[np.full(len(probs), -1) if asked is None else asked], config
            )
        if kind == "class_prob" and config.target >= len(self.label_names):  # pyright: ignore[reportOperatorIssue]
            raise ValueError(
                f"{name}: target is {config.target}; the classes go from 0 to {len(self.label_names) - 1}."
            )
        if kind == "ball":
            return lambda x, _probs, _asked: ball(x, config)
        if kind == "share":
            return lambda x, _probs, _asked: config.gamma * share(self.read(x), config.word)
        if kind == "word_length":
            return lambda x, _probs, _asked: -config.gamma * np.abs(word_length(self.read(x)) - config.length)
        if kind == "likelihood" and self.real is not None:
            reference = reference_model(self.real, config.order)
            return lambda x, _probs, _asked: config.gamma * likelihood(x.numpy(), reference)
        if kind == "linear":
            return lambda x, _probs, _asked: config.gamma * (x.double().numpy() @ np.array(config.center))
        if kind == "ink":
            return lambda x, _probs, _asked: ink(x, config)
        if kind in ("class_prob", "confidence"):
            by_probs = class_prob if kind == "class_prob" else confidence
            return lambda _x, probs, _asked: by_probs(probs, config)
        if kind == "factors" and (family := self.config.data.family) is not None:
            weights = parse_weights(config.weights)
            weights_on_points(family.factors, weights)  # refuses unknown names before anything is drawn
            return lambda x, _probs, _asked: config.gamma * factor_utility(x.numpy(), family.factors, weights)
        return self.own_reward(config, name)

    def own_reward(self, config: RewardConfig, name: str) -> RewardFunction:
        """A reward of the user's own, by import path; it gets the names of conditions where it takes them."""
        own, known = import_named(config.kind, f"{name}.kind"), self._asked
        needs = inspect.signature(own).parameters.get("conditions")
        if known is None and needs is not None and needs.default is needs.empty:
            raise ValueError(f"{name}.kind '{config.kind}' goes by conditions, and this study has none.")
        names = [*known.asked.names, None] if known is not None and has_parameter(own, "conditions") else []

        def bounded(x: torch.Tensor, _probs: np.ndarray, asked: np.ndarray | None) -> np.ndarray:
            more = {"conditions": [names[i] for i in asked.tolist()]} if names and asked is not None else {}
            values = np.asarray(own(x if self.vocabulary is None else self.read(x), **more), dtype=np.float64)
            beyond = SINGLE_PRECISION * max(1.0, abs(config.supremum))
            if values.size and values.max() > config.supremum + beyond:
                raise ValueError(
                    f"{name} gave {values.max():g}, above its declared supremum of {config.supremum:g}: correct "
                    "the reward or the setting; bounds on E[w] rest on it"
                )
            return values

        return bounded

    def labels_asked(self, name: str) -> np.ndarray:
        """(conditions + 1,) int64: the class of each condition, and -1 last, for samples of none.

        Raises:
            ValueError: a condition is none of the classes.
        """
        assert self._asked is not None  # or the settings were refused
        for condition, label in zip(self._asked.asked.names, self._asked.labels, strict=True):
            if label < 0:
                raise ValueError(
                    f"{name}.target is 'condition', and the condition '{condition}' is none of the classes "
                    f"({', '.join(self.label_names[:5])} ...): give it a label."
                )
        return np.array([*self._asked.labels, -1], dtype=np.int64)


def checked_rewards(values: np.ndarray, x: torch.Tensor, name: str) -> np.ndarray:
    """The rewards of n samples x.

    Raises:
        ValueError: they aren't one finite number per sample; `name` says whose they are.
    """
    rule = f"{name} must give one finite number per sample"
    if values.shape != (len(x),):
        raise ValueError(f"{rule}; for {len(x):,} samples it gave an array of shape {values.shape}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise ValueError(f"{rule}; of {len(x):,} samples {wrong:,} got NaN or an infinite one")
    return values


def needed_features(features: np.ndarray | None) -> np.ndarray:
    """The features, where the data have any.

    Raises:
        ValueError: points of the plane have none.
    """
    if features is None:
        raise ValueError("curation.extend = 'proxy' is for images and designs; points of the plane have no features")
    return features

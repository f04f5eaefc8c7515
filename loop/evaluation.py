"""Measurements of every generation on fresh samples; the same seeds each time, so only the loop changes them."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from scipy.special import betaincinv

from data.datasets import RealData, has_density, load_test
from data.measurements import (
    DensityDivergence,
    Distances,
    JudgeFigures,
    LanguageFigures,
    Measurements,
)
from data.records import Evaluated, Generation
from data.store import queries
from loop.config import StudyConfig, build
from loop.divergence import (
    DENSITY_SAMPLES,
    Cells,
    LogRatios,
    by_density,
    cells,
    divergence,
    log_ratios,
    mean_of,
    noise_of_draws,
    total_variation,
)
from loop.generators import generator_class, load_generator
from loop.scoring import WORDS, Scorer, Scores, needed_features
from loop.selfcheck.verdicts import POWER, Check, Finding, judge
from loop.slates import COLUMNS, STREAMS, Drawn, draw_scored, picture
from loop.study import DISTANCES, IMPORTED, JUDGED, Study
from loop.theory.bounds import estimate_kl_ceiling
from loop.training_data import rows_of, to_bytes
from loop.user_types import FollowingUser
from model.checkpoint import write_whole
from model.compute import device, from_main
from model.config import Conditions
from model.density import PointDensity
from model.flow import Flow
from model.generators.language import distinct, rare_weights, type_token_curve
from model.interfaces import Generator, OnStep, Rows, scaled
from model.judging.classifier import Classifier, Judgement
from model.judging.features import NetworkFeatures, load_extractor
from model.judging.fidelity import Reference, Within, nearest_ratio, typical_spacing
from model.sampling import derive_seeds

OWN = "vgg11"  # the study's classifier, whose features come with the scores
NEAREST_SAMPLES = 2_000  # enough for a median
WORTH_KEEPING = 10_000  # real images from which judging them takes seconds
FEATURES = 32  # directions of the classifier's features that are stored of a sample
CONTEXTS = 300  # after which laws are compared, as in Seddik et al. 2024 (arXiv 2404.05090), Section 4.1
HELD_OUT_TEXTS = 500  # windows of held-out text at the most
DISTINCT, EXAMPLES = (2, 3, 4), 3
NAME, SLATES, FIGURES = "redrawn evaluation", "redrawn slates", "evaluation figures"
POINTS, IMAGES = 500, 32  # samples that are drawn again; images take far longer
CLOSE = {"points": 1e-3, "images": 0.05}  # standard deviations by which another device or batch may move a reward
STRAY = 0.1  # share of images that may come out otherwise: a flipped pixel can tip a classifier that wavers
ROUNDING = 1e-9  # relative, of means


def remembered(
    path: Path, about: str, data: torch.Tensor, compute: Callable[[], dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    """Tensors that take long to compute, from a file where it holds those of the same data.

    Args:
        path: the file; rank 0 reads and writes it.
        about: what else they depend on, in words.
        data: what they are computed from, of which the file has a hash.
        compute: computes the tensors by name, on every process.
    """
    key = hashlib.sha256(about.encode() + data.cpu().contiguous().numpy().tobytes()).hexdigest()
    stored = from_main(lambda: load_file(path) if path.exists() else {})
    tensors = {name.removeprefix(f"{key} "): tensor for name, tensor in stored.items() if name.startswith(key)}
    if not tensors:
        tensors = compute()
        raw = save({f"{key} {name}": tensor.cpu() for name, tensor in tensors.items()})
        from_main(lambda: write_whole(path, lambda file: file.write(raw)))
    return tensors


class DistancesToReal:
    """Distances of images of one study from its real ones, whose features are computed once.

    The comparison of all pairs of real features takes the longest; it is remembered in a file.

    Args:
        config: the study's.
        scorer: the study's.
        memory: the file.

    Raises:
        ValueError: the features need a file, or a package, that isn't there.
    """

    def __init__(self, config: StudyConfig, scorer: Scorer, memory: Path):
        self._memory = memory
        evaluation = config.evaluation
        self._classes, self._neighbours = len(scorer.label_names), evaluation.neighbours
        self._extractor: NetworkFeatures | None = None
        if evaluation.features != "classifier":
            self._extractor = load_extractor(evaluation.features, Path(evaluation.features_file), device())
        self._reference: Reference | None = None

    def of(self, x: torch.Tensor, scores: Scores, real: torch.Tensor, real_scores: Scores) -> Distances:
        """The distances (see `model.judging.fidelity.Distances`), and whose features they rest on.

        Args:
            x: (n, channels, height, width) in [-1, 1], the generation's.
            scores: of these.
            real: the real images as uint8 pixels, always the same.
            real_scores: of the real images.
        """
        if self._reference is None:
            self._reference = self.reference(self.features(real, real_scores))
        distances = self._reference.compare(self.features(x, scores))
        return Distances(features=self._extractor.name if self._extractor else OWN, **distances.as_json())

    def reference(self, real: torch.Tensor) -> Reference:
        """(n, d) real features, compared with each other."""
        reference = Reference(real, self._neighbours)
        if len(real) < 2:  # there are no pairs
            return reference

        def compute() -> dict[str, torch.Tensor]:
            within = reference.within
            kernels = torch.tensor([within.kernel, within.kernel_square], dtype=torch.float64)
            return {"radii": within.squared_radii, "kernel_of": within.kernel_of, "kernels": kernels}

        about = f"{self._neighbours} neighbours, {real.device.type}, "
        tensors = remembered(self._memory, about, real, compute)
        kernel, square = tensors["kernels"].tolist()
        radii, kernel_of = (tensors[name].to(real.device) for name in ("radii", "kernel_of"))
        reference.within = Within(radii, kernel, kernel_of, square)
        return reference

    def features(self, x: torch.Tensor, scores: Scores) -> torch.Tensor:
        """(n, d) features of images, uint8 or in [-1, 1]: the extractor's, or the classifier's from their scores."""
        if self._extractor:
            return self._extractor.features(scaled(x))
        assert scores.features is not None
        on = "cpu" if device().type == "mps" else device()  # which has no float64
        return torch.from_numpy(scores.features[:, self._classes :]).to(on)


class LanguageMeasure:
    """Measures texts of one study against its real text, and its generations' laws against the first ones'.

    Args:
        study: of texts.
        scorer: reads their tokens as texts.
    """

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer
        self._laws: dict[int, np.ndarray | None] = {}

    @cached_property
    def held_out(self) -> np.ndarray:
        """(n, length) tokens of real text that no generation learned."""
        test = load_test(self.study.config.data)
        assert test is not None
        return test.x[:HELD_OUT_TEXTS]

    @cached_property
    def rare(self) -> np.ndarray:
        """(vocabulary,) how far each token is one of the rare ones in the real text."""
        vocabulary = self.study.real.vocabulary
        assert vocabulary is not None
        return rare_weights(self.study.real.x.ravel(), len(vocabulary))

    @cached_property
    def contexts(self) -> np.ndarray:
        """(n, length - 1) contexts, as generation 0 wrote them."""
        config = self.study.config
        seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])[:CONTEXTS]
        return load_generator(self.study, 0).sample(seeds).numpy()[:, :-1]

    def of(self, generator: Generator, t: int, x: np.ndarray, texts: Sequence[str]) -> LanguageFigures:
        """Figures of generation t and of (n, length) tokens that it wrote, which are these texts."""
        laws, figures = self.laws(generator, t), self.variety(x, texts)
        score = getattr(generator, "log_likelihood", None)
        if laws is None or score is None:
            return figures
        # a window's first token has nothing before it here, though it has in the text: no law of it is measured
        logs, more = score(self.held_out)[:, 1:], {"vocabulary": laws.shape[1]}
        for name, earlier in (("l1_first", 0), ("l1_second", 1)):
            if earlier <= t and (before := self.laws(None, earlier)) is not None:
                more[name] = mean_of(np.abs(laws - before).sum(axis=1))
        if np.isfinite(logs).all():
            more["cross_entropy"] = mean_of(-logs.mean(axis=1))
        return figures.model_copy(update={"no_mass": float(np.isneginf(logs).mean()), **more})

    def laws(self, generator: Generator | None, t: int) -> np.ndarray | None:
        """(contexts, vocabulary) laws of generation t, which is read if it isn't given; None where it gives none."""
        if t not in self._laws:
            asked = getattr(generator or load_generator(self.study, t), "next_laws", None)
            laws = None if asked is None else asked(self.contexts)
            if t > 1:
                return laws
            self._laws[t] = laws
        return self._laws[t]

    def variety(self, x: np.ndarray, texts: Sequence[str]) -> LanguageFigures:
        """The figures of (n, length) tokens, which are these texts, without any about laws."""
        words = np.unique([word for text in texts for word in WORDS.findall(text)] or [""], return_inverse=True)[1]
        lengths = [2**i for i in range(4, 40) if 2**i < len(words)] + [len(words)]
        n = x.shape[1]
        return LanguageFigures(
            tokens="character" if self.study.config.data.tokenizer == "char" else "byte pair",
            texts=len(x),
            distinct=tuple(distinct(x, k) for k in DISTINCT if k <= n),
            distinct_n=tuple(k for k in DISTINCT if k <= n),
            rare_share=mean_of(self.rare[x].mean(axis=1)),
            type_lengths=tuple(lengths),
            types=tuple(type_token_curve(words, lengths).tolist()),
            examples=tuple(texts[:EXAMPLES]),
        )

    def of_real(self) -> LanguageFigures:
        """The variety of as much real text as generations are measured on, if there is so much."""
        real: RealData = self.study.real
        part = real.subset(min(self.study.config.evaluation.samples, len(real)), np.random.default_rng(0))
        return self.variety(part.x, self.scorer.read(torch.from_numpy(part.x)))


@dataclass(frozen=True)
class Evaluation:
    """The measurements of one generation, a picture (sha256, png), and the samples behind them."""

    measurements: Measurements
    picture: tuple[str, bytes]
    samples: Evaluated


class Evaluator:
    """Measures the generations of one study against its real data.

    Args:
        study: the study.
        scorer: goes by the classifier behind the reward.
        judge: goes by the second classifier, which no loop selects by; None without one.
    """

    def __init__(self, study: Study, scorer: Scorer, judge: Scorer | None = None):
        self.study, self.scorer, self.judge = study, scorer, judge
        self._features: dict[int, np.ndarray] = {}  # of the latest generation's samples, by t
        self.distances = DistancesToReal(study.config, scorer, study.path / DISTANCES) if study.real.is_images else None
        self.language = LanguageMeasure(study, scorer) if study.config.data.is_text else None
        self.following = FollowingUser.of(study.config)

    @cached_property
    def real_bytes(self) -> torch.Tensor:
        """(n, *shape) the real data, images as uint8 pixels."""
        return to_bytes(self.study.real.x)

    @property
    def real_conditions(self) -> np.ndarray | None:
        """(n,) int64 conditions of the real data, -1 for those of none; None in a study without."""
        conditions = self.study.conditions
        return None if conditions is None else conditions.of_labels(self.study.real.labels)

    @property
    def real_rows(self) -> tuple[Rows, np.ndarray]:
        """The real data as a part of a training set, and (n,) rewards; under conditions those that are of any.

        Raises:
            ValueError: no real datum is of any condition.
        """
        of, rewards = self.real_conditions, self.real_scores.reward
        if of is None:
            return Rows(self.real_bytes), rewards
        chosen = np.flatnonzero(of >= 0)
        if not len(chosen) and self.study.config.policy.uses_real:
            raise ValueError(
                "No real datum is of any of the study's conditions: name [[conditions]] after the data's classes "
                f"({', '.join(self.study.real.label_names[:5])} ...), or give each a label."
            )
        x = self.real_bytes[torch.from_numpy(chosen)]
        return rows_of(x, of[chosen], self.study.conditions), rewards[chosen]

    def condition_figures(self, picked: np.ndarray | None) -> dict[str, Any]:
        """Of `Measurements`: the picks that trained a generation, by condition; nothing in a study without."""
        if picked is None:
            return {}
        return {"condition_picks": tuple(np.bincount(picked, minlength=len(self.study.conditions or ())).tolist())}

    @property
    def real(self) -> torch.Tensor:
        """(n, *shape) the real data as the model sees them; made anew each time, since images take four times more."""
        return scaled(self.real_bytes)

    @cached_property
    def real_scores(self) -> Scores:
        """Rewards and labels of the real data."""
        return self.score_real()

    def score_real(self, on_step: OnStep | None = None) -> Scores:
        """Scores the real data once, as `real_scores`; the judgement of many images is remembered in the study.

        Args:
            on_step: called now and then with (done, total) images.
        """
        real, classifier = self.real, self.scorer.classifier
        if classifier is None or classifier.sha256 is None or len(real) < WORTH_KEEPING:
            scores = self.scorer.score(real, on_step, self.real_conditions)
        else:

            def compute() -> dict[str, torch.Tensor]:
                judged = classifier.judge(real, on_step)
                return {"probs": torch.from_numpy(judged.probs), "features": torch.from_numpy(judged.features)}

            about = f"{classifier.sha256}, {device().type}, "
            judged = remembered(self.study.path / JUDGED, about, self.real_bytes, compute)
            judgement = Judgement(judged["probs"].numpy(), judged["features"].numpy())
            scores = self.scorer.score_judged(real, judgement, self.real_conditions)
        self.__dict__["real_scores"] = scores
        return scores

    @cached_property
    def cells(self) -> Cells:
        """The partition on which generations are compared with the real data."""
        config = self.study.config
        copied = config.network.kind == "resample"
        return cells(config.data, self.real_samples(), len(self.scorer.label_names), copied=copied)

    @cached_property
    def spacing(self) -> float:
        """Median distance between nearest real data."""
        return typical_spacing(self.real_bytes)

    def of_real(self) -> Measurements:
        """The same figures for the real data: what generation 0 should resemble."""
        scores, of = self.real_scores, self.real_conditions
        rewards = scores.reward if of is None or not (of >= 0).any() else scores.reward[of >= 0]
        return Measurements(
            n=len(self.real_bytes),
            **reward_figures(rewards),
            class_shares=class_shares(scores.labels, self.scorer.label_names),
            class_names=self.scorer.label_names,
            judge=self.second_opinion(self.real, scores, self.real_conditions),
            language=self.language.of_real() if self.language else None,
        )

    def real_samples(self) -> Evaluated:
        """The real data as they are stored for predictions."""
        return to_record(None, self.real, self.real_scores, self.real_conditions)

    def of(self, generator: Generator, t: int, picks: torch.Tensor | None, on_step: OnStep | None = None) -> Evaluation:
        """Figures of a generation on `evaluation.samples` fresh samples.

        Args:
            generator: to measure.
            t: its number.
            picks: (m, *shape), images as uint8 pixels, the curated samples it was trained on; None for generation 0.
            on_step: called with (done, total) of the samples that are drawn.
        """
        config, real, names = self.study.config, self.study.real, self.scorer.label_names
        seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
        with ThreadPoolExecutor(1) as beside:  # drawing points leaves a core idle
            find_ratios = self.log_ratios(generator, seeds, beside)
            conditions = self.study.conditions
            asked = None if conditions is None else conditions.allotted(len(seeds), config.seed)
            drawn = draw_scored(generator, self.scorer, t, seeds, asked, on_step)
            x, scores, taste = drawn.x, drawn.scores, self.taste(t, drawn.x)
            if taste is not None and self.following:
                scores = replace(scores, operative=self.following.rewards(taste, x.numpy())[None])
            if scores.features is not None and config.curation.extend == "proxy":
                self._features = {t: scores.features}
            sheet, record = picture(x, real.x, config.data, scores.texts), to_record(t, x, scores, asked)
            ratios = find_ratios()
        # the classifier's labels, where the data have other classes than it knows
        real_labels = real.labels if real.label_names == names else self.real_scores.labels
        real_shares = np.array(class_shares(real_labels, names))
        density = self.density_figures(ratios, t)
        beside_real: dict[str, Any] = (
            {"language": self.language.of(generator, t, x.numpy(), scores.texts or ())}
            if self.language
            else self.fidelity(x, scores, record, real_shares, picks, density, asked)
        )
        known = Conditions((), ()) if conditions is None else conditions.asked
        measurements = Measurements(
            n=len(drawn),
            **reward_figures(scores.reward),
            class_shares=class_shares(scores.labels, names),
            class_names=names,
            **({} if taste is None else {"taste": tuple(taste.tolist())}),
            **({} if asked is None else {"conditions": known.names, "condition_weights": known.weights}),
            **beside_real,
            grid_sha256=sheet[0],
            grid_columns=COLUMNS if x.ndim == 4 or config.data.family else None,
        )
        return Evaluation(measurements, sheet, record)

    def taste(self, t: int, x: torch.Tensor) -> np.ndarray | None:
        """(d,) the taste by which simulated users pick from generation t, of (n, d) samples x; None where it stays."""
        if self.following is None or not t:
            return self.following and self.following.first
        before = from_main(lambda: self.study.store.generations()[t - 1].measurements.taste)
        return self.following.next_taste(before, x.numpy())

    def fidelity(
        self, x: torch.Tensor, scores: Scores, record: Evaluated, real_shares: np.ndarray, picks: torch.Tensor | None,
        density: DensityDivergence | str, conditions: np.ndarray | None,
    ) -> dict[str, Any]:  # fmt: skip
        """Of `Measurements`: images or points beside the real ones; arguments as they come up in `of`."""
        near = x[:NEAREST_SAMPLES]
        ratios = [
            None
            if rows is None or not self.spacing
            else nearest_ratio(near, rows, self.spacing)  # real data may repeat
            for rows in (self.real_bytes, picks)
        ]
        return {
            "tv_real": total_variation(scores.labels, real_shares),
            "judge": self.second_opinion(x, scores, conditions),
            "divergence": divergence(self.cells, record, density),
            "distances": self.distances.of(x, scores, self.real_bytes, self.real_scores) if self.distances else None,
            "nn_ratio": ratios[0],
            "nn_picks_ratio": ratios[1],
        }

    def features(self, generator: Generator, t: int) -> np.ndarray:
        """(n, d) features of the samples that generation t is measured on; drawn again where they aren't at hand."""
        if t not in self._features:
            config, conditions = self.study.config, self.study.conditions
            seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
            asked = None if conditions is None else conditions.allotted(len(seeds), config.seed)
            self._features = {t: needed_features(draw_scored(generator, self.scorer, t, seeds, asked).scores.features)}
        return self._features[t]

    def second_opinion(self, x: torch.Tensor, scores: Scores, conditions: np.ndarray | None) -> JudgeFigures | None:
        """Class shares and mean reward by the judge, and the share of images on whose class both agree."""
        if self.judge is None:
            return None
        second = self.judge.score(x, None, conditions)
        return JudgeFigures(
            class_shares=class_shares(second.labels, self.scorer.label_names),
            mean_reward=mean_of(second.reward),
            agreement=float((second.labels == scores.labels).mean()),
        )

    def density_figures(self, ratios: LogRatios | str, t: int) -> DensityDivergence | str:
        """The divergence by generation t's exact densities where they and the real law's are known; else why not."""
        config = self.study.config
        if isinstance(ratios, str):
            return ratios
        if t == 0:
            self.__dict__["first_log_ratios"] = ratios
        k, policy, ceiling = config.curation.k, config.policy, None
        if t and k != "inf" and policy.is_mixed and (first := self.first_log_ratios):
            ceiling = estimate_kl_ceiling(first.own, first.real, k, policy.lam, t)
        return by_density(ratios, ceiling)

    @cached_property
    def first_log_ratios(self) -> LogRatios | None:
        """Those of generation 0, on the same seeds as every other one's; None where they aren't known."""
        config = self.study.config
        seeds = derive_seeds(config.evaluation.samples, config.seed, STREAMS["evaluation"])
        with ThreadPoolExecutor(1) as beside:
            ratios = self.log_ratios(load_generator(self.study, 0), seeds, beside)()
        return None if isinstance(ratios, str) else ratios

    def log_ratios(
        self, generator: Generator, seeds: np.ndarray, beside: ThreadPoolExecutor
    ) -> Callable[[], LogRatios | str]:
        """Log p_t/p_ref at samples of the first of these seeds and at real draws, or why it isn't known.

        The larger part of the work begins at once in a thread; the function that comes back does the rest.
        """
        data = self.study.config.data
        if not (isinstance(generator, Flow) and has_density(data)) or generator.conditions:
            return lambda: "the densities of the generator and of the real data aren't both known"
        density, own = PointDensity(generator.network, generator.sampling, torch.float32), seeds[:DENSITY_SAMPLES]
        draws = beside.submit(noise_of_draws, density, data, len(own))
        return lambda: log_ratios(density, data, own, draws.result)


def class_shares(labels: np.ndarray, names: Sequence[str]) -> tuple[float, ...]:
    """Share of each class among (n,) labels."""
    return tuple((np.bincount(labels, minlength=len(names)) / len(labels)).tolist())


def to_record(t: int | None, x: torch.Tensor, scores: Scores, conditions: np.ndarray | None = None) -> Evaluated:
    """Scored samples as they are stored: rewards (the study's, then those of types of users), labels, and points.

    Of images a few directions of the classifier's features, drawn at random once and for all, which keep distances to
    within a fifth or so (Johnson and Lindenstrauss 1984).
    """
    rewards = scores.reward[None]
    if len(scores.operative) > 1 or not np.array_equal(scores.operative[0], scores.reward):
        rewards = np.concatenate([rewards, scores.operative])
    points = x.numpy().astype(np.float32) if x.ndim == 2 else None
    features = None
    if scores.probs is not None and scores.features is not None:
        own = scores.features[:, scores.probs.shape[1] :]
        directions = np.random.default_rng(0).standard_normal((own.shape[1], FEATURES)) / math.sqrt(FEATURES)
        features = (own @ directions).astype(np.float16)
    return Evaluated(t, rewards, scores.labels.astype(np.int32), points, conditions, features)


def reward_figures(reward: np.ndarray) -> dict[str, Any]:
    """Means with standard errors of r and of w = exp(r), and the variance of w, from (n,) rewards."""
    w = np.exp(reward)
    return {"mean_reward": mean_of(reward), "mean_w": mean_of(w), "var_w": float(w.var(ddof=1))}


def redrawn(study: Study, rng: np.random.Generator) -> list[Check]:
    """Draws some samples again by their seeds, under their conditions, and compares rewards, classes and points.

    Args:
        study: the study; its checkpoints are read.
        rng: chooses the samples, and the generation of those in slates.

    Returns:
        A check of samples of the last evaluation, one of samples in slates where there are any, and one that the
        figures of all generations are those of their stored samples.
    """
    generations = [generation for generation in study.store.generations() if generation.policy != IMPORTED]
    if not generations:
        return []
    last = generations[-1]
    stored = study.store.evaluation(last.t)
    compared = f"Samples of generation {last.t}'s evaluation drawn again from its checkpoint"
    if stored is None:
        return judge([Finding(NAME, None, 0, compared, "this study's version kept no evaluation")])
    n = len(stored.labels)
    rows = np.sort(rng.choice(n, size=min(n, IMAGES if stored.points is None else POINTS), replace=False))
    held = Evaluated(
        last.t,
        stored.rewards[:, rows],
        stored.labels[rows],
        None if stored.points is None else stored.points[rows],
        None if stored.conditions is None else stored.conditions[rows],
    )
    seeds = derive_seeds(n, settings_of(study, last).seed, STREAMS["evaluation"])[rows]
    words = f"the {n:,} samples of generation {last.t}'s evaluation"
    findings = [compare_redrawn(study, last, seeds, held, stored, NAME, words), check_figures(study, generations)]
    return judge([*findings, *redrawn_slates(study, generations, rng)])


def redrawn_slates(study: Study, generations: Sequence[Generation], rng: np.random.Generator) -> list[Finding]:
    """The finding on samples of curation and audit slates, of one generation that has some and was drawn here."""
    foreign = queries.foreign_generations(study.store)
    own = {generation.t: generation for generation in generations if generation.t not in foreign}
    samples = np.array(queries.drawn_samples(study.store), dtype=np.int64).reshape(-1, 2)
    ts = [t for t in np.unique(samples[:, 0]).tolist() if t in own]
    t = int(rng.choice(ts)) if ts else -1
    stored, ids = study.store.evaluation(t) if ts else None, samples[samples[:, 0] == t, 1]
    if stored is None:
        return []
    chosen = rng.choice(ids, size=min(len(ids), IMAGES if stored.points is None else POINTS), replace=False)
    rows = queries.samples_by_id(study.store, chosen.tolist())
    conditions = study.conditions
    held = Evaluated(
        t,
        np.array([[row["reward"] for row in rows]]),
        np.array([row["label"] for row in rows]),
        None if stored.points is None else np.array([json.loads(row["point_json"]) for row in rows]),
        None if conditions is None else conditions.of_names([row["condition"] for row in rows]),
    )
    seeds = np.array([row["seed"] for row in rows], dtype=np.int64)
    words = f"the {len(ids):,} samples of generation {t} in slates"
    return [compare_redrawn(study, own[t], seeds, held, stored, SLATES, words)]


def settings_of(study: Study, generation: Generation) -> StudyConfig:
    """The settings under which a generation was measured; study.toml may have been changed since."""
    try:
        return build({**study.config.model_dump(), **generation.config})
    except ValueError:  # an older version, with other settings
        return study.config


def redraw(study: Study, generation: Generation, seeds: np.ndarray, held: Evaluated) -> Drawn:
    """Samples of a generation drawn again under its settings, by their (n,) seeds and under the conditions held."""
    t, config, classifier = generation.t, settings_of(study, generation), None
    if held.points is None:
        classifier = Classifier.load(study.weights_path("classifier"))
    names = generation.measurements.class_names if classifier is None else classifier.label_names
    own = study.config_of(t) if study.sources else config
    generator = generator_class(own).load(study.checkpoint_path(t), own.train, own.sampling)
    conditions = None if held.conditions is None else held.conditions.astype(np.int64)
    scorer = Scorer(config, classifier, names, study.real if config.data.is_text else None)
    scorer = scorer.with_taste(generation.measurements.taste)
    return draw_scored(generator, scorer, t, seeds, conditions)


def compare_redrawn(
    study: Study, generation: Generation, seeds: np.ndarray, held: Evaluated, like: Evaluated, name: str, of: str
) -> Finding:
    """The finding on samples that are drawn again, beside what is stored of them.

    Args:
        study: the study.
        generation: that drew them.
        seeds: (n,) theirs.
        held: what is stored of them.
        like: the generation's evaluation, whose rewards say what a standard deviation is.
        name: of the check.
        of: what they were chosen from, in words.
    """
    n, images = len(seeds), held.points is None
    try:
        drawn = redraw(study, generation, seeds, held)
    except (OSError, RuntimeError, ValueError) as error:
        compared = f"Some of {of} drawn again from its checkpoint"
        return Finding(name, None, 0, compared, f"it can't be done: {error}".rstrip("."))
    close = CLOSE["images" if images else "points"]
    rewards = drawn.scores.reward[None]
    if len(held.rewards) > 1:
        rewards = np.concatenate([rewards, drawn.scores.operative])
    spread = np.maximum(like.rewards[: len(held.rewards)].std(axis=1, keepdims=True), 1e-6)
    same_shape = rewards.shape == held.rewards.shape
    apart = (np.abs(rewards - held.rewards) / spread).max(axis=0) if same_shape else np.full(n, math.inf)
    other = ~(apart <= close) | (drawn.scores.labels != held.labels)
    if held.points is not None and like.points is not None:
        size = max(float(like.points.std()), 1e-6)
        other |= ~(np.abs(drawn.x.numpy() - held.points).max(axis=1) <= close * size)
    differing, allowed = int(other.sum()), math.floor(STRAY * n) if images else max(1, n // 100)
    kinds = (
        "rewards and classes"
        if images
        else "rewards and tokens"
        if drawn.data.is_text
        else "rewards, classes and points"
    )
    # more than `allowed` of this share of changed samples are among n in 80% of draws
    share = float(betaincinv(allowed + 1, n - allowed, POWER)) if n > allowed else 1.0
    return Finding(
        name,
        None,
        n,
        f"{n:,} of {of} drawn again from its checkpoint, {kinds} compared",
        f"{differing:,} differ by more than {close:g} standard deviations ({allowed} may, on another device); in "
        f"{POWER:.0%} of studies a share of {share:.1%} changed by more than that would have been found",
        "What is stored isn't what the checkpoint draws: it was changed, or it is another generator's.",
        broken=differing > allowed,
        figures={"differing": differing, "allowed": allowed, "detectable_share": share},
    )


def check_figures(study: Study, generations: list[Generation]) -> Finding:
    """The finding on mean rewards and class shares of all generations, beside those of their stored samples."""
    wrong, n = [], 0
    for generation in generations:
        stored = study.store.evaluation(generation.t)
        if stored is None or not generation.measurements.mean_reward:
            continue
        n += len(stored.labels)
        shares = generation.measurements.class_shares
        counted = np.bincount(np.maximum(stored.labels, 0), minlength=len(shares)) / len(stored.labels)
        mean = generation.measurements.mean_reward.value
        same = math.isclose(mean, float(stored.rewards[0].mean()), rel_tol=ROUNDING, abs_tol=ROUNDING)
        if not same or len(counted) != len(shares) or not np.allclose(counted, shares, atol=ROUNDING):
            wrong.append(str(generation.t))
    return Finding(
        FIGURES,
        None,
        n,
        f"Mean rewards and class shares of all generations against their {n:,} stored samples",
        f"they differ in generation {', '.join(wrong)}" if wrong else "they agree",
        "Figures or samples were changed after they were measured.",
        broken=bool(wrong) if n else None,
        figures={"differing": len(wrong)},
    )

"""Arms of the experiments on language: a policy and a temperature, retrained for generations, resumable at each.

All arms of a seed share a `Base`: the text, and the models that the two papers start from. An arm is a folder with the
sets that its generations wrote and a record of each, so that a run that was stopped goes on where it stopped.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.text import Characters, load_corpus, windows
from loop.policy import Composition, DataPolicy
from model.gpt import PRESETS, Gpt, GptConfig
from model.language import cross_entropy, distinct, mean_l1, rare_share

Paper = Literal["seddik", "gerstgrasser"]


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One arm.

    Attributes:
        paper: whose protocol: Seddik et al.'s real data are samples of a trained model, and generation 1 learns them;
            Gerstgrasser et al.'s are the text.
        policy: composes the training sets.
        temperature: of sampling.
    """

    paper: Paper
    policy: DataPolicy
    temperature: float = 1.0

    @property
    def name(self) -> str:
        """Its folder's name."""
        policy = str(self.policy).replace(" ", "-").replace("=", "")
        return f"{self.paper}-{policy}-t{self.temperature:g}"

    @property
    def title(self) -> str:
        """The arm in words."""
        if self.paper == "seddik":
            lam = self.policy.lam
            share = 1.0 if self.policy.is_pure else lam / (1 + lam)
            return f"{share:.0%} synthetic"
        return f"{str(self.policy).replace('_', ' ')}, T = {self.temperature:g}"


SEDDIK = tuple(
    ArmSpec("seddik", policy) for policy in (DataPolicy("replace"), DataPolicy("mix", 1), DataPolicy("mix", 0.25))
)
GERSTGRASSER = tuple(
    ArmSpec("gerstgrasser", DataPolicy(kind), temperature)
    for temperature in (1.0, 0.3)
    for kind in ("replace", "accumulate")
)
GROWN = ArmSpec("gerstgrasser", DataPolicy("replace_grown"))


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of the experiment.

    Attributes:
        text: a corpus's name, or a file.
        preset: of `model.gpt`.
        steps: of training a model; 0 for the preset's.
        rows: windows of real text, each of a context and one token.
        one_epoch: of Gerstgrasser et al.'s arms: steps grow with the training set, which is seen once; else each model
            takes as many.
        generations: fits.
        contexts: that laws are compared after.
        held_out: windows of real text that are measured on.
    """

    text: str = "python-topics"
    preset: str = "small"
    steps: int = 0
    rows: int = 4_000
    one_epoch: bool = False
    generations: int = 10
    contexts: int = 300
    held_out: int = 400

    def untrained(self, vocabulary: int) -> Gpt:
        """The transformer of every generation, before training."""
        sizes, recipe = PRESETS[self.preset]
        if self.steps:
            recipe = replace(recipe, steps=self.steps, warmup_steps=min(recipe.warmup_steps, self.steps // 5))
        return Gpt.build(GptConfig(vocabulary, **sizes), recipe)


@dataclass(frozen=True)
class Base:
    """The text, and the models that arms of one seed start from.

    Attributes:
        untrained: the transformer.
        vocabulary: of the text.
        held_out: (n, length) windows of real text, to measure on.
        real: by paper, (rows, length) windows that stand for the real data.
        first: by paper, the model of generation 1, which learned them.
        contexts: (n, context) that laws are compared after, drawn by the model of generation 0.
    """

    untrained: Gpt
    vocabulary: Characters
    held_out: np.ndarray
    real: dict[Paper, np.ndarray]
    first: dict[Paper, Gpt]
    contexts: np.ndarray


def base_of(folder: Path, scale: Scale, seed: int) -> Base:
    """What the arms of a seed share; trained where it isn't there yet.

    Seddik et al.'s generation 0 is the model that learned the text, which is Gerstgrasser et al.'s generation 1.
    """
    corpus = load_corpus(scale.text)
    vocabulary = Characters.of(corpus)
    untrained = scale.untrained(len(vocabulary))
    length, rng = untrained.config.context + 1, np.random.default_rng([seed, 0])
    held_out = windows(vocabulary.encode(corpus.held_out), length, scale.held_out, np.random.default_rng(0))
    text = windows(vocabulary.encode(corpus.train), length, scale.rows, rng)
    folder = folder / f"base-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    zeroth = _trained(folder / "text.safetensors", untrained, text, seed)
    samples = _sampled(folder / "samples.npy", zeroth, scale.rows, length, (seed, 1))
    first = _trained(folder / "samples.safetensors", untrained, samples, seed)
    prefixes = _sampled(folder / "contexts.npy", zeroth, scale.contexts, untrained.config.context, (seed, 2))
    return Base(
        untrained, vocabulary, held_out, {"seddik": samples, "gerstgrasser": text},
        {"seddik": first, "gerstgrasser": zeroth}, prefixes[:, : untrained.config.context // 2],
    )  # fmt: skip


def _trained(path: Path, untrained: Gpt, rows: np.ndarray, seed: int) -> Gpt:
    if path.exists():
        return replace(Gpt.load(path), recipe=untrained.recipe)
    gpt = untrained.fit(lambda n, rng: rows[rng.integers(len(rows), size=n)], None, seed)
    gpt.save(path)
    return gpt


def _sampled(path: Path, gpt: Gpt, n: int, length: int, key: Sequence[int]) -> np.ndarray:
    if path.exists():
        return np.load(path).astype(np.int64)
    tokens = gpt.sample(np.random.default_rng(list(key)).integers(2**62, size=n), length)
    _write(path, tokens)
    return tokens


def _write(path: Path, tokens: np.ndarray) -> None:
    draft = path.with_suffix(".draft.npy")
    np.save(draft, tokens.astype(np.int32))
    draft.replace(path)


def run_arm(folder: Path, spec: ArmSpec, scale: Scale, seed: int) -> list[dict[str, Any]]:
    """The records of an arm's generations, those that are missing trained now.

    Args:
        folder: of all arms.
        spec: the arm.
        scale: of the experiment.
        seed: everything random in it.
    """
    own = folder / f"{spec.name}-{seed}"
    own.mkdir(parents=True, exist_ok=True)
    log = own / "records.json"
    records: list[dict[str, Any]] = json.loads(log.read_text()) if log.exists() else []
    if len(records) >= scale.generations:
        return records
    base = base_of(folder, scale, seed)
    real, first = base.real[spec.paper], base.first[spec.paper]
    laws = first.next_laws(base.contexts)
    sets = [np.load(own / f"set-{m}.npy").astype(np.int64) for m in range(1, len(records) + 1)]
    for m in range(len(records) + 1, scale.generations + 1):
        began = time.monotonic()
        gpt = first if m == 1 else fitted(base.untrained, spec, scale, real, sets, (seed, m))
        trained = time.monotonic()
        gpt = replace(gpt, recipe=replace(gpt.recipe, temperature=spec.temperature))
        seeds = np.random.default_rng([seed, m, 7]).integers(2**62, size=spec.policy.asked(len(real), m))
        tokens = gpt.sample(seeds, real.shape[1])
        record = {
            "m": m,
            "cross_entropy": cross_entropy(gpt, base.held_out),
            "l1": mean_l1(laws, gpt.next_laws(base.contexts)),
            "distinct_3": distinct(tokens[: len(base.held_out)], 3),
            "rare_share": rare_share(real.ravel(), tokens.ravel()),
            "train_s": trained - began,
            "round_s": time.monotonic() - began,
            "text": base.vocabulary.decode(tokens[0]),
        }
        sets.append(tokens)
        _write(own / f"set-{m}.npy", tokens)
        records.append(record)
        draft = log.with_suffix(".draft")
        draft.write_text(json.dumps(records, indent=1))
        draft.replace(log)
    return records


def fitted(
    untrained: Gpt, spec: ArmSpec, scale: Scale, real: np.ndarray, sets: Sequence[np.ndarray], key: tuple[int, int]
) -> Gpt:
    """A fresh model that learned the training set which the policy composes."""
    composed = spec.policy.compose(len(real), [len(rows) for rows in sets], np.random.default_rng([*key, 3]))
    parts = training_parts(composed, [real, *sets], np.random.default_rng([*key, 4]))
    if scale.one_epoch and spec.paper == "gerstgrasser":
        recipe = untrained.recipe
        rows = sum(len(part) for _, part in parts)
        untrained = replace(untrained, recipe=replace(recipe, steps=max(1, math.ceil(rows / recipe.batch_size))))
    shares = np.array([share for share, _ in parts])

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        counts = rng.multinomial(n, shares / shares.sum())
        rows = [part[rng.integers(len(part), size=k)] for k, (_, part) in zip(counts, parts, strict=True) if k]
        return rng.permutation(np.concatenate(rows))

    return untrained.fit(draw, None, key[0] + 1_000 * key[1])


def training_parts(
    composed: Composition, sets: Sequence[np.ndarray], rng: np.random.Generator
) -> list[tuple[float, np.ndarray]]:
    """The share of each set in the training set, and its rows that are in it; sets without any are left out."""
    takes = zip((composed.real, *composed.sets), (composed.real_share, *composed.set_shares), sets, strict=True)
    return [
        (share, rows if taken == len(rows) else rows[rng.choice(len(rows), taken, replace=False)])
        for taken, share, rows in takes
        if taken
    ]

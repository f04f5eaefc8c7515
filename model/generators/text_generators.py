"""Generators of texts as a study's tables name them: counts (`language.py`), or a transformer (`gpt.py`).

Samples are rows of as many tokens as an item has. A checkpoint holds the vocabulary too, as plain values that
`data.text.vocabulary_from` reads, so that the texts can be read without the corpus.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from model import checkpoint
from model.config import NetworkConfig, SamplingConfig, TrainConfig
from model.generators.gpt import Gpt, GptConfig, GptRecipe
from model.generators.language import Ngram
from model.interfaces import OnStep, Rows, TrainingSet


@dataclass(frozen=True)
class NgramGenerator:
    """Counts of tokens after contexts. Immutable: `fit` gives a new one.

    With `network.draws` it is the exact control: after each context of the real text a generation learns so many draws
    from its parent's law there, in place of the texts that the parent wrote. Its sets are composed by the data policy.

    Attributes:
        model: the counts; without any before `fit`.
        length: tokens of an item.
        vocabulary: as plain values.
        network: the [network] table.
        temperature: of sampling.
        rows: real data that generation 0 learned; the control's draws are in proportion to them.
        sets: of the control: the real text's counts, then those of each generation's draws, oldest first.
    """

    model: Ngram
    length: int
    vocabulary: dict[str, Any] = field(repr=False)
    network: NetworkConfig
    temperature: float = 1.0
    rows: int = 0
    sets: tuple[Ngram, ...] = field(default=(), repr=False)

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        *,
        vocabulary: dict[str, Any],
    ) -> Self:
        """One without counts.

        Raises:
            ValueError: the order is too long for so many tokens, or a control that interpolates.
        """
        if network.draws and network.interpolated:
            raise ValueError("network.draws is the exact control, which doesn't interpolate: set interpolated = false")
        model = Ngram(vocabulary["size"], network.order, network.interpolated)
        return cls(model, shape[0], vocabulary, network, sampling.temperature)

    @property
    def sha256(self) -> str | None:
        """The sha256 of its checkpoint, once loaded."""
        return self.model.sha256

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, length) int64 tokens from (n,) int64 seeds."""
        return torch.from_numpy(self.model.sample(seeds, self.length, self.temperature))

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """The counts in all rows of the training set, by their shares; the parent's play no part but in the control."""
        facts = {"seed": seed, "parent": parent and parent.sha256, "sha256": None}
        if self.network.draws and self.model.levels:
            return self.controlled(training_set, seed, facts)
        real, curated, share = training_set.real, training_set.curated, training_set.real_share
        parts = [(part, weight) for part, weight in ((real, share), (curated, 1 - share)) if weight > 0 and len(part)]
        rows = Rows.joined([part for part, _ in parts], [weight for _, weight in parts])
        assert rows.weights is not None
        weights = rows.weights * (len(rows) / rows.weights.sum())
        model = replace(self.model.fit(rows.x.numpy(), None if np.ptp(weights) < 1e-9 else weights), **facts)
        if on_step:
            on_step(1, 1)
        return replace(self, model=model, rows=self.rows or len(real), sets=(model,) if self.network.draws else ())

    def controlled(self, training_set: TrainingSet, seed: int, facts: dict[str, Any]) -> Self:
        """The control's next generation, of fresh draws and the earlier ones in the shares of the data policy."""
        (real, *shares), latest = training_set.shares, training_set.slates
        size = len(training_set.curated) * shares[-1] / sum(shares) if latest is None else len(latest)
        n = max(1, round(self.network.draws * size / self.rows))
        sets = (*self.sets, self.model.resampled(n, np.random.default_rng(seed)))
        used = [sets[0], *sets[len(sets) - len(shares) :]]
        return replace(self, model=replace(Ngram.mixed(used, [real, *shares]), **facts), sets=sets)

    def next_laws(self, contexts: np.ndarray) -> np.ndarray:
        """As `model.generators.language.LanguageModel`."""
        return self.model.next_laws(contexts)

    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """As `model.generators.language.LanguageModel`."""
        return self.model.log_likelihood(tokens)

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        facts = {"rows": self.rows, "sets": len(self.sets)}
        content = self.model.content(**described(self.vocabulary, self.length, self.network), **facts)
        for i, own in enumerate(self.sets):
            content.tensors.update(
                {f"set {i} {name}": tensor.clone() for name, tensor in own.content().tensors.items()}
            )
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        stored = checkpoint.load_kind(path, "ngram")

        def part(start: str) -> Ngram:
            tensors = {name.removeprefix(start): t for name, t in stored.tensors.items() if name.startswith(start)}
            return Ngram.of(replace(stored, tensors=tensors))

        own = {name: tensor for name, tensor in stored.tensors.items() if not name.startswith("set ")}
        sets = tuple(part(f"set {i} ") for i in range(stored.config["sets"]))
        config = stored.config
        network = NetworkConfig(**config["tables"])
        return cls(
            Ngram.of(replace(stored, tensors=own)),
            config["length"],
            config["text"],
            network,
            sampling.temperature,
            config["rows"],
            sets,
        )


@dataclass(frozen=True)
class GptGenerator:
    """A transformer. Immutable: `fit` gives a new one.

    Attributes:
        model: the transformer.
        length: tokens of an item.
        vocabulary: as plain values.
        network: the [network] table.
    """

    model: Gpt
    length: int
    vocabulary: dict[str, Any] = field(repr=False)
    network: NetworkConfig

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        *,
        vocabulary: dict[str, Any],
    ) -> Self:
        """An untrained one.

        Raises:
            ValueError: heads that don't divide the width.
        """
        context = min(network.context or shape[0], shape[0])
        config = GptConfig(vocabulary["size"], context, network.width, network.depth, network.heads, network.dropout)
        return cls(Gpt.build(config, recipe_of(network, train, sampling)), shape[0], vocabulary, network)

    @property
    def sha256(self) -> str | None:
        """The sha256 of its checkpoint, once loaded."""
        return self.model.sha256

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, length) int64 tokens from (n,) int64 seeds."""
        return torch.from_numpy(self.model.sample(seeds, self.length))

    def fit(self, training_set: TrainingSet, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new one, trained on draws of the training set; longer items than a context are cut at random places.

        Raises:
            NonFiniteLossError: training diverged.
        """
        size = min(self.length, self.model.config.context + 1)

        def draw(n: int, rng: np.random.Generator) -> np.ndarray:
            rows = training_set.draw(n, rng).x.numpy()
            starts = rng.integers(self.length - size + 1, size=n)
            return np.take_along_axis(rows, starts[:, None] + np.arange(size), axis=1)

        return replace(self, model=self.model.fit(draw, parent and parent.model, seed, on_step))

    def next_laws(self, contexts: np.ndarray) -> np.ndarray:
        """As `model.generators.language.LanguageModel`."""
        return self.model.next_laws(contexts)

    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """As `LanguageModel`; in texts longer than a context each law sees what it sees in sampling."""
        context, end = self.model.config.context, min(tokens.shape[1], self.model.config.context + 1)
        logs = [self.model.log_likelihood(tokens[:, :end])]
        while end < tokens.shape[1]:
            first = end - context // 2
            stop = min(tokens.shape[1], first + context + 1)
            logs.append(self.model.log_likelihood(tokens[:, first:stop])[:, end - first :])
            end = stop
        return np.concatenate(logs, axis=1)

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        return checkpoint.save(path, self.model.content(**described(self.vocabulary, self.length, self.network)))

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load` and `Gpt.of`."""
        stored = checkpoint.load_kind(path, "gpt")
        network = NetworkConfig(**stored.config["tables"])
        model = Gpt.of(stored, recipe_of(network, train, sampling))
        return cls(model, stored.config["length"], stored.config["text"], network)


def recipe_of(network: NetworkConfig, train: TrainConfig, sampling: SamplingConfig) -> GptRecipe:
    """The recipe of a transformer that a study's tables describe."""
    return GptRecipe(
        steps=train.pretrain_steps,
        batch_size=train.batch_size,
        lr=train.pretrain_lr,
        warmup_steps=train.warmup_steps,
        finetune_steps=train.finetune_steps,
        finetune_lr=train.finetune_lr,
        weight_decay=train.weight_decay,
        grad_clip=train.grad_clip,
        precision=network.precision,
        temperature=sampling.temperature,
        sampled_at_once=sampling.batch_size,
    )


def described(vocabulary: dict[str, Any], length: int, network: NetworkConfig) -> dict[str, Any]:
    """The settings of a checkpoint beside the model's own: the vocabulary, an item's length, the [network] table."""
    return {"text": vocabulary, "length": length, "tables": network.model_dump()}

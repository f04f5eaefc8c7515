"""Language models as counts, and figures of any language model: its laws, its cross-entropy, the variety it writes.

Tokens are whole numbers from 0. An n-gram model is the categorical model of Seddik et al. 2024 (arXiv 2404.05090) for
each context, when it doesn't interpolate; interpolated, its text can be read. `gpt.py` has the transformer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from scipy.sparse import csr_array

from model import checkpoint

LARGEST_KEY = 2**62  # of a context, as a number to the base of the vocabulary
NUMBERS_AT_ONCE = 4_000_000  # of laws


class LanguageModel(Protocol):
    """A law of the next token, given those before it."""

    def next_laws(self, contexts: np.ndarray) -> np.ndarray:
        """(n, vocabulary) float64 laws of the token after each of (n, m) contexts, at temperature 1."""
        ...

    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """(n, length) float64 log-probability, in nats, of each of (n, length) tokens given those before it."""
        ...


def uniforms(seeds: np.ndarray, length: int) -> np.ndarray:
    """(n, length) float64 in [0, 1): row i depends on `seeds[i]` alone, and a shorter row is the longer one's start."""
    rows = [np.random.Generator(np.random.Philox(key=int(seed))).random(length) for seed in seeds]
    return np.stack(rows) if rows else np.empty((0, length))


def draw_tokens(laws: np.ndarray, u: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(n,) int64 tokens from (n, vocabulary) laws: the place at which each law reaches a uniform number of its own.

    Args:
        laws: float64, up to a factor.
        u: (n,) in [0, 1).
        temperature: the laws are raised to its inverse; 1 leaves them, and towards 0 the likeliest token is certain.

    Raises:
        ValueError: a temperature that isn't above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    if temperature != 1:
        laws = (laws / laws.max(axis=1, keepdims=True)) ** (1 / temperature)
    reached = laws.cumsum(axis=1)
    tokens = (u[:, None] * reached[:, -1:] >= reached).sum(axis=1)
    last = laws.shape[1] - 1 - (laws[:, ::-1] > 0).argmax(axis=1)  # rounding must not reach a token without mass
    return np.minimum(tokens, last)


@dataclass(frozen=True, slots=True)
class ContextCounts:
    """Counts of each token after each context of one length.

    Attributes:
        keys: (contexts,) int64, ascending; a context is a number to the base of the vocabulary.
        counts: (contexts, vocabulary), sparse.
    """

    keys: np.ndarray
    counts: csr_array

    def of(self, keys: np.ndarray) -> np.ndarray:
        """(n, vocabulary) counts after the contexts of (n,) keys; 0 after those that were never seen."""
        if not len(self.keys):
            return np.zeros((len(keys), self.counts.shape[1]))  # pyright: ignore - of scipy's annotations
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.counts[places].toarray() * (self.keys[places] == keys)[:, None]


@dataclass(frozen=True)
class Ngram:
    """Counts of tokens after contexts of up to `order - 1` tokens. Immutable: `fit` gives a new one.

    Attributes:
        vocabulary: number of tokens.
        order: tokens of the longest sequence that is counted; 1 takes no notice of the context.
        interpolated: laws of all lengths are mixed; else the law is the frequencies after the longest context that was
            seen, without mass on what never followed it.
        levels: of each length of context, from 0 to order - 1; empty before `fit`.

    Raises:
        ValueError: an order or a vocabulary out of range.
    """

    vocabulary: int
    order: int = 3
    interpolated: bool = False
    levels: tuple[ContextCounts, ...] = ()
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.vocabulary < 1 or self.order < 1:
            raise ValueError(f"an n-gram model of order {self.order} over {self.vocabulary} tokens isn't one")
        if self.vocabulary ** (self.order - 1) > LARGEST_KEY:
            raise ValueError(f"order {self.order} is too long for {self.vocabulary} tokens; choose a shorter one")

    def fit(self, windows: np.ndarray, weights: np.ndarray | None = None) -> Self:
        """The counts in (n, length) windows of text; a context doesn't reach over the beginning of its window.

        Args:
            windows: int64 tokens.
            weights: (n,) how often each window counts; None: once.

        Raises:
            ValueError: tokens that aren't in the vocabulary.
        """
        if windows.size and (windows.min() < 0 or windows.max() >= self.vocabulary):
            raise ValueError(f"tokens go from 0 to {self.vocabulary - 1} here")
        weights = np.ones(len(windows)) if weights is None else weights
        levels = []
        for j in range(self.order):
            columns = max(0, windows.shape[1] - j)
            keys, following = self._keys(windows, j)[:, :columns], windows[:, j:]
            seen, rows = np.unique(keys, return_inverse=True)
            entries = np.broadcast_to(weights[:, None], keys.shape).ravel(), (rows.ravel(), following.ravel())
            counts = csr_array(entries, shape=(len(seen), self.vocabulary))
            counts.sum_duplicates()
            levels.append(ContextCounts(seen, counts))
        return replace(self, levels=tuple(levels), sha256=None)

    def _keys(self, tokens: np.ndarray, j: int) -> np.ndarray:
        """(n, length - j + 1) keys of the contexts of j tokens, that which begins at each place."""
        places = tokens.shape[1] - j + 1
        keys = np.zeros((len(tokens), max(0, places)), dtype=np.int64)
        for i in range(j):
            keys = keys * self.vocabulary + tokens[:, i : i + max(0, places)]
        return keys

    def next_laws(self, contexts: np.ndarray) -> np.ndarray:
        """(n, vocabulary) laws of the token after each of (n, m) contexts.

        Interpolated, `p_j(w) = (c_j(w) + T_j p_{j-1}(w)) / (c_j + T_j)` with c_j the counts after the last j tokens and
        T_j the number of different tokens among them, from the even law on. Source: Witten and Bell 1991.
        """
        contexts = contexts[:, max(0, contexts.shape[1] - self.order + 1) :]
        if len(contexts) > 1:  # many are alike
            _, index, inverse = np.unique(
                self._keys(contexts, contexts.shape[1])[:, 0], return_index=True, return_inverse=True
            )
            if len(index) < len(contexts):
                return self.next_laws(contexts[index])[inverse]
        law = np.full((len(contexts), self.vocabulary), 1 / self.vocabulary)
        for j, level in enumerate(self.levels[: contexts.shape[1] + 1]):
            counts = level.of(self._keys(contexts[:, contexts.shape[1] - j :], j)[:, 0])
            total = counts.sum(axis=1, keepdims=True)
            if self.interpolated:
                kinds = (counts > 0).sum(axis=1, keepdims=True)
                law = np.where(total > 0, (counts + kinds * law) / np.maximum(total + kinds, 1), law)
            else:
                law = np.where(total > 0, counts / np.where(total > 0, total, 1), law)
        return law

    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """(n, length) log-probability, in nats, of each token given those before it; -inf where it has no mass."""
        logs = np.empty(tokens.shape)
        for lot in self._lots(len(tokens)):
            for i in range(tokens.shape[1]):
                laws = self.next_laws(tokens[lot, max(0, i - self.order + 1) : i])
                with np.errstate(divide="ignore"):
                    logs[lot, i] = np.log(np.take_along_axis(laws, tokens[lot, i : i + 1], axis=1)[:, 0])
        return logs

    def sample(self, seeds: np.ndarray, length: int, temperature: float = 1.0) -> np.ndarray:
        """(n, length) int64 tokens from (n,) int64 seeds; a row depends on its own seed alone.

        Raises:
            ValueError: a temperature that isn't above 0.
        """
        u = uniforms(seeds, length)
        tokens = np.zeros((len(seeds), length), dtype=np.int64)
        for lot in self._lots(len(seeds)):
            for i in range(length):
                laws = self.next_laws(tokens[lot, max(0, i - self.order + 1) : i])
                tokens[lot, i] = draw_tokens(laws, u[lot, i], temperature)
        return tokens

    def _lots(self, n: int) -> list[slice]:
        """The parts of n texts whose laws are held in memory at once."""
        size = max(1, NUMBERS_AT_ONCE // self.vocabulary)
        return [slice(start, start + size) for start in range(0, n, size)]

    def resampled(self, n: int, rng: np.random.Generator) -> Self:
        """The model of n draws from the law after each context that it knows: a categorical model for each.

        Raises:
            ValueError: it interpolates, so that its law isn't that of its counts.

        Source: Seddik et al. 2024 (arXiv 2404.05090), Section 3.
        """
        if self.interpolated:
            raise ValueError("a model that interpolates has no counts of its own to resample; set interpolated = false")
        levels = []
        for level in self.levels:
            laws = level.counts.toarray()
            drawn = rng.multinomial(n, laws / laws.sum(axis=1, keepdims=True)).astype(np.float64)
            levels.append(ContextCounts(level.keys, csr_array(drawn)))
        return replace(self, levels=tuple(levels), sha256=None)

    @classmethod
    def mixed(cls, models: Sequence[Self], shares: Sequence[float]) -> Self:
        """The model whose law after each context is that of some models in shares.

        Args:
            models: that know the same contexts, without interpolation.
            shares: at least one of them above 0.
        """
        levels = []
        for parts in zip(*(model.levels for model in models), strict=True):
            laws = [part.counts.multiply(1 / part.counts.sum(axis=1)[:, None]) for part in parts]
            total = sum(share * law for share, law in zip(shares, laws, strict=True) if share)
            levels.append(ContextCounts(parts[0].keys, csr_array(total)))
        return replace(models[0], levels=tuple(levels), sha256=None)

    def content(self, **more: Any) -> checkpoint.Checkpoint:
        """The counts as a checkpoint holds them, with more settings."""
        tensors = {}
        for j, level in enumerate(self.levels):
            counts = level.counts
            parts = {"keys": level.keys, "counts": counts.data, "tokens": counts.indices, "ends": counts.indptr}
            tensors |= {f"{j}.{name}": torch.from_numpy(np.ascontiguousarray(part)) for name, part in parts.items()}
        config = {"vocabulary": self.vocabulary, "order": self.order, "interpolated": self.interpolated, **more}
        return checkpoint.Checkpoint("ngram", tensors, config, self.seed, self.parent)

    @classmethod
    def of(cls, stored: checkpoint.Checkpoint) -> Self:
        """The model of what `content` gave."""
        parts, levels = {name: tensor.numpy() for name, tensor in stored.tensors.items()}, []
        config = {name: stored.config[name] for name in ("vocabulary", "order", "interpolated")}
        for j in range(config["order"] if parts else 0):
            shape = (len(parts[f"{j}.keys"]), config["vocabulary"])
            counts = csr_array((parts[f"{j}.counts"], parts[f"{j}.tokens"], parts[f"{j}.ends"]), shape=shape)
            levels.append(ContextCounts(parts[f"{j}.keys"], counts))
        return cls(**config, levels=tuple(levels), seed=stored.seed, parent=stored.parent, sha256=stored.sha256)

    def save(self, path: Path) -> str:
        """Writes the counts as a checkpoint and returns its sha256."""
        return checkpoint.save(path, self.content())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`."""
        return cls.of(checkpoint.load_kind(path, "ngram"))


def cross_entropy(model: LanguageModel, tokens: np.ndarray) -> float:
    """Mean of -log p, in nats a token, of (n, length) tokens of held-out text; exp of it is the perplexity."""
    return float(-model.log_likelihood(tokens).mean())


def mean_l1(first: np.ndarray, second: np.ndarray) -> float:
    """The mean, over the rows of two (contexts, vocabulary) sets of laws, of `||p - q||_1`; between 0 and 2.

    Source: Seddik et al. 2024 (arXiv 2404.05090), Section 4.1, over 300 contexts.
    """
    return float(np.abs(first - second).sum(axis=1).mean())


def distinct(tokens: np.ndarray, n: int) -> float:
    """Different n-grams over all n-grams in (texts, length) tokens; none reaches from one text into another.

    Source: Li et al. 2016 (arXiv 1510.03055), distinct-n.

    Raises:
        ValueError: the texts are shorter than n.
    """
    if not 1 <= n <= tokens.shape[1] or not len(tokens):
        raise ValueError(f"texts of {tokens.shape[1]} tokens have no {n}-grams")
    grams = np.lib.stride_tricks.sliding_window_view(tokens, n, axis=1).reshape(-1, n)
    return len(np.unique(grams, axis=0)) / len(grams)


def type_token_curve(tokens: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """(len(lengths),) the number of different tokens among the first so many of (n,) tokens."""
    first = np.zeros(len(tokens) + 1, dtype=np.int64)
    first[1 + np.unique(tokens, return_index=True)[1]] = 1
    return first.cumsum()[np.minimum(lengths, len(tokens))]


def rare_weights(reference: np.ndarray, vocabulary: int, tail: float = 0.1) -> np.ndarray:
    """(vocabulary,) how far each token is a rare one in a reference: 1, 0, or in part.

    The rarest tokens of the reference, that make up `tail` of it, are the rare ones, the commonest among them in part.
    Tokens that it doesn't have aren't rare, but new.

    Args:
        reference: (n,) tokens.
        vocabulary: number of tokens.
        tail: in (0, 1).
    """
    counts = np.bincount(reference, minlength=vocabulary)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    left = np.maximum(0, tail * len(reference) - np.concatenate([[0], counts[order].cumsum()[:-1]]))
    weights = np.zeros(len(counts))
    weights[order] = np.minimum(1, left / counts[order])
    return weights


def rare_share(reference: np.ndarray, tokens: np.ndarray, tail: float = 0.1) -> float:
    """The share of a text's tokens that are rare in a reference (see `rare_weights`): the vanishing tail.

    The reference itself has the share `tail`.

    Args:
        reference: (n,) tokens.
        tokens: (m,) tokens.
        tail: in (0, 1).
    """
    vocabulary = 1 + int(max(reference.max(), tokens.max()))
    return float(rare_weights(reference, vocabulary, tail)[tokens].mean())

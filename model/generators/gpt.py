"""A decoder-only transformer over tokens, its training, and sampling from it token by token.

Layer norm comes before attention and before the perceptron, positions are learned, and the last layer's weights are the
tokens' embedding. A sample is drawn with numbers of its own seed; keys and values of earlier places are remembered.

Source: Radford et al. 2019 (GPT-2); the scale of fresh weights and the recipe's defaults are nanoGPT's.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from model import checkpoint
from model.compute import autocast, device
from model.generators.language import draw_tokens, uniforms
from model.interfaces import OnStep
from model.training import NonFiniteLossError, ahead, is_reported, learning_rate

DrawWindows = Callable[[int, np.random.Generator], np.ndarray]
"""Draws (n, length) int64 windows of text to learn from."""
STARTS = 2_000  # windows that the law of a first token is counted in


@dataclass(frozen=True, slots=True)
class GptConfig:
    """The size of a transformer.

    Attributes:
        vocabulary: number of tokens.
        context: tokens that a law may depend on.
        width: of a token's features.
        layers: blocks of attention and perceptron.
        heads: of the attention; they divide the width.
        dropout: of embeddings, attention and what each block adds.

    Raises:
        ValueError: heads that don't divide the width.
    """

    vocabulary: int
    context: int = 64
    width: int = 128
    layers: int = 4
    heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads don't divide a width of {self.width}")


@dataclass(frozen=True, slots=True)
class GptRecipe:
    """The recipe by which a transformer is trained, and sampled.

    Attributes:
        steps: of training from fresh weights.
        batch_size: windows a step.
        lr: the highest learning rate; it rises over `warmup_steps`, then falls as a cosine to 0.
        finetune_steps: of training that goes on from a parent.
        finetune_lr: the highest learning rate of it.
        weight_decay: of matrices; vectors have none.
        grad_clip: the largest norm of the gradient.
        precision: 'auto' is bfloat16 where the processor has it; or 'bf16', 'fp32'.
        temperature: of sampling.
        sampled_at_once: texts.
    """

    steps: int = 600
    batch_size: int = 32
    lr: float = 1e-3
    warmup_steps: int = 50
    finetune_steps: int = 200
    finetune_lr: float = 3e-4
    weight_decay: float = 0.1
    grad_clip: float = 1.0
    precision: str = "auto"
    temperature: float = 1.0
    sampled_at_once: int = 256


# "small" is for a CPU, under a minute. Seddik et al. 2024: tiny Shakespeare by characters (their appendix C). Of
# Gerstgrasser et al. 2024's GPT-2 of 9 M parameters the report has no sizes: these give 8.5 M with 8,192 byte pairs.
PRESETS: dict[str, tuple[dict[str, Any], GptRecipe]] = {
    "small": ({"context": 64, "width": 128, "layers": 3, "heads": 4}, GptRecipe(steps=500, batch_size=24, lr=2e-3)),
    "seddik": (
        {"context": 128, "width": 256, "layers": 8, "heads": 4, "dropout": 0.2},
        GptRecipe(steps=2_000, batch_size=256, lr=1e-3, warmup_steps=100),
    ),
    "gerstgrasser-9m": (
        {"context": 512, "width": 256, "layers": 8, "heads": 8},
        GptRecipe(steps=20_000, batch_size=64, lr=5e-4, warmup_steps=500),
    ),
}


class Cache:
    """Keys and values of the places that a batch of texts has been read up to.

    Args:
        config: of the transformer.
        n: texts.
    """

    def __init__(self, config: GptConfig, n: int):
        shape = (config.layers, 2, n, config.heads, config.context, config.width // config.heads)
        self.pairs = torch.zeros(shape, device=device())
        self.length = 0

    def extended(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """All keys and values up to and with those of new places; `length` counts the latter once all layers have."""
        end = self.length + keys.shape[2]
        self.pairs[layer, 0, :, :, self.length : end] = keys
        self.pairs[layer, 1, :, :, self.length : end] = values
        return self.pairs[layer, 0, :, :, :end], self.pairs[layer, 1, :, :, :end]


class Block(nn.Module):
    """Attention to the places before, then a perceptron."""

    def __init__(self, config: GptConfig, layer: int):
        super().__init__()
        width = config.width
        self.layer, self.heads, self.dropout = layer, config.heads, config.dropout
        self.before_attention, self.before_perceptron = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attended = nn.Linear(width, width, bias=False)
        self.wider, self.narrower = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor, cache: Cache | None) -> torch.Tensor:
        """(n, places, width) features from the same; with a cache, of the places that follow those in it."""
        heads = self.queries_keys_values(self.before_attention(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extended(self.layer, k.float(), v.float())
            k, v = k.to(q.dtype), v.to(q.dtype)
        # a single new place may look at all that come before it; several see a triangle, which torch aligns at the top
        is_first = q.shape[2] == k.shape[2]
        if not is_first and q.shape[2] > 1:
            raise ValueError("a cache that has places in it takes one more at a time")
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=is_first and q.shape[2] > 1)
        x = x + functional.dropout(self.attended(y.transpose(1, 2).flatten(2)), self.dropout, self.training)
        y = self.narrower(functional.gelu(self.wider(self.before_perceptron(x))))
        return x + functional.dropout(y, self.dropout, self.training)


class Transformer(nn.Module):
    """Logits of the next token at every place of a text."""

    def __init__(self, config: GptConfig):
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.places = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.last = nn.LayerNorm(config.width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:  # what is added to the stream is scaled down, by the number of additions
                added = name.endswith(("attended.weight", "narrower.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.layers) if added else 0.02)

    def forward(self, tokens: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """(n, places, vocabulary) logits of the token after each of (n, places) tokens.

        Args:
            tokens: int64; at most as many as the context, those in the cache included.
            cache: of the places before, which these are added to.
        """
        start = cache.length if cache else 0
        x = self.tokens(tokens) + self.places.weight[start : start + tokens.shape[1]]
        x = functional.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, cache)
        if cache is not None:
            cache.length += tokens.shape[1]
        return functional.linear(self.last(x), self.tokens.weight)


def train(
    network: Transformer, draw: DrawWindows, recipe: GptRecipe, steps: int, lr: float, rng: np.random.Generator,
    on_step: OnStep | None = None,
) -> None:  # fmt: skip
    """Trains a transformer in place on the cross-entropy of the next token.

    Args:
        network: on the device.
        draw: windows, of one token more than the laws are to see at the most.
        recipe: batch size, decay, clipping and precision.
        steps: in all.
        lr: the highest learning rate.
        rng: draws the windows.
        on_step: called with (done, total) after the steps of `model.training.is_reported`.

    Raises:
        NonFiniteLossError: training diverged.
    """
    matrices = [weight for weight in network.parameters() if weight.dim() >= 2]
    vectors = [weight for weight in network.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    network.train()
    batches = ahead(torch.from_numpy(draw(recipe.batch_size, rng)) for _ in range(steps))
    for step, batch in enumerate(batches, start=1):
        for group in optimiser.param_groups:
            group["lr"] = lr * learning_rate(step - 1, steps, recipe.warmup_steps)
        batch = batch.to(device())
        with autocast(recipe.precision):
            logits = network(batch[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
        optimiser.step()
        if is_reported(step, steps):
            if not torch.isfinite(loss):
                raise NonFiniteLossError(f"The loss is {loss:g} at step {step}; lower the learning rate.")
            if on_step:
                on_step(step, steps)
    network.eval()


@dataclass(frozen=True)
class Gpt:
    """A trained (or, from `build`, untrained) transformer. Immutable: `fit` gives a new one.

    Attributes:
        start: (vocabulary,) the law of a text's first token, for which there is no context: its frequencies in the
            training windows.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once saved or loaded.
    """

    config: GptConfig
    recipe: GptRecipe
    network: Transformer
    start: np.ndarray = field(repr=False)
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(cls, config: GptConfig, recipe: GptRecipe) -> Self:
        """An untrained one."""
        even = np.full(config.vocabulary, 1 / config.vocabulary)
        return cls(config, recipe, Transformer(config).to(device()).eval(), even)

    def fit(self, draw: DrawWindows, parent: Self | None, seed: int, on_step: OnStep | None = None) -> Self:
        """A new one: from fresh weights when parent is None, else from the parent's. Same inputs, same weights.

        Args:
            draw: windows of text, of one token more than the context at the most.
            parent: whose weights it starts from.
            seed: of everything random in it.
            on_step: called now and then with (done, total).

        Raises:
            NonFiniteLossError: training diverged.
        """
        recipe = self.recipe
        with torch.random.fork_rng([device()] if device().type == "cuda" else []):
            torch.manual_seed(seed)  # weights and dropout
            rng = np.random.default_rng(seed)
            network = Transformer(self.config).to(device())
            steps, lr = recipe.steps, recipe.lr
            if parent is not None:
                network.load_state_dict(parent.network.state_dict())
                steps, lr = recipe.finetune_steps, recipe.finetune_lr
            train(network, draw, recipe, steps, lr, rng, on_step)
        counts = np.bincount(draw(STARTS, rng).ravel(), minlength=self.config.vocabulary)
        start = counts / counts.sum()
        return replace(self, network=network, start=start, seed=seed, parent=parent and parent.sha256, sha256=None)

    def sample(self, seeds: np.ndarray, length: int, *, cached: bool = True) -> np.ndarray:
        """(n, length) int64 tokens from (n,) int64 seeds; a row depends on its own seed alone.

        In a text longer than the context, once the context is full, reading starts again from the middle of it: a law
        sees half a context at the least.

        Args:
            seeds: one for each text.
            length: tokens.
            cached: False reads everything again for each token, which gives the same tokens in float32.
        """
        size = self.recipe.sampled_at_once
        u = uniforms(seeds, length)
        tokens = np.empty((len(seeds), length), dtype=np.int64)
        for begin in range(0, len(seeds), size):  # filled up: a text's arithmetic is the same however many are drawn
            part = u[begin : begin + size]
            filled = np.pad(part, ((0, size - len(part)), (0, 0)), mode="edge")
            tokens[begin : begin + size] = self._draw(filled, cached=cached)[: len(part)]
        return tokens

    @torch.inference_mode()
    def _draw(self, u: np.ndarray, *, cached: bool) -> np.ndarray:
        n, length = u.shape
        tokens = np.empty((n, length), dtype=np.int64)
        cache, first, read = Cache(self.config, n), 0, 0  # the text from `first` on is seen; up to `read` it is cached
        for i in range(length):
            if i == 0:
                laws = np.broadcast_to(self.start, (n, len(self.start)))
            else:
                if i - first > self.config.context:
                    first = i - self.config.context // 2
                    cache.length, read = 0, first
                if not cached:
                    cache.length, read = 0, first
                new = torch.from_numpy(tokens[:, read:i]).to(device())
                laws = self._laws(self._logits(new, cache)[:, -1])
                read = i
            tokens[:, i] = draw_tokens(laws, u[:, i], self.recipe.temperature)
        return tokens

    def _logits(self, tokens: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        with autocast(self.recipe.precision):
            return self.network(tokens, cache)

    @staticmethod
    def _laws(logits: torch.Tensor) -> np.ndarray:
        return torch.softmax(logits.cpu().double(), dim=-1).numpy()

    @torch.inference_mode()
    def next_laws(self, contexts: np.ndarray) -> np.ndarray:
        """(n, vocabulary) float64 laws of the token after each of (n, m) contexts, whose last tokens alone it sees."""
        if not contexts.shape[1]:
            return np.tile(self.start, (len(contexts), 1))
        seen = torch.from_numpy(contexts[:, -self.config.context :])
        parts = [self._laws(self._logits(part.to(device()))[:, -1]) for part in seen.split(self.recipe.sampled_at_once)]
        return np.concatenate(parts)

    @torch.inference_mode()
    def log_likelihood(self, tokens: np.ndarray) -> np.ndarray:
        """(n, length) float64 log-probability, in nats, of each token given those before it.

        Raises:
            ValueError: texts longer than the context and one more token.
        """
        if tokens.shape[1] > self.config.context + 1:
            raise ValueError(
                f"texts of {tokens.shape[1]} tokens are longer than a context ({self.config.context}) and one"
            )
        with np.errstate(divide="ignore"):
            logs = [np.log(self.start[tokens[:, :1]])]
        if tokens.shape[1] > 1:
            rows = []
            for part in torch.from_numpy(tokens).split(self.recipe.sampled_at_once):
                log_laws = torch.log_softmax(self._logits(part[:, :-1].to(device())).cpu().double(), dim=-1)
                rows.append(log_laws.gather(2, part[:, 1:, None])[..., 0].numpy())
            logs.append(np.concatenate(rows))
        return np.concatenate(logs, axis=1)

    def content(self, **more: Any) -> checkpoint.Checkpoint:
        """The weights as a checkpoint holds them, with more settings."""
        tensors = {**self.network.state_dict(), "start": torch.from_numpy(self.start)}
        config = {"network": asdict(self.config), "recipe": asdict(self.recipe), **more}
        return checkpoint.Checkpoint("gpt", tensors, config, self.seed, self.parent)

    @classmethod
    def of(cls, stored: checkpoint.Checkpoint, recipe: GptRecipe | None = None) -> Self:
        """The model of what `content` gave, with its own recipe or another.

        Raises:
            CorruptCheckpointError: it hasn't got the weights that its settings describe.
        """
        tensors = copy.copy(stored.tensors)
        start = tensors.pop("start").double().numpy()
        gpt = cls.build(GptConfig(**stored.config["network"]), recipe or GptRecipe(**stored.config["recipe"]))
        try:
            gpt.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise checkpoint.CorruptCheckpointError(
                "The checkpoint doesn't hold the weights its sidecar describes."
            ) from error
        return replace(gpt, start=start, seed=stored.seed, parent=stored.parent, sha256=stored.sha256)

    def save(self, path: Path) -> str:
        """Writes the checkpoint and returns its sha256."""
        return checkpoint.save(path, self.content())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load` and `of`."""
        return cls.of(checkpoint.load_kind(path, "gpt"))

"""The transformer: what it may look at, what it learns, and samples with remembered keys and values and without."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model import checkpoint
from model.generators.gpt import PRESETS, Cache, Gpt, GptConfig, GptRecipe, Transformer, train
from model.generators.language import LanguageModel, cross_entropy, mean_l1

SMALL = GptConfig(vocabulary=5, context=8, width=32, layers=2, heads=4)
QUICK = GptRecipe(steps=250, batch_size=64, lr=3e-3, finetune_steps=20, precision="fp32", sampled_at_once=64)
CHAIN = np.array([[0.0, 0.7, 0.3, 0.0, 0.0], [0.1, 0.0, 0.2, 0.7, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5],
                  [0.9, 0.0, 0.1, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25, 0.0]])  # fmt: skip


def chain(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 9) texts of a Markov chain."""
    tokens = np.zeros((n, 9), dtype=np.int64)
    tokens[:, 0] = rng.integers(5, size=n)
    for i in range(1, 9):
        tokens[:, i] = (rng.random(n)[:, None] > CHAIN[tokens[:, i - 1]].cumsum(axis=1)).sum(axis=1).clip(max=4)
    return tokens


@pytest.fixture(scope="module")
def untrained() -> Gpt:
    torch.manual_seed(0)
    return Gpt.build(SMALL, QUICK)


@pytest.fixture(scope="module")
def trained(untrained: Gpt) -> Gpt:
    return untrained.fit(chain, None, 3)


def test_a_law_depends_on_the_tokens_before_alone(untrained: Gpt):
    rng = np.random.default_rng(1)
    tokens = torch.from_numpy(rng.integers(5, size=(3, 8)))
    other = tokens.clone()
    other[:, 5:] = (other[:, 5:] + 1) % 5
    with torch.no_grad():
        logits, changed = untrained.network(tokens), untrained.network(other)
    assert torch.equal(logits[:, :5], changed[:, :5]) and not torch.allclose(logits[:, 5], changed[:, 5])


def test_the_last_layer_is_the_embedding_and_matrices_alone_decay():
    network = Transformer(SMALL)
    names = {name for name, _ in network.named_parameters()}
    assert "tokens.weight" in names and not any("head" in name for name in names)
    matrices = 5 * 32 + 8 * 32 + 2 * 12 * 32**2
    assert sum(weight.numel() for weight in network.parameters()) == matrices + 5 * 32


def test_probabilities_of_all_texts_add_up_to_one(untrained: Gpt):
    model: LanguageModel = untrained
    every = np.array(list(itertools.product(range(5), repeat=3)))
    assert np.exp(model.log_likelihood(every).sum(axis=1)).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="longer than a context"):
        model.log_likelihood(np.zeros((1, 10), dtype=np.int64))


def test_it_learns_a_markov_chain(trained: Gpt):
    laws = trained.next_laws(np.arange(5)[:, None])
    assert mean_l1(laws, CHAIN) < 0.12
    long = trained.next_laws(np.array([[4, 3, 0, 1, 3, 0, 2, 4, 3, 0]]))  # longer than the context: its end counts
    assert np.abs(long - CHAIN[0]).sum() < 0.15
    held_out = chain(2_000, np.random.default_rng(99))
    logs = np.log(CHAIN[held_out[:, :-1], held_out[:, 1:]])
    found = -trained.log_likelihood(held_out)[:, 1:].mean()
    assert found == pytest.approx(-logs.mean(), abs=0.03)
    assert cross_entropy(trained, held_out) == pytest.approx((8 * found + np.log(5)) / 9, abs=0.02)


def test_a_training_step_is_the_plain_loops(untrained: Gpt):
    batch = chain(16, np.random.default_rng(7))
    trained, plain = Transformer(SMALL), Transformer(SMALL)
    plain.load_state_dict(trained.state_dict())
    recipe = GptRecipe(batch_size=16, weight_decay=0.0, precision="fp32", warmup_steps=0)
    train(trained, lambda n, rng: batch, recipe, 1, 1e-2, np.random.default_rng(0))
    optimiser = torch.optim.AdamW(plain.parameters(), 1e-2, betas=(0.9, 0.95), weight_decay=0.0)
    tokens = torch.from_numpy(batch)
    functional.cross_entropy(plain(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimiser.step()
    for (name, weight), expected in zip(trained.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(weight, expected, atol=1e-4), name


def test_remembered_keys_and_values_give_the_logits_of_reading_all_again(untrained: Gpt):
    tokens = torch.from_numpy(chain(4, np.random.default_rng(2))[:, :8])
    cache = Cache(SMALL, 4)
    with torch.no_grad():
        expected = untrained.network(tokens)
        parts = [untrained.network(tokens[:, :3], cache)]
        parts += [untrained.network(tokens[:, i : i + 1], cache) for i in range(3, 8)]
        assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-5)
        with pytest.raises(ValueError, match="one more at a time"):
            cache = Cache(SMALL, 4)
            for _ in range(2):
                untrained.network(tokens[:, :2], cache)


@pytest.mark.parametrize("length", [1, 8, 9, 30])
def test_samples_with_the_cache_are_those_without_beyond_the_context_too(trained: Gpt, length: int):
    seeds = np.arange(70)
    assert (trained.sample(seeds, length) == trained.sample(seeds, length, cached=False)).all()


def test_a_text_depends_on_its_own_seed_alone(trained: Gpt):
    seeds = np.arange(100, 190)
    texts = trained.sample(seeds, 20)
    assert (trained.sample(seeds[[80, 3, 41]], 20) == texts[[80, 3, 41]]).all()
    assert (trained.sample(seeds[:5], 12) == texts[:5, :12]).all()
    assert len(np.unique(texts, axis=0)) > 80
    assert trained.sample(seeds[:0], 4).shape == (0, 4)


def test_samples_follow_the_law_and_a_low_temperature_its_top(trained: Gpt):
    texts = trained.sample(np.arange(1_500), 9)
    after = texts[:, 1:][texts[:, :-1] == 0]
    assert np.bincount(after, minlength=5) / len(after) == pytest.approx(CHAIN[0], abs=0.05)
    cold = replace(trained, recipe=replace(QUICK, temperature=0.1)).sample(np.arange(200), 9)
    assert np.mean(cold[:, 1:][cold[:, :-1] == 3] == 0) > 0.99


def test_the_same_inputs_give_the_same_weights_and_a_parent_is_gone_on_from(trained: Gpt, tmp_path: Path):
    quick = Gpt.build(SMALL, GptRecipe(steps=5, finetune_steps=5, batch_size=8, precision="fp32"))
    first, again, other = (quick.fit(chain, None, seed) for seed in (1, 1, 2))
    state = [model.network.state_dict() for model in (first, again, other)]
    assert all(torch.equal(state[0][name], state[1][name]) for name in state[0])
    assert not torch.equal(state[0]["tokens.weight"], state[2]["tokens.weight"])
    sha256 = trained.save(tmp_path / "parent.safetensors")
    parent = Gpt.load(tmp_path / "parent.safetensors")
    assert parent.sha256 == sha256 and (parent.sample(np.arange(9), 20) == trained.sample(np.arange(9), 20)).all()
    child = parent.fit(chain, parent, 4)
    assert child.parent == sha256 and child.sha256 is None
    assert mean_l1(child.next_laws(np.arange(5)[:, None]), CHAIN) < 0.2


def test_a_checkpoint_of_something_else_or_with_other_weights_is_refused(trained: Gpt, tmp_path: Path):
    path = tmp_path / "other.safetensors"
    checkpoint.save(path, checkpoint.Checkpoint("flow", {}, {}, 0))
    with pytest.raises(checkpoint.MissingCheckpointError, match="holds a flow"):
        Gpt.load(path)
    config = {"network": {"vocabulary": 5, "context": 4}, "recipe": {}}
    tensors = {**trained.network.state_dict(), "start": torch.ones(5) / 5}
    checkpoint.save(path, checkpoint.Checkpoint("gpt", tensors, config, 0))
    with pytest.raises(checkpoint.CorruptCheckpointError, match="sidecar"):
        Gpt.load(path)


def test_presets_are_sizes_that_can_be_built():
    for sizes, _recipe in PRESETS.values():
        config = GptConfig(65, **sizes)
        assert config.width % config.heads == 0
    parameters = sum(weight.numel() for weight in Transformer(GptConfig(65, **PRESETS["seddik"][0])).parameters())
    assert parameters == 8 * 12 * 256**2 + (65 + 128) * 256 + (2 * 8 + 1) * 256  # 6.3 million
    with pytest.raises(ValueError, match="heads"):
        GptConfig(5, width=30, heads=4)

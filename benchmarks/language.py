"""The transformer of gpt.py: a training step against the plain loop, and sampling with its cache against without.

    python benchmarks/language.py [--preset small] [--steps 40] [--turns 5]

The plain loop is what one writes by hand around the same module: draw, forward, backward, clip, step, in one thread of
control. Both take turns, so that what else the machine does hits both alike; ratios are of the turns' medians.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

from machine import commit, machine

from curate_app.console import is_debug, run
from curate_app.processes import use_threads


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--steps", type=int, default=40, help="of training, a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--texts", type=int, default=64, help="sampled a turn, each as long as the context")
    options = parser.parse_args()
    use_threads(beside_app=False)
    import numpy as np
    import torch
    from torch.nn import functional

    from data.text import Characters, load_corpus, windows
    from model.compute import autocast, device
    from model.generators.gpt import PRESETS, Gpt, GptConfig, Transformer, train
    from model.training import learning_rate

    corpus = load_corpus()
    vocabulary = Characters.of(corpus)
    tokens = vocabulary.encode(corpus.train)
    sizes, recipe = PRESETS[options.preset]
    config, steps = GptConfig(len(vocabulary), **sizes), options.steps

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return windows(tokens, config.context + 1, n, rng)

    def own(network: Transformer) -> None:
        train(network, draw, recipe, steps, recipe.lr, np.random.default_rng(0))

    def plain(network: Transformer) -> None:
        rng = np.random.default_rng(0)
        optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.lr, betas=(0.9, 0.95), weight_decay=0.1)
        network.train()
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * learning_rate(step, steps, recipe.warmup_steps)
            batch = torch.from_numpy(draw(recipe.batch_size, rng)).to(device())
            with autocast(recipe.precision):
                logits = network(batch[:, :-1])
                loss = functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
            optimiser.step()

    network = Transformer(config).to(device())
    plain(network)  # warms up
    trained = compare({"curate": lambda: own(network), "plain loop": lambda: plain(network)}, options.turns)
    gpt, seeds = Gpt.build(config, recipe), np.arange(options.texts)
    sampled = compare(
        {
            "with the cache": lambda: gpt.sample(seeds, config.context),
            "without": lambda: gpt.sample(seeds, config.context, cached=False),
        },
        options.turns,
    )
    print(f"{machine()}{commit()}; {options.preset}: {sum(w.numel() for w in network.parameters()):,} parameters")
    for title, seconds, per in (
        (f"a training step of {recipe.batch_size} windows of {config.context}", trained, steps),
        (f"{options.texts} texts of {config.context} characters", sampled, 1),
    ):
        (first, a), (second, b) = seconds.items()
        print(f"{title}: {first} {1e3 * a / per:.1f} ms, {second} {1e3 * b / per:.1f} ms, ratio {b / a:.2f}")


def compare(ways: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median seconds of each way, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: median(some) for name, some in seconds.items()}


if __name__ == "__main__":
    raise SystemExit(run(main, is_debug()))

"""Runs the plain way on a study's weights, noise, real images and recipe, and measures it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from loop.config import StudyConfig
from loop.study import Study
from model import checkpoint
from model.judging.classifier import Classifier
from model.sampling import noise
from versus import plain_way
from versus.clock import Clock, Pace, peak_memory
from versus.floor import count_flops, matmul_rates

BATCHES = {"cpu": 64, "cuda": 1_024}
"""Images that dopri5 integrates together: torchcfm's own number on a GPU, on a CPU one that its caches hold."""


def run(folder: Path, out: Path, seeds: Path) -> dict[str, Any]:
    """Takes the study's generation 0 to a generation 1 the plain way, with folders of PNGs under `out`.

    Args:
        folder: the study, which stays as it is.
        out: where the images go.
        seeds: folder of the seeds that our way drew its samples from; the noise is theirs.

    Returns:
        What was measured.
    """
    torch.manual_seed(0)
    study, clock, pace = Study.open(folder), Clock(), Pace()
    config, device = study.config, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier.load(study.classifier_path)
    parent = _network(study.checkpoint_path(0)).to(device)
    real_features = np.load(folder / "real-features.npy")
    x0 = {name: noise(np.load(seeds / f"{name}-seeds.npy"), classifier.shape) for name in ("parent", "child")}
    study.store.close()

    def judge(images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        judged = classifier.judge(images)
        return judged.probs, judged.features

    batch = BATCHES[device.type]
    with clock("once"), torch.no_grad():
        parent(torch.zeros((), device=device), x0["parent"][:batch].to(device))
    with clock("sample"):
        images, evaluations = plain_way.sample(parent, x0["parent"], batch, device)
    with clock("pick and store"):
        plain_way.save_pngs(images, out / "samples")
    with clock("score"):
        probs, _ = plain_way.score(out / "samples", judge)
    with clock("pick and store"):
        assert isinstance(config.reward.target, int)
        rewards = config.reward.gamma * probs[:, config.reward.target]
        picked = plain_way.pick(rewards, int(config.curation.k), np.random.default_rng(0))
        plain_way.copy_picked(out / "samples", picked, out / "picked")
    with clock("fine-tune"):
        child = plain_way.fine_tune(
            parent,
            _real(config),
            out / "picked",
            _shares(config),
            side=classifier.shape[-1],
            **_recipe(config),
            device=device,
            on_step=pace.mark,
        )
    with clock("evaluate"):
        evaluated, _ = plain_way.sample(child, x0["child"], batch, device)
        plain_way.save_pngs(evaluated, out / "evaluated")
        _, features = plain_way.score(out / "evaluated", judge)
        plain_way.frechet_distance(real_features, features)
    memory = peak_memory()
    for name, drawn in (("parent", images), ("child", evaluated)):
        np.save(out / f"{name}.npy", drawn.permute(0, 2, 3, 1).numpy())
    return {
        "seconds": dict(clock.seconds),
        "step_s": pace.seconds(),
        "evaluations": evaluations,
        "memory": memory,
        "matmul": matmul_rates(device),
        "threads": torch.get_num_threads(),
        "workers": plain_way.WORKERS,
        "batch": batch,
        "flops": count_flops(parent, judge, classifier.shape[-1], device),
    }


def _network(path: Path) -> torch.nn.Module:
    saved = checkpoint.load(path)
    table, side = saved.config["network"], saved.config["shape"][-1]
    network = plain_way.build_unet(side, table["width"], table["depth"], table["dropout"])
    network.load_state_dict(saved.tensors)
    return network


def _real(config: StudyConfig) -> Path:
    """The study's real images as class folders of files."""
    return Path(config.data.path) / "train"


def _shares(config: StudyConfig) -> tuple[float, float]:
    lam = config.mix.lam
    return 1 / (1 + lam), lam / (1 + lam)


def _recipe(config: StudyConfig) -> dict[str, Any]:
    train = config.train
    return {
        "steps": train.finetune_steps,
        "batch": train.batch_size,
        "lr": train.finetune_lr,
        "warmup": min(train.warmup_steps, train.finetune_steps // 10),
        "grad_clip": train.grad_clip,
        "ema_decay": train.ema_decay,
    }

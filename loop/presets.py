"""Names for settings: presets of `curate new` and `curate simulate`, and generators that others have published."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.downloads import DownloadError, OnBytes, default_cache, fetch, sha256_of
from model.config import NetworkConfig

# Many cheap steps of a narrow network carry curation over, and a high rate sharpens; docs/transmission.md.
POINT_NETWORK = {"width": 128}
POINTS = {"pretrain_steps": 2_500, "pretrain_lr": 4e-3, "finetune_steps": 1_200, "finetune_lr": 2e-3, "pair_size": 64}
# The usual one for VGG on CIFAR-10, with cutout; docs/cifar10.md has what it reaches.
VGG_RECIPE = {
    "batch_size": 128,
    "optimiser": "sgd",
    "lr": 0.1,
    "weight_decay": 5e-4,
    "label_smoothing": 0.1,
    "shift": 4,
    "flip": True,
    "cutout": 8,
    "mirror": True,
    "precision": "auto",
}
FOLDER_LARGE: dict[str, Any] = {
    "data": {"dataset": "folder"},
    "network": {"kind": "unet", "width": 64, "depth": 1, "dropout": 0.1},
    "train": {"pretrain_steps": 50_000, "pretrain_lr": 2e-4, "finetune_steps": 1_000, "finetune_lr": 1e-4,
              "batch_size": 64, "warmup_steps": 500, "ema_decay": 0.9995, "flip": True},
    "sampling": {"batch_size": 256},
    "reward": {"kind": "confidence", "gamma": 5.0},
    "classifier": {"width": 32, "shift": 2, "flip": True},
    "curation": {"k": 4, "extend": "proxy"},
}  # fmt: skip
FOLDER = "folder"  # stands for folder-small on a CPU, and for folder-large otherwise
PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"dataset": "digits"},
        "network": {"kind": "digits", "width": 256, "depth": 4},
        "train": {"pretrain_steps": 13_000, "pretrain_lr": 2e-3, "finetune_steps": 200, "finetune_lr": 1e-3,
                  "batch_size": 256, "pair_size": 256, "warmup_steps": 200, "augment": 0.7},
        "reward": {"kind": "confidence", "gamma": 5.0},
        "classifier": {"width": 16, "shift": 1, "epochs": 40, "lr": 5e-3},
        "sampling": {"steps": 6, "batch_size": 256},
        "curation": {"k": 4, "extend": "proxy"},
        "mix": {"lam": 1.0},
    },
    # the demo: a flower is sixteen coordinates, which a picture is painted from
    "flowers": {
        "data": {"dataset": "flowers"},
        "network": {"kind": "mlp", "width": 256, "depth": 4},
        "train": {"pretrain_steps": 4_000, "pretrain_lr": 2e-3, "finetune_steps": 200, "finetune_lr": 1e-3,
                  "batch_size": 256, "pair_size": 64, "warmup_steps": 50},
        "sampling": {"steps": 12, "batch_size": 128},  # every batch is filled up, and slates are drawn a few at a time
        "reward": {"kind": "factors", "gamma": 3.0, "weights": ["hue@0.62=1"]},
        "curation": {"k": 4, "extend": "proxy", "picks": 1_000},
        "mix": {"lam": 3.0},
        "schedule": {"picks": 12},
        "pool": {"size": 24, "audit": 8},
        "evaluation": {"samples": 2_000},
    },
    # Ferbach et al. 2024: 5,000 real points, 10,000 samples curated pairwise to 5,000
    "moons": {
        "generations": 5,
        "data": {"dataset": "moons", "n": 5_000, "noise": 0.1},
        "network": POINT_NETWORK,
        "train": POINTS,
        "reward": {"kind": "ball", "gamma": 10.0, "center": [2.0, 0.5], "r_min": 1.0},
        "curation": {"k": 2, "picks": 5_000},
        "mix": {"lam": float("inf")},
        "evaluation": {"samples": 20_000},
    },
    "gaussians": {
        "generations": 8,
        "data": {"dataset": "gaussians", "n": 5_000},
        "network": POINT_NETWORK,
        "train": POINTS,
        "reward": {"kind": "ball", "gamma": 10.0, "center": [4.0, 0.0], "r_min": 1.0},
        "curation": {"k": 2, "picks": 5_000},
        "mix": {"lam": float("inf")},
        "evaluation": {"samples": 20_000},
    },
    # Ferbach et al. 2024: gamma q_0 (airplane) with gamma = 5, lam = 1/2
    "cifar10": {
        "generations": 20,
        "data": {"dataset": "cifar10"},
        "network": {"kind": "unet", "width": 128, "depth": 2, "dropout": 0.1},
        "train": {"pretrain_steps": 400_000, "pretrain_lr": 2e-4, "finetune_steps": 5_000, "finetune_lr": 1e-4,
                  "batch_size": 128, "warmup_steps": 500, "ema_decay": 0.9999, "flip": True},
        "sampling": {"steps": 8, "batch_size": 256},
        "reward": {"kind": "class_prob", "gamma": 5.0, "target": 0},
        "classifier": {"width": 64, "epochs": 24, "restart_epochs": 25, "restart_lr": 0.05, "jitter": 1, **VGG_RECIPE},
        "judge": {"width": 32, "epochs": 24, **VGG_RECIPE, "enabled": True},
        "curation": {"k": 2},
        "mix": {"lam": 0.5},
        "evaluation": {"samples": 10_000},
    },
    # what a CPU finishes in about 24 minutes, from nothing: images of 16 x 16 and a UNet of 1.5 M parameters
    "cifar10-small": {
        "generations": 5,
        "data": {"dataset": "cifar10", "size": 16},
        "network": {"kind": "unet", "width": 32, "depth": 1},
        "train": {"pretrain_steps": 2_000, "pretrain_lr": 1e-3, "finetune_steps": 350, "finetune_lr": 7e-4,
                  "batch_size": 64, "pair_size": 64, "warmup_steps": 100, "ema_decay": 0.999, "flip": True},
        "sampling": {"steps": 4, "batch_size": 128},
        "reward": {"kind": "class_prob", "gamma": 5.0, "target": 0},
        "classifier": {"width": 32, "epochs": 7, **VGG_RECIPE, "shift": 2, "cutout": 0},
        "judge": {"width": 24, "epochs": 7, **VGG_RECIPE, "shift": 2, "cutout": 0, "enabled": True},
        "curation": {"k": 2, "picks": 1_500},
        "mix": {"lam": float("inf")},
        "evaluation": {"samples": 1_000},
    },
    FOLDER: FOLDER_LARGE,
    # what a CPU does in about ten minutes: images as 16 x 16 squares of 2 x 2 pixels, and a UNet of 1.5 M parameters
    "folder-small": {
        "data": {"dataset": "folder"},
        "network": {"kind": "unet", "width": 32, "depth": 1, "patch": 2},
        "train": {"pretrain_steps": 3_200, "pretrain_lr": 1e-3, "finetune_steps": 150, "finetune_lr": 5e-4,
                  "batch_size": 32, "pair_size": 32, "warmup_steps": 100, "ema_decay": 0.998, "flip": True},
        "sampling": {"steps": 6, "batch_size": 128},
        "reward": {"kind": "confidence", "gamma": 5.0},
        "classifier": {"width": 32, "epochs": 15, "shift": 2, "flip": True, "precision": "auto"},
        "curation": {"k": 4, "extend": "proxy", "picks": 500},
        "pool": {"size": 48, "audit": 16},
        "evaluation": {"samples": 1_000},
    },
    "folder-large": FOLDER_LARGE,
    # a pipeline of diffusers, trained on picks alone; the rate is that of diffusers' LoRA scripts
    "diffusers": {
        "data": {"dataset": "folder"},
        "network": {"kind": "diffusers"},
        "train": {"finetune_steps": 200, "finetune_lr": 1e-4, "batch_size": 8, "warmup_steps": 20, "ema_decay": 0.0},
        "sampling": {"steps": 30, "batch_size": 8},
        "reward": {"kind": "confidence", "gamma": 5.0},
        "classifier": {"width": 32, "shift": 2, "flip": True},
        "curation": {"k": 4, "extend": "accumulate", "picks": 100},
        "mix": {"lam": float("inf")},
        "pool": {"size": 16, "audit": 8},
        "evaluation": {"samples": 100},
    },
    # a class per slate; the reward varies within each class, so that transmission can be measured there
    "digits-classes": {
        "generations": 3,
        "data": {"dataset": "digits", "conditions": "classes"},
        "network": {"kind": "digits", "width": 192, "depth": 3},
        "train": {"pretrain_steps": 1_500, "pretrain_lr": 2e-3, "finetune_steps": 250, "finetune_lr": 1e-3,
                  "batch_size": 128, "pair_size": 128, "warmup_steps": 100},
        "reward": {"kind": "ink", "gamma": 30.0},
        "classifier": {"width": 16, "shift": 1, "epochs": 40, "lr": 5e-3},  # as digits, which ships with one
        "sampling": {"steps": 6, "batch_size": 256},
        "curation": {"k": 4, "picks": 2_000},
        "mix": {"lam": 1.0},
        "evaluation": {"samples": 4_000},
    },
    # Gerstgrasser et al. 2024, in small: retraining without choice, a fresh model each generation
    "vae-digits": {
        "generations": 5,
        "data": {"dataset": "digits"},
        "network": {"kind": "vae", "width": 16, "depth": 1, "latent": 16},
        "train": {"restart": True, "pretrain_steps": 800, "pretrain_lr": 2e-3, "batch_size": 128, "warmup_steps": 50,
                  "ema_decay": 0.99},
        "reward": {"kind": "confidence", "gamma": 5.0},
        "classifier": {"width": 16, "shift": 1, "epochs": 40, "lr": 5e-3},  # as digits, which ships with one
        "sampling": {"batch_size": 256},
        "curation": {"k": 1},
        "mix": {"policy": "replace"},
    },
    "vae-fashion": {
        "generations": 5,
        "data": {"dataset": "fashion", "n": 10_000},
        "network": {"kind": "vae", "width": 16, "depth": 1, "latent": 32},
        "train": {"restart": True, "pretrain_steps": 1_500, "pretrain_lr": 2e-3, "batch_size": 64, "warmup_steps": 100,
                  "ema_decay": 0.99},
        "reward": {"kind": "confidence", "gamma": 5.0},
        "classifier": {"width": 16, "shift": 2, "flip": True, "epochs": 8, "lr": 5e-3},
        "sampling": {"batch_size": 256},
        "curation": {"k": 1},
        "mix": {"policy": "replace"},
    },
    # texts of 64 characters by counts: the help texts that come with Python, and users who like long words
    "text": {
        "generations": 5,
        "data": {"dataset": "text", "n": 4_000},
        "network": {"kind": "ngram", "order": 5},
        "train": {"restart": True},
        "reward": {"kind": "word_length", "gamma": 0.5, "length": 8.0},
        "curation": {"k": 4, "picks": 2_000},
        "mix": {"lam": float("inf")},
        "pool": {"size": 48, "audit": 16},
    },
    # Seddik et al. 2024, in small: a transformer on tiny Shakespeare by characters, without choice
    "shakespeare-small": {
        "generations": 5,
        "data": {"dataset": "text", "path": "tiny-shakespeare", "characters": 300_000},
        "network": {"kind": "gpt", "width": 128, "depth": 3, "heads": 4},
        "train": {"restart": True, "pretrain_steps": 500, "pretrain_lr": 2e-3, "batch_size": 24, "warmup_steps": 50,
                  "weight_decay": 0.1},
        "sampling": {"batch_size": 256},
        "reward": {"kind": "likelihood", "gamma": 1.0},
        "curation": {"k": 1},
        "mix": {"policy": "replace"},
        "evaluation": {"samples": 1_000},
    },
    # Seddik et al. 2024, appendix C: 6.3 M parameters, for a GPU; N is unconfirmed
    "shakespeare": {
        "generations": 10,
        "data": {"dataset": "text", "path": "tiny-shakespeare", "length": 129, "n": 7_500},  # of 7,781
        "network": {"kind": "gpt", "width": 256, "depth": 8, "heads": 4, "context": 128, "dropout": 0.2},
        "train": {"restart": True, "pretrain_steps": 2_000, "pretrain_lr": 1e-3, "batch_size": 256, "warmup_steps": 100,
                  "weight_decay": 0.1},
        "sampling": {"batch_size": 1_024},
        "reward": {"kind": "likelihood", "gamma": 1.0},
        "curation": {"k": 1},
        "mix": {"policy": "replace", "origin": "generation"},
        "evaluation": {"samples": 2_000},
    },
    # Gerstgrasser et al. 2024's GPT-2 of 9 M parameters (8.5 M here), for a GPU; steps and N are unconfirmed
    "tinystories": {
        "generations": 9,
        "data": {"dataset": "text", "path": "tinystories", "characters": 50_000_000, "tokenizer": "bpe",
                 "vocabulary": 8_192, "length": 256, "n": 40_000},
        "network": {"kind": "gpt", "width": 256, "depth": 8, "heads": 8},
        "train": {"restart": True, "pretrain_steps": 5_000, "pretrain_lr": 5e-4, "batch_size": 64, "warmup_steps": 500,
                  "weight_decay": 0.1},
        "sampling": {"batch_size": 1_024},
        "reward": {"kind": "word_length", "gamma": 0.5, "length": 8.0},  # an n-gram model of byte pairs is slow
        "curation": {"k": 1},
        "mix": {"policy": "replace"},
        "evaluation": {"samples": 2_000},
    },
}  # fmt: skip
# torchcfm's OT-CFM after 400,000 steps on CIFAR-10; its project publishes no checksum: see data.downloads
PUBLISHED = {
    "torchcfm-otcfm": "https://github.com/atong01/conditional-flow-matching/releases/download/1.0.4/"
    "otcfm_cifar10_weights_step_400000.pt"
}


@dataclass(frozen=True, slots=True)
class Located:
    """A file of weights.

    Attributes:
        path: where it lies.
        source: where it came from: its path or URL.
        sha256: of its bytes.
    """

    path: Path
    source: str
    sha256: str


def locate(network: NetworkConfig, on_bytes: OnBytes | None = None, cache: Path | None = None) -> Located:
    """The file that `network.file` names; a published one is downloaded once.

    Args:
        network: the [network] table.
        on_bytes: called with the progress of a download.
        cache: where downloads go; the user's cache folder by default.

    Raises:
        ValueError: no such file or name, or its SHA-256 isn't `network.file_sha256`.
        DownloadError: the download failed, or isn't the file that it was.
    """
    url = PUBLISHED.get(network.file)
    if url:
        path = (cache or default_cache()) / url.rsplit("/", 1)[-1]
        return Located(path, url, fetch(url, path, network.file_sha256, on_bytes))
    path = Path(network.file)
    if not path.is_file():
        raise ValueError(f"There is no generator at '{network.file}': name a file, or {' or '.join(PUBLISHED)}.")
    sha256 = sha256_of(path)
    if network.file_sha256 and sha256 != network.file_sha256.lower():
        raise DownloadError(f"{path} has the SHA-256 {sha256}, and network.file_sha256 is {network.file_sha256}.")
    return Located(path, str(path), sha256)

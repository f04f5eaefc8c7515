"""A small DDPM of handwritten digits, trained by diffusers alone, for those who have no pipeline of their own.

    python examples/diffusers_digits.py my-ddpm

A few minutes on two cores. It goes as diffusers' train_unconditional.py does, without its options;
docs/howto-diffusers.md goes on from the folder that it writes.
"""

import argparse

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from sklearn.datasets import load_digits


def train(folder: str, steps: int, classes: int | None = None) -> None:
    """Trains a pipeline on the 1,797 digits of scikit-learn and saves it; under their classes, or none."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    labels = torch.tensor(digits.target)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        num_class_embeds=classes,
    )
    scheduler = DDPMScheduler(num_train_timesteps=1_000, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    lr_scheduler = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    rng = np.random.default_rng(0)
    for step in range(1, steps + 1):
        rows = torch.from_numpy(rng.integers(len(images), size=64))
        noise = torch.randn(images[rows].shape)
        timesteps = torch.randint(1_000, (len(rows),))
        noisy = scheduler.add_noise(images[rows], noise, timesteps)
        given = labels[rows] if classes else None
        loss = torch.nn.functional.mse_loss(unet(noisy, timesteps, given).sample, noise)
        loss.backward()
        optimizer.step()
        lr_scheduler.step()
        optimizer.zero_grad()
        if step % 200 == 0:
            print(f"step {step} of {steps}: loss {loss:.3f}", flush=True)
    DDPMPipeline(unet, scheduler).save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--classes", action="store_true", help="class-conditional")
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps, 10 if arguments.classes else None)

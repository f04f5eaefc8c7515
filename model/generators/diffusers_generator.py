"""A pipeline that diffusers saved as the generator: generation 0 as it is, later ones with LoRA or all weights trained.

Pixels (DDPM, DDIM), classes (DiT, or a UNet2DModel with class embeddings) and prompts (Stable Diffusion, SDXL, Flux).
The pipeline lies in a folder or on the Hub, and only once in memory: a generation is what training changed of it, the
LoRA adapter or the denoiser's weights, with the SHA-256 of the base that this goes with. diffusers is imported late.

Source: the loss, Ho et al. 2020 (arXiv 2006.11239), of Flux Lipman et al. 2022 (arXiv 2210.02747); DPO, Wallace et al.
2023 (arXiv 2311.12908); LoRA, Hu et al. 2021 (arXiv 2106.09685); guidance, Ho and Salimans 2022 (arXiv
2207.12598). Settings are named as in diffusers' scripts.
"""

import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import nn

from model import checkpoint
from model.compute import autocast, device, precision_of, uses_bf16
from model.config import LearnerConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.interfaces import Conditions, OnStep, TrainingData
from model.preferences import Preferences, exchanged, slates_of
from model.sampling import Velocity
from model.training import NonFiniteLossError, ahead, ema_decay, is_reported, learning_rate, mirrored

PIPELINES = {
    "DDPMPipeline": "pixels",
    "DDIMPipeline": "pixels",
    "DiTPipeline": "classes",
    "StableDiffusionPipeline": "prompts",
    "StableDiffusionXLPipeline": "prompts",
    "FluxPipeline": "prompts",
}
DENOISERS = ("unet", "transformer")
ATTENTION = ["to_k", "to_q", "to_v", "to_out.0"]  # what diffusers' scripts adapt
TEXT_RANK = 4  # diffusers' train_text_to_image_lora.py
LABEL_DROPOUT = 0.1  # of training batches: the class that stands for none, which guidance needs
EARLIEST = 1e-3  # t of the linear path, at the least: a schedule may end in nothing but noise
BASE_SHA256 = "base_sha256"  # the one tensor of a generation 0, so that its checkpoint is of this base alone
USED = frozenset({".json", ".safetensors", ".txt", ".model"})
HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")


@dataclass(eq=False)
class Base:
    """A saved pipeline in memory, whose denoiser holds the weights of the generation that was used last.

    Attributes:
        file: the folder, or the Hub's name for it.
        sha256: of all files that samples depend on.
        pipeline: diffusers' own.
        kind: pixels, classes or prompts.
        rank: of the LoRA adapter; 0 where all weights are trained.
        start: the weights that training changes, on the CPU, as they are in the base.
        current: those that are in the denoiser; None while that isn't known.
    """

    file: str
    sha256: str
    pipeline: Any
    kind: str
    rank: int
    start: dict[str, torch.Tensor]
    current: dict[str, torch.Tensor] | None = None

    @property
    def part(self) -> str:
        """The denoiser's name in the pipeline."""
        return next(part for part in DENOISERS if hasattr(self.pipeline, part))

    @property
    def network(self) -> Any:
        """The denoiser."""
        return getattr(self.pipeline, self.part)

    @property
    def classes(self) -> int:
        """The number of classes that samples are drawn under; 0 for none."""
        config = self.network.config
        if self.kind == "classes":
            return config.num_embeds_ada_norm
        if self.kind == "pixels" and self.network.class_embedding is not None:
            return config.num_class_embeds or 0
        return 0

    @property
    def is_flux(self) -> bool:
        """True for a rectified flow in a transformer, whose latents are packed: squares of four are one token."""
        return self.kind == "prompts" and self.part == "transformer"

    @property
    def latent_factor(self) -> int:
        """Pixels of an image to a side of a latent's."""
        return 1 if self.kind == "pixels" else 2 ** (len(self.pipeline.vae.config.block_out_channels) - 1)

    @property
    def guidance(self) -> float:
        """The guidance scale that diffusers has for such a pipeline; 1 for none."""
        if self.is_flux and not self.network.config.guidance_embeds:
            return 1.0
        parameter = inspect.signature(type(self.pipeline).__call__).parameters.get("guidance_scale")
        return float(parameter.default) if parameter else 1.0

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights that training changes, as they lie in the denoiser, by the names that they have on disk.

        A LoRA adapter's are those that `load_lora_weights` of diffusers reads, all others those of the state dict.
        """
        if not self.rank:
            return dict(self.network.state_dict(keep_vars=True))
        return {
            f"{self.part}.{name.replace('.default.', '.')}": weight
            for name, weight in self.network.named_parameters()
            if "lora_" in name
        }

    def put(self, weights: dict[str, torch.Tensor]) -> None:
        """Puts a generation's weights into the denoiser; an empty one is the base itself."""
        if weights is self.current:
            return
        there = self.weights()
        with torch.no_grad():
            for name, weight in (weights or self.start).items():
                there[name].copy_(weight)
        self.current = weights

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuses samples of a shape that the pipeline doesn't make.

        Raises:
            ValueError: the shape is another.
        """
        config, factor = self.network.config, self.latent_factor
        size = self.pipeline.default_sample_size if self.is_flux else config.sample_size
        size = size if isinstance(size, list | tuple) else [size] * 2
        channels = config.in_channels if self.kind == "pixels" else self.pipeline.vae.config.out_channels
        own, multiple = (channels, *(side * factor for side in size)), 2 * factor if self.is_flux else factor
        if self.kind == "prompts" and shape[0] == channels and not any(side % multiple for side in shape[1:]):
            return
        if shape != own:
            rule = f", or any sides that are multiples of {multiple}" if self.kind == "prompts" else ""
            raise ValueError(
                f"{self.file} makes images of {own[2]} x {own[1]} pixels with {own[0]} channels{rule}, and the study's "
                f"data are of shape {shape} (channels, height, width): set data.size, or choose other data."
            )

    def scheduler(self, name: str = "") -> Any:
        """A new scheduler with the pipeline's settings: of its own class, or of the one named.

        Raises:
            ValueError: diffusers has no such scheduler.
        """
        own = self.pipeline.scheduler
        scheduler: Any = getattr(libraries(), name, None) if name else type(own)
        fits = hasattr(scheduler, "scale_noise" if self.is_flux else "add_noise")
        if not fits or (self.is_flux and "sigmas" not in inspect.signature(scheduler.set_timesteps).parameters):
            example = "FlowMatchEulerDiscreteScheduler, for a flow" if self.is_flux else "DDIMScheduler"
            raise ValueError(f"sampling.scheduler is '{name}'; name one of diffusers', such as {example}.")
        return scheduler.from_config(own.config)

    def labels(self, names: tuple[str, ...]) -> list[int]:
        """The classes that conditions stand for: by the pipeline's own names for them, by number, or by position.

        Raises:
            ValueError: the pipeline has no such class.
        """
        known = getattr(self.pipeline, "labels", {})
        if all(name in known for name in names):
            labels = [known[name] for name in names]
        else:
            labels = [int(name) for name in names] if all(map(str.isdecimal, names)) else list(range(len(names)))
        if max(labels) >= self.classes:
            raise ValueError(f"{self.file} has {self.classes} classes, and the study's conditions are {names}.")
        return labels

    def predict(self, x: torch.Tensor, t: torch.Tensor, given: Any) -> torch.Tensor:
        """The denoiser's output, (n, *latent), under `given`: None, (n,) classes, or what it is told of prompts."""
        if self.is_flux:
            (n, _, height, width), own = x.shape, self.pipeline
            places = own._prepare_latent_image_ids(n, height // 2, width // 2, x.device, x.dtype)
            packed = own._pack_latents(x, *x.shape)
            output = self.network(packed, timestep=t / 1000, img_ids=places, **given, return_dict=False)[0]
            return own._unpack_latents(output, height, width, 1)
        if self.kind == "prompts":
            return self.network(x, t, **given, return_dict=False)[0]
        classes = {} if given is None else {"class_labels": given}
        return self.network(x, t, **classes, return_dict=False)[0][:, : x.shape[1]]  # without DiT's variances

    def encode(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(n, *latent) float32 of (n, *shape) images: a draw of the posterior, without a generator its mean."""
        if self.kind == "pixels":
            return x
        vae = self.pipeline.vae
        with torch.no_grad():
            posterior = vae.encode(x.to(vae.dtype)).latent_dist
        latents = posterior.mean
        if generator is not None:
            spread = torch.randn(latents.shape, generator=generator).to(device())
            latents = latents + posterior.std * spread
        return (latents.float() - (vae.config.get("shift_factor") or 0.0)) * vae.config.scaling_factor

    def as_flow(self, schedule: Any, known: Callable[[torch.Tensor | None], Any]) -> tuple[Velocity, float]:
        """The denoiser as the velocity field of the straight path from noise e to data x, and its earliest t.

        The schedule's state `a x + s e` is that of the straight path, `t x + (1 - t) e`, but for its scale, at the same
        ratio of signal to noise, `a / s = t / (1 - t)`. The number of the step is interpolated between two steps.

        Args:
            schedule: of the noise, and what is predicted: it, the image, or the velocity.
            known: the `given` of `predict`, by (n,) conditions.
        """
        if self.is_flux:
            return lambda t, x, *y: -self.predict(x, 1000 * (1 - t), known(*y)).float(), 0.0
        signal = schedule.alphas_cumprod.double().sqrt()
        times = (signal / (signal + (1 - signal**2).sqrt())).flip(0).numpy()
        steps, kind = np.arange(len(times), dtype=np.float64)[::-1], schedule.config.prediction_type

        def velocity(t: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
            norm = (t**2 + (1 - t) ** 2).sqrt()
            a, s, norm = (value.view(-1, *[1] * (x.ndim - 1)) for value in (t / norm, (1 - t) / norm, norm))
            state = x / norm
            step = torch.from_numpy(np.interp(t.cpu().numpy(), times, steps)).to(state)
            output = self.predict(state, step, known(y)).float()
            if kind == "epsilon":
                return (state - s * output) / a - output
            if kind == "sample":
                return output - (state - a * output) / s
            return (a - s) * state - (a + s) * output

        return velocity, max(EARLIEST, float(times[0]))


def libraries() -> Any:
    """The module `diffusers`, once all that its pipelines need is there.

    Raises:
        ValueError: it isn't installed.
    """
    try:
        for name in ("peft", "transformers"):
            importlib.import_module(name)
        return importlib.import_module("diffusers")
    except ImportError as error:
        raise ValueError(
            "network.kind 'diffusers' needs diffusers, peft and transformers: pip install 'curate[diffusers]'"
        ) from error


def open_base(network: NetworkConfig) -> Base:
    """The pipeline that `network.file` names; it is read once in a process, as long as its files stay as they are.

    Raises:
        ValueError: there is none, it is of a kind that isn't supported or damaged, or its SHA-256 isn't
            `network.file_sha256`.
    """
    folder = locate(network.file)
    try:
        index = json.loads((folder / "model_index.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / 'model_index.json'} can't be read ({error}): save the pipeline again.") from error
    kind = PIPELINES.get(index["_class_name"])
    if kind is None:
        raise ValueError(f"{network.file} is a {index['_class_name']}; supported are {', '.join(PIPELINES)}.")
    rank = (TEXT_RANK if kind == "prompts" else 0) if network.rank == "auto" else network.rank
    parts = [part for part, value in index.items() if not part.startswith("_") and isinstance(value, list) and value[0]]
    files = [folder / "model_index.json"]
    files += [path for part in sorted(parts) for path in sorted((folder / part).rglob("*")) if path.suffix in USED]
    stamps = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    file = str(folder.resolve()) if Path(network.file).is_dir() else network.file
    base = read_base(file, folder, kind, rank, precision_of(network), stamps)
    if network.file_sha256 and base.sha256 != network.file_sha256.lower():
        raise ValueError(f"{network.file} has the SHA-256 {base.sha256}, and network.file_sha256 is another.")
    return base


def locate(file: str) -> Path:
    """The folder of a saved pipeline, which is downloaded if `file` is the Hub's name for it (with @revision, or not).

    Raises:
        ValueError: there is no such pipeline, or it can't be downloaded.
    """
    if not file:
        raise ValueError("network.kind 'diffusers' needs network.file: a folder with a saved pipeline, or a Hub id.")
    if (Path(file) / "model_index.json").is_file():
        return Path(file)
    name = HUB_ID.fullmatch(file)
    if Path(file).exists() or name is None:
        raise ValueError(f"There is no saved pipeline in '{file}': the folder needs a model_index.json.")
    try:
        return Path(libraries().DiffusionPipeline.download(name["name"], revision=name["revision"]))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"There is no folder '{file}', and the Hub doesn't give it either: {reason}") from error


@lru_cache(maxsize=1)
def read_base(
    file: str, folder: Path, kind: str, rank: int, precision: str, stamps: tuple[tuple[str, int, int], ...]
) -> Base:
    """The pipeline in a folder, on the device.

    Args:
        file: its name for messages and checkpoints.
        folder: where it lies.
        kind: of pipeline.
        rank: of a LoRA adapter to put in; 0 for none.
        precision: of the study's network: frozen weights are read in it.
        stamps: (path, bytes, time of change) of the files that it consists of.

    Raises:
        ValueError: it is damaged, or has no layers for an adapter.
    """
    diffusers = libraries()
    sha256 = hashlib.sha256()
    for path, _, _ in stamps:
        with Path(path).open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        sha256.update(f"{Path(path).relative_to(folder).as_posix()} {digest}\n".encode())
    for library in (diffusers, importlib.import_module("transformers")):
        library.utils.logging.disable_progress_bar()
    dtype = torch.bfloat16 if rank and uses_bf16(precision) else torch.float32
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:  # what libraries raise on damaged files
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{file} can't be read ({reason}): save it again as safetensors, by save_pretrained."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    base = Base(file, sha256.hexdigest(), pipeline, kind, rank, {})
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False).eval()
    if rank:
        peft = importlib.import_module("peft")
        adapter = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION)
        try:
            peft.inject_adapter_in_model(adapter, base.network)
        except ValueError as error:
            raise ValueError(f"{file} has no attention for LoRA to adapt: set network.rank to 0.") from error
        for weight in base.weights().values():
            weight.data = torch.zeros_like(weight, dtype=torch.float32)  # which changes nothing in the base
    pipeline.to(device())
    base.start = {name: weight.detach().cpu().clone() for name, weight in base.weights().items()}
    return base


@dataclass(frozen=True)
class DiffusersGenerator:
    """A generation: the base, and what training changed of it. Immutable: `fit` gives a new one.

    Attributes:
        shape: (channels, height, width) of a sample.
        base: the pipeline that all generations share.
        conditions: the study's; None for none.
        weights: what training changed, by name; empty for generation 0.
        seed: that trained it.
        parent: sha256 of the parent's checkpoint.
        sha256: of its own checkpoint, once saved or loaded.
    """

    shape: tuple[int, ...]
    base: Base
    network_config: NetworkConfig
    train: TrainConfig
    sampling: SamplingConfig
    conditions: Conditions | None = None
    weights: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    seed: int = 0
    parent: str | None = None
    sha256: str | None = None

    @classmethod
    def build(
        cls,
        shape: tuple[int, ...],
        network: NetworkConfig,
        train: TrainConfig,
        sampling: SamplingConfig,
        conditions: Conditions | None = None,
    ) -> Self:
        """The pipeline as it is.

        Raises:
            ValueError: there is none, or it doesn't go with the shape, the conditions or the settings of sampling.
        """
        base = open_base(network)
        base.check(shape)
        if base.kind == "prompts" and conditions is None:
            raise ValueError(f"{network.file} draws by prompts: name them in study.toml as conditions.")
        if base.classes and conditions is None:
            raise ValueError(f"{network.file} draws by class: name the study's conditions in study.toml.")
        if conditions is not None and base.kind != "prompts":
            if not base.classes:
                raise ValueError(f"{network.file} can't draw under conditions: remove the study's, or choose another.")
            base.labels(conditions.names)
        if base.guidance == 1 and sampling.guidance_scale not in ("auto", 1):
            raise ValueError(f"{network.file} works without guidance: leave out sampling.guidance_scale.")
        most = base.scheduler(sampling.scheduler).config.num_train_timesteps
        if sampling.steps > most:
            raise ValueError(f"sampling.steps is {sampling.steps}; {network.file} has {most} to choose from.")
        network = network.model_copy(update={"file": base.file})  # an absolute path: a worker may stand elsewhere
        return cls(shape, base, network, train, sampling, conditions)

    @property
    def guidance_scale(self) -> float:
        """The scale that samples are drawn with; 1 for no guidance."""
        return self.base.guidance if self.sampling.guidance_scale == "auto" else self.sampling.guidance_scale

    def sample(self, seeds: np.ndarray, conditions: np.ndarray | None = None) -> torch.Tensor:
        """(n, *shape) float32 in [-1, 1] on the CPU from (n,) int64 seeds, up to rounding whatever the batch.

        Args:
            seeds: each starts a `torch.Generator` on the CPU, as in diffusers' own reproducible pipelines.
            conditions: (n,) int64; None in a study without.
        """
        self.base.put(self.weights)
        self.base.network.eval()
        samples = torch.empty(len(seeds), *self.shape)
        for start in range(0, len(seeds), self.sampling.batch_size):
            part = slice(start, start + self.sampling.batch_size)
            generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds[part]]
            with torch.no_grad(), autocast(precision_of(self.network_config)):
                if self.conditions is None or conditions is None:
                    images = self.denoise(generators, None)
                elif self.base.kind == "prompts":
                    images = self.draw_prompts(generators, [self.conditions.names[i] for i in conditions[part]])
                else:
                    labels = np.array(self.base.labels(self.conditions.names))[conditions[part]]
                    images = self.denoise(generators, torch.from_numpy(labels).to(device()))
            samples[part] = images.float().clamp(-1, 1).cpu()
        return samples

    def draw_prompts(self, generators: list[torch.Generator], prompts: list[str]) -> torch.Tensor:
        """(n, *shape) images in [-1, 1], by the pipeline itself."""
        pipeline, (_, height, width) = self.base.pipeline, self.shape
        pipeline.scheduler = self.base.scheduler(self.sampling.scheduler)
        drawn = pipeline(
            prompts,
            height=height,
            width=width,
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.guidance_scale,
            generator=generators,
            output_type="pt",
        )
        return 2 * drawn.images - 1

    def denoise(self, generators: list[torch.Generator], labels: torch.Tensor | None) -> torch.Tensor:
        """(n, *shape) images in about [-1, 1], under (n,) classes or none, by the scheduler's steps.

        DiT's own pipeline gives its scheduler no generator, and those of pixels know no classes.
        """
        base, scheduler = self.base, self.base.scheduler(self.sampling.scheduler)
        scheduler.set_timesteps(self.sampling.steps, device=device())
        shape = (base.network.config.in_channels, *(side // base.latent_factor for side in self.shape[1:]))
        x = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(device())
        x = x * scheduler.init_noise_sigma
        takes_noise = "generator" in inspect.signature(scheduler.step).parameters
        noise = {"generator": generators} if takes_noise else {}
        scale, n = self.guidance_scale, len(x)
        for t in scheduler.timesteps:
            scaled = scheduler.scale_model_input(x, t)
            if labels is not None and scale != 1:
                both = torch.cat([labels, torch.full_like(labels, base.classes)])
                under, free = base.predict(torch.cat([scaled, scaled]), t.expand(2 * n), both).chunk(2)
                output = free + scale * (under - free)
            else:
                output = base.predict(scaled, t.expand(n), labels)
            x = scheduler.step(output.float(), t, x, **noise).prev_sample
        return x if base.kind == "pixels" else self.decode(x)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """(n, *shape) images of latents."""
        vae = self.base.pipeline.vae
        return vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]

    def fit(
        self,
        training_set: TrainingData,
        parent: Self | None,
        seed: int,
        on_step: OnStep | None = None,
        learner: LearnerConfig | None = None,
    ) -> Self:
        """A new one, by the loss that the base was trained with; from `build`, without a parent, the base as it is.

        Args:
            training_set: what to learn.
            parent: whose weights it starts from; a later generation without one starts from the base.
            seed: of everything random in it.
            on_step: called now and then with (done, total).
            learner: one that learns from whole slates; what it starts from is its reference.

        Raises:
            ValueError: the training set's samples have no conditions, and the pipeline needs them; or there are no
                slates to learn from.
            NonFiniteLossError: training diverged.
        """
        if parent is None and self.sha256 is None:
            return replace(self, seed=seed)
        base, train, steps = self.base, self.train, self.train.finetune_steps
        like = libraries().FlowMatchEulerDiscreteScheduler if base.is_flux else libraries().DDPMScheduler
        schedule = like.from_config(base.pipeline.scheduler.config)
        given = self.known(0.0 if learner else LABEL_DROPOUT)
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng([device()] if device().type == "cuda" else []):
            torch.manual_seed(seed)  # dropout
            start = parent.weights if parent else {}
            base.put(start if start or not base.rank else self.fresh(seed))
            base.current = None  # until training is over
            trained = {name: w.requires_grad_() for name, w in base.weights().items() if isinstance(w, nn.Parameter)}
            average = {name: weight.detach().clone() for name, weight in trained.items()}
            optimiser = torch.optim.AdamW(trained.values(), lr=train.finetune_lr, weight_decay=train.weight_decay)
            base.network.train()
            for part in base.network.modules():
                if hasattr(part, "token_drop"):  # each of DiT's blocks would drop other labels than its neighbour
                    part.eval()

            def batch() -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Generator]:
                drawn = training_set.draw(train.batch_size, rng)
                x = mirrored(drawn.x, rng) if train.flip else drawn.x
                t = torch.from_numpy(rng.integers(schedule.config.num_train_timesteps, size=len(x)))
                return x, drawn.conditions, t, torch.Generator().manual_seed(int(rng.integers(2**63)))

            def learn(drawn: Any) -> torch.Tensor:
                x, conditions, t, noise = drawn
                with autocast(precision):
                    loss = self.loss(x.to(device()), t.to(device()), given(conditions, noise), schedule, noise)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                return loss

            precision, upcoming = precision_of(self.network_config), ahead(batch() for _ in range(steps))
            if learner is not None:
                velocity, earliest = base.as_flow(schedule, lambda of: given(of, torch.Generator()))
                before = {name: weight.detach().clone() for name, weight in trained.items()}

                def reference(*of: torch.Tensor) -> torch.Tensor:
                    with exchanged(trained, before):
                        return velocity(*of)

                channels = self.shape[0] if base.kind == "pixels" else base.pipeline.vae.config.latent_channels
                latent = channels, *(side // base.latent_factor for side in self.shape[1:])
                slates = slates_of(training_set, learner)
                preferences = Preferences(
                    slates, reference, learner, train, earliest=earliest, latent=latent, encode=base.encode
                )
                upcoming = ahead(preferences.batches(steps, rng))

                def learn(drawn: Any) -> torch.Tensor:
                    return preferences.backward(velocity, drawn, precision, optimiser, 1)[0]

            for step, drawn in enumerate(upcoming, start=1):
                for group in optimiser.param_groups:
                    group["lr"] = train.finetune_lr * learning_rate(step - 1, steps, train.warmup_steps)
                loss = learn(drawn)
                nn.utils.clip_grad_norm_(trained.values(), train.grad_clip)
                optimiser.step()
                with torch.no_grad():
                    for name, weight in trained.items():
                        average[name].lerp_(weight, 1 - ema_decay(step, train.ema_decay))
                if is_reported(step, steps):
                    if not torch.isfinite(loss):
                        raise NonFiniteLossError(f"The loss is {loss:g} at step {step}; lower train.finetune_lr.")
                    if on_step:
                        on_step(step, steps)
        weights = {name: average[name].cpu() if name in average else value for name, value in base.start.items()}
        return replace(self, weights=weights, seed=seed, parent=parent and parent.sha256, sha256=None)

    def fresh(self, seed: int) -> dict[str, torch.Tensor]:
        """An adapter that has learned nothing yet, which leaves the base as it is."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: torch.randn(zeros.shape, generator=generator) / self.base.rank if ".lora_A." in name else zeros
            for name, zeros in self.base.start.items()
        }

    def known(self, label_dropout: float = LABEL_DROPOUT) -> Callable[[torch.Tensor | None, torch.Generator], Any]:
        """The `given` of `Base.predict` as a function of a batch's (n,) conditions and of random numbers.

        Args:
            label_dropout: share of DiT's labels that are replaced by the one for none.
        """
        if self.conditions is None:
            return lambda _conditions, _generator: None
        base, names = self.base, self.conditions.names

        def checked(conditions: torch.Tensor | None) -> torch.Tensor:
            if conditions is None:
                raise ValueError("The training set's samples have no conditions, and the study's generator needs them.")
            return conditions.to(device())

        if base.kind != "prompts":
            labels = torch.tensor(base.labels(names), device=device())

            def classes(conditions: torch.Tensor | None, generator: torch.Generator) -> torch.Tensor:
                of = labels[checked(conditions)]
                dropped = torch.rand(len(of), generator=generator).to(device()) < label_dropout
                return torch.where(dropped, base.classes, of) if base.kind == "classes" else of

            return classes
        options = {} if base.is_flux else {"do_classifier_free_guidance": False}
        with torch.no_grad(), autocast(precision_of(self.network_config)):
            embeddings, *others = base.pipeline.encode_prompt(
                prompt=list(names), device=device(), num_images_per_prompt=1, **options
            )
        _, height, width = self.shape
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=device())  # SDXL: whole images, not cut
        scale = torch.tensor([self.guidance_scale], device=device()) if base.guidance != 1 else None

        def prompts(conditions: torch.Tensor | None, _generator: torch.Generator) -> dict[str, Any]:
            of = checked(conditions)
            more = {}
            if base.is_flux:
                guidance = None if scale is None else scale.expand(len(of))
                more = {"pooled_projections": others[0][of], "txt_ids": others[1], "guidance": guidance}
            elif len(others) == 3:  # SDXL
                added = {"text_embeds": others[1][of], "time_ids": sizes.expand(len(of), -1)}
                more = {"added_cond_kwargs": added}
            return {"encoder_hidden_states": embeddings[of], **more}

        return prompts

    def loss(
        self, x: torch.Tensor, t: torch.Tensor, given: Any, schedule: Any, generator: torch.Generator
    ) -> torch.Tensor:
        """The mean squared error of a batch.

        Args:
            x: (n, *shape) images in [-1, 1].
            t: (n,) int64 steps of the noise; of a flow numbers of its times.
            given: as `Base.predict` takes it.
            schedule: of the noise, and what is predicted: it, the image, or the velocity.
            generator: of the noise, on the CPU, so that every device has the same.
        """
        latents = self.base.encode(x, generator)
        noise = torch.randn(latents.shape, generator=generator).to(device())
        if self.base.is_flux:
            sigma = schedule.sigmas.to(t.device)[t].view(-1, 1, 1, 1)
            predicted = self.base.predict(torch.lerp(latents, noise, sigma), schedule.timesteps.to(t.device)[t], given)
            return nn.functional.mse_loss(predicted.float(), noise - latents)
        predicted = self.base.predict(schedule.add_noise(latents, noise, t), t, given)
        target = {"epsilon": noise, "sample": latents}.get(schedule.config.prediction_type)
        if target is None:
            target = schedule.get_velocity(latents, noise, t)
        return nn.functional.mse_loss(predicted.float(), target)

    def save(self, path: Path) -> str:
        """Writes what training changed, and the base's name and SHA-256, and returns the checkpoint's sha256."""
        base, conditions = self.base, self.conditions
        config = {
            "shape": list(self.shape),
            "network": self.network_config.model_dump(),
            "conditions": conditions and {"names": conditions.names, "weights": conditions.weights},
            "base": {"pipeline": type(base.pipeline).__name__, "sha256": base.sha256, "rank": base.rank},
            "sampled": {"guidance_scale": self.guidance_scale, "num_inference_steps": self.sampling.steps},
        }
        untrained = {BASE_SHA256: torch.tensor(list(bytes.fromhex(base.sha256)), dtype=torch.uint8)}
        content = checkpoint.Checkpoint("diffusers", self.weights or untrained, config, self.seed, self.parent)
        return checkpoint.save(path, content)

    @classmethod
    def load(cls, path: Path, train: TrainConfig, sampling: SamplingConfig) -> Self:
        """Reads a checkpoint that `save` wrote; errors as in `model.checkpoint.load`.

        Raises:
            ValueError: the base isn't where it was, or isn't the same any more.
        """
        stored = checkpoint.load(path)
        if stored.kind != "diffusers":
            raise checkpoint.MissingCheckpointError(
                f"{path} holds a {stored.kind}, not what diffusers' generators save."
            )
        shape, network = tuple(stored.config["shape"]), NetworkConfig(**stored.config["network"])
        facts, conditions = stored.config["base"], stored.config["conditions"]
        conditions = conditions and Conditions(tuple(conditions["names"]), tuple(conditions["weights"]))
        generator = cls.build(shape, network, train, sampling, conditions)
        if generator.base.sha256 != facts["sha256"]:
            raise ValueError(
                f"{network.file} isn't the pipeline that {path} was trained from any more (its SHA-256 was "
                f"{facts['sha256']}): put that one back."
            )
        weights = {name: weight for name, weight in stored.tensors.items() if name != BASE_SHA256}
        if weights and weights.keys() != generator.base.start.keys():
            raise checkpoint.CorruptCheckpointError(f"{path} doesn't hold the weights its sidecar describes.")
        return replace(generator, weights=weights, seed=stored.seed, parent=stored.parent, sha256=stored.sha256)

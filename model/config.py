"""Settings of the generator, the classifiers and the reward. Torch-free."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, field_validator, model_validator


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions that a study asks for samples under: classes, or prompts; a condition is known by its index.

    Attributes:
        names: of the classes, or the prompts themselves.
        weights: how often each is asked for; they add up to 1.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.names)


class ComputeConfig(_Table):
    """The [compute] table: what the work is done on. It may change from one run of a study to the next."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="auto: CUDA, else Apple's mps, else the CPU; --device says otherwise for one run"
    )
    deterministic: bool = Field(default=False, description="CUDA: operations that repeat to the bit, which are slower")


COMMAND_WORDS = {"train_command": ("data", "out"), "sample_command": ("model", "seeds", "out")}  # at the least


class NetworkConfig(_Table):
    """The [network] table: the velocity field of the flow, or another generator, or one of the user's own."""

    kind: str = Field(
        default="mlp",
        description="mlp (points), digits (8x8 images), unet (torchcfm's), vae (images), kde and gaussian (points), "
        "ngram and gpt (texts), resample (the control: copies its training set), diffusers (a saved pipeline), command "
        "(two commands of yours), or your own generator as 'module:Class'",
    )
    train_command: str = Field(
        default="",
        description="command: turns {data}, a folder of images, into a model in {out}; may use {parent}, {seed}",
    )
    sample_command: str = Field(
        default="", description="command: draws an image into {out} for each line of {seeds} with the {model}"
    )
    timeout_s: float = Field(default=86_400.0, gt=0, description="command: one that takes longer is ended")
    width: int = Field(
        default=192, ge=4, description="features per layer; unet, vae: channels of the first level; gpt: of a token"
    )
    depth: int = Field(
        default=3, ge=1, description="hidden layers or residual blocks; unet, vae: blocks per level; gpt: layers"
    )
    patch: int = Field(
        default=1,
        ge=1,
        description="unet: works on squares of so many pixels a side; 2 takes under half the time",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    latent: int = Field(default=16, ge=1, description="vae: coordinates of the latent")
    beta: float = Field(default=1.0, ge=0, description="vae: weight of the latent's divergence; 1 is the bound itself")
    bandwidth: float = Field(default=0.1, ge=0, description="kde: standard deviation of the noise about each row")
    heads: int = Field(default=4, ge=1, description="gpt: of the attention; they divide the width")
    context: int = Field(default=0, ge=0, description="gpt: tokens that a law may depend on; 0: as many as an item has")
    order: int = Field(default=3, ge=1, description="ngram: a law depends on one token less than this before it")
    interpolated: bool = Field(
        default=True,
        description="ngram: laws of all lengths of context are mixed; false: the longest known one's alone",
    )
    draws: NonNegativeInt = Field(
        default=0,
        description="ngram: the exact control without choice: after each context a generation learns so many draws of "
        "its parent's law, where its set is as large as the real data (else in proportion); 0: the texts themselves",
    )
    file: str = Field(
        default="",
        description="a pretrained generator 0: a file from `curate pretrain` (.safetensors) or of torchcfm's CIFAR-10 "
        "example (.pt), or torchcfm-otcfm, its published weights; empty: pretrain one. diffusers: a folder with a "
        "saved pipeline, or a Hub id",
    )
    file_sha256: str = Field(default="", description="what the SHA-256 of that file has to be; empty: not checked")
    rank: NonNegativeInt | Literal["auto"] = Field(
        default="auto", description="diffusers: of the LoRA adapter; 0 trains all weights; auto: 4 for prompts, else 0"
    )
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="auto",
        description="unet, gpt, diffusers: auto is bf16 where the processor has it; the others work in fp32",
    )
    compile: Literal["auto", "always", "never"] = Field(
        default="auto", description="unet: torch.compile; auto compiles where the work is long enough to pay for it"
    )

    @model_validator(mode="after")
    def _whole_commands(self) -> "NetworkConfig":
        for setting, names in COMMAND_WORDS.items() if self.kind == "command" else ():
            command = getattr(self, setting)
            missing = [f"{{{name}}}" for name in names if f"{{{name}}}" not in command]
            if missing:
                raise ValueError(f"network.{setting} needs {', '.join(missing)}; it is '{command}'")
        return self


class TrainConfig(_Table):
    """The [train] table: pretraining of generation 0, and the fine-tuning of each later one from its parent."""

    pretrain_steps: int = Field(default=2_500, ge=1)
    pretrain_lr: float = Field(default=1e-3, gt=0)
    restart: bool = Field(
        default=False,
        description="each generation is pretrained from fresh weights, as generation 0 was, not fine-tuned",
    )
    finetune_steps: int = Field(default=1_000, ge=1)
    finetune_lr: float = Field(default=1e-3, gt=0)
    finetune_seed: int = Field(
        default=0, ge=0, lt=2**32, description="another number: other randomness in retraining, from one generation 0"
    )
    batch_size: int = Field(default=256, ge=2)
    pair_size: int = Field(
        default=128, ge=2, description="the batch is optimally paired with noise in groups of this size"
    )
    warmup_steps: int = Field(
        default=50, ge=0, description="the learning rate rises over these, then falls as a cosine to 0"
    )
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="reached gradually: min(ema_decay, (1 + step) / (10 + step))"
    )
    weight_decay: float = Field(default=0.0, ge=0)
    grad_clip: float = Field(default=1.0, gt=0)
    augment: float = Field(
        default=0.0, ge=0, le=1, description="pretraining: share of real images turned, scaled and shifted a little"
    )
    flip: bool = Field(default=False, description="images: each is mirrored half the time, in all training")


class SamplingConfig(_Table):
    """The [sampling] table: the fixed-step solver that turns noise into samples."""

    solver: Literal["euler", "midpoint", "heun", "rk4", "ab2"] = Field(
        default="midpoint", description="midpoint and heun evaluate the network twice a step, rk4 four times"
    )
    steps: int = Field(default=12, ge=1, description="from t = 0 to 1")
    grid: Literal["uniform", "late", "early"] = Field(
        default="uniform", description="where the steps end: shorter ones late, at the data, or early, at the noise"
    )
    batch_size: int = Field(default=1_024, ge=1)
    temperature: float = Field(
        default=1.0, gt=0, description="texts: laws are raised to its inverse; low ones leave the likeliest token alone"
    )
    scheduler: str = Field(
        default="", description="diffusers: one of its schedulers, such as DDIMScheduler; empty: the pipeline's own"
    )
    guidance_scale: float | Literal["auto"] = Field(
        default="auto", description="diffusers: of classes or prompts; 1: none; auto: the pipeline's own"
    )

    @field_validator("guidance_scale")
    @classmethod
    def _from_one(cls, scale: float | str) -> float | str:
        if not isinstance(scale, str) and scale < 1:
            raise ValueError("guidance_scale must be 1 (none) or more, or auto")
        return scale


LearnerKind = Literal["curate", "reward_weighted", "best_of_k", "dpo", "luce_dpo"]
REWARD_LEARNERS: tuple[LearnerKind, ...] = ("reward_weighted", "best_of_k")  # that weigh samples by rewards
PREFERENCE_LEARNERS: tuple[LearnerKind, ...] = ("dpo", "luce_dpo")  # that learn from whole slates


class LearnerConfig(_Table):
    """The [learner] table: how a round's slates become the next generator. docs/learners.md compares them."""

    kind: LearnerKind = Field(
        default="curate",
        description="curate (trains on what was picked: Algorithm 1), reward_weighted (on all samples, by exp(tau r)), "
        "best_of_k (on the best of each slate), dpo (picked against one other), luce_dpo (picked against all others)",
    )
    tau: float = Field(default=1.0, gt=0, description="reward_weighted: how sharply rewards count; 1 is K = infinity")
    beta: float = Field(
        default=1.0, gt=0, description="dpo, luce_dpo: aim at the parent's law times exp(r / beta); small ones go far"
    )
    draws: int = Field(
        default=8, ge=2, description="dpo, luce_dpo: pairs of time and noise behind each estimate of a log-likelihood"
    )
    reference_steps: NonNegativeInt | Literal["auto"] = Field(
        default="auto",
        description="dpo, luce_dpo of flows: steps that first fit the reference to independent pairs of noise and the "
        "parent's samples; auto: as many as train.finetune_steps; 0: the parent as it is",
    )
    anchor: float = Field(
        default=0.2,
        ge=0,
        description="dpo, luce_dpo of flows: weight of flow matching on the parent's samples, by the ratio of the laws "
        "that the log-likelihoods claim; 0: DPO's loss alone",
    )


LARGEST_REWARD = 300.0  # w^2 = exp(2 r) is computed, which overflows from 354 on
SINGLE_PRECISION = 1e-6  # relative: rewards come from networks and points in float32


class RewardConfig(_Table):
    """The [reward] table: what a simulated user likes, r(x). The factor gamma is the only temperature there is."""

    kind: str = Field(
        default="confidence",
        description="ball, linear (points), class_prob, confidence, ink (images), factors (flowers), share, "
        "word_length, likelihood (texts), or your own 'module:function'",
    )
    gamma: float = Field(default=5.0, description="scale of the reward; negative values prefer the opposite")
    target: Annotated[int, Field(ge=0)] | Literal["condition"] = Field(
        default=0, description="class_prob: the class whose probability is liked; condition: the slate's condition"
    )
    center: tuple[float, float] = Field(
        default=(0.0, 0.0), description="ball: its centre; linear: the reward is gamma <center, x>"
    )
    r_min: float = Field(default=1.0, ge=0, description="ball: its radius; inside it the reward is 0, the highest")
    weights: tuple[str, ...] = Field(default=(), description="factors: NAME=WEIGHT; on a circle NAME@VALUE=WEIGHT")
    word: str = Field(
        default="e", min_length=1, description="share: the letter whose share of the characters is liked, or the word's"
    )
    length: float = Field(default=8.0, ge=0, description="word_length: the mean length of words that is liked most")
    order: int = Field(
        default=3,
        ge=1,
        description="likelihood: of the n-gram model of the real text, whose log-law of a token is liked",
    )
    supremum: float = Field(
        default=math.inf,
        allow_inf_nan=True,
        description="your own reward: no sample's is above this; inf where there is no such number, and then bounds "
        "that need one aren't claimed",
    )

    @field_validator("word")
    @classmethod
    def _letter_or_word(cls, word: str) -> str:
        if len(word) > 1 and not re.fullmatch(r"\w+", word):
            raise ValueError(f"'{word}' must be a single character, or one word of letters and digits")
        return word

    @field_validator("supremum")
    @classmethod
    def _number(cls, supremum: float) -> float:
        if math.isnan(supremum):
            raise ValueError("supremum must be a number, or inf where there is none")
        return supremum

    def largest(self, classes: int) -> float:
        """The reward's supremum; inf where none is known.

        Args:
            classes: of the classifier that it goes by.
        """
        if self.kind == "ball":
            return 0.0 if self.gamma >= 0 else math.inf
        if self.kind in ("word_length", "likelihood"):
            return 0.0 if self.gamma >= 0 else math.inf
        if self.kind in ("class_prob", "ink", "share"):
            return max(self.gamma, 0.0)
        if self.kind == "confidence":
            return self.gamma if self.gamma >= 0 else self.gamma / classes
        if self.kind == "factors":
            return abs(self.gamma) * sum(abs(float(word.rpartition("=")[2])) for word in self.weights)
        return self.supremum


class ClassifierConfig(_Table):
    """The [classifier] table: the VGG11 that judges images (rewards, class shares, features)."""

    file: str = Field(
        default="", description="a trained one to use, from `curate reward train` or `import`; empty: train one"
    )
    width: int = Field(default=64, ge=4, description="channels of the first layer; VGG11 has 64, digits do with fewer")
    head: Literal["linear", "vgg"] = Field(
        default="linear", description="what follows the convolutions: one layer, or VGG's three"
    )
    mean: tuple[float, ...] = Field(default=(0.5,), description="of pixels in [0, 1], by channel: taken off first ...")
    std: tuple[float, ...] = Field(default=(0.5,), description="... and what the rest is divided by")
    epochs: int = Field(default=30, ge=1)
    restart_epochs: int = Field(
        default=0, ge=0, description="more epochs after these: the rate stays at restart_lr, then falls to 0"
    )
    restart_lr: float = Field(default=0.05, gt=0)
    batch_size: int = Field(default=128, ge=2)
    optimiser: Literal["adamw", "sgd"] = Field(default="adamw", description="sgd has Nesterov's momentum, 0.9")
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.02, ge=0, lt=1)
    shift: int = Field(default=4, ge=0, description="augmentation: random shifts by up to this many pixels")
    flip: bool = Field(default=False, description="augmentation: random mirroring")
    cutout: int = Field(default=0, ge=0, description="augmentation: a square of this many pixels is blanked")
    dropout: float = Field(default=0.2, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = Field(
        default="fp32", description="in training: auto is bf16 where the processor has it"
    )
    mirror: bool = Field(default=False, description="judge by the mean over an image and its mirror image ...")
    jitter: int = Field(
        default=0, ge=0, description="... and over the image moved by this many pixels, up-left and down-right; 0: not"
    )
    holdout: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="share of the data kept from training to measure the accuracy on, where there is no test set",
    )


class JudgeConfig(ClassifierConfig):
    """The [judge] table: a second classifier, trained on its own, that shows when the loop fools the first one."""

    enabled: bool = Field(default=False, description="images: judge each generation by it too")

"""Pipelines of diffusers as generators: samples as by the pipeline itself, training, checkpoints, refusals."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from loop.config import ConditionConfig
from loop.generators import load_generator
from loop.simulate import simulate
from loop.study import Study, configure
from model import preferences
from model.config import LearnerConfig, NetworkConfig, SamplingConfig, TrainConfig
from model.generators.diffusers_generator import Base, DiffusersGenerator
from model.interfaces import Conditions, Samples
from tests.pipelines import save_ddpm, save_dit, save_flux, save_sdxl, save_stable_diffusion

SEEDS = np.arange(500, 507)
OF = np.arange(7) % 3
CLASSES = Conditions(("cat", "dog", "fowl"), (0.5, 0.25, 0.25))
PROMPTS = Conditions(("a red cat", "dog", "fowl"), (0.5, 0.25, 0.25))
SHAPES = {"ddpm": (1, 8, 8), "classes": (1, 8, 8), **dict.fromkeys(("dit", "sd", "sdxl", "flux"), (3, 16, 16))}
CONDITIONS = {"classes": CLASSES, "dit": CLASSES, **dict.fromkeys(("sd", "sdxl", "flux"), PROMPTS)}
RANKS = {"ddpm": 0, "classes": 2, "dit": 2}  # the others' is their own
SAMPLING = {"steps": 4, "batch_size": 4}
TRAIN = TrainConfig(finetune_steps=4, finetune_lr=1e-2, batch_size=4, ema_decay=0, warmup_steps=0)


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one pipeline of each kind."""
    folder = tmp_path_factory.mktemp("pipelines")
    save_ddpm(folder / "ddpm", attention=False)
    save_ddpm(folder / "classes", classes=3)
    save_dit(folder / "dit")
    save_stable_diffusion(folder / "sd")
    save_sdxl(folder / "sdxl")
    save_flux(folder / "flux")
    return folder


@pytest.fixture
def build(saved: Path) -> Callable[..., DiffusersGenerator]:
    """A factory: generation 0 of a pipeline by its name."""

    def make(name: str, rank: int | str = "auto", precision: str = "fp32", **sampling: object) -> DiffusersGenerator:
        network = NetworkConfig.model_validate(
            {"kind": "diffusers", "file": str(saved / name), "rank": rank, "precision": precision}
        )
        how = SamplingConfig.model_validate(SAMPLING | sampling)
        conditions = [CONDITIONS[name]] if name in CONDITIONS else []
        return DiffusersGenerator.build(SHAPES[name], network, TRAIN, how, *conditions)

    return make


@dataclass(frozen=True)
class Bright:
    """Bright images, under all conditions alike."""

    shape: tuple[int, ...]
    conditional: bool = False

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        of = torch.from_numpy(rng.integers(3, size=n)) if self.conditional else None
        return Samples(torch.full((n, *self.shape), 0.8), of)


def drawn(generator: DiffusersGenerator, rows: slice = slice(None)) -> torch.Tensor:
    return generator.sample(SEEDS[rows], OF[rows] if generator.conditions else None)


def generators(seeds: np.ndarray) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


@pytest.mark.parametrize("name", SHAPES)
def test_a_generation_is_trained_written_and_read_back(name: str, build: Callable[..., DiffusersGenerator], tmp_path):
    first = build(name, rank=RANKS.get(name, "auto"))
    x0 = drawn(first)
    assert x0.shape == (7, *SHAPES[name]) and x0.dtype == torch.float32 and x0.abs().max() <= 1
    assert torch.allclose(drawn(first, slice(3, 6)), x0[3:6], atol=1e-5)  # whatever is drawn with it
    assert (x0[0] - x0[3]).abs().max() > 1e-3
    calls = []
    assert not first.fit(Bright(SHAPES[name]), None, 1, lambda *step: calls.append(step)).weights and not calls
    sha256 = first.save(tmp_path / "0.safetensors")
    parent = DiffusersGenerator.load(tmp_path / "0.safetensors", TRAIN, first.sampling)
    assert parent.sha256 == sha256 and parent.conditions == first.conditions
    training = Bright(SHAPES[name], name in CONDITIONS)
    child = parent.fit(training, parent, 3, lambda *step: calls.append(step))
    x1 = drawn(child)
    assert calls == [(1, 4), (2, 4), (4, 4)] and child.parent == sha256 and (x1 - x0).abs().max() > 1e-3
    assert torch.equal(drawn(parent), x0)  # the base is back
    assert torch.equal(drawn(parent.fit(training, parent, 3)), x1)
    again = parent.fit(training, None, 3)  # a later generation from the base
    assert torch.equal(drawn(again), x1) and again.parent is None
    child.save(tmp_path / "1.safetensors")
    assert torch.equal(drawn(DiffusersGenerator.load(tmp_path / "1.safetensors", TRAIN, first.sampling)), x1)
    if first.base.rank:
        assert all("lora_" in weight for weight in child.weights)
        assert child.fit(training, child, 3).weights.keys() == child.weights.keys()


def test_samples_are_those_of_the_pipeline_itself(saved: Path, build: Callable[..., DiffusersGenerator]):
    from diffusers import DDIMScheduler, DDPMPipeline, DiTPipeline

    ddpm = DDPMPipeline.from_pretrained(saved / "ddpm")
    images = ddpm(batch_size=7, generator=generators(SEEDS), num_inference_steps=4, output_type="pt").images
    assert torch.allclose(drawn(build("ddpm", batch_size=7)), 2 * images - 1, atol=1e-4)
    ddpm.scheduler = DDIMScheduler.from_config(ddpm.scheduler.config)
    by_ddim = drawn(build("ddpm", scheduler="DDIMScheduler"))
    assert (by_ddim - drawn(build("ddpm"))).abs().max() > 0.1
    dit = DiTPipeline.from_pretrained(saved / "dit")
    labels = dit.get_label_ids([CLASSES.names[i] for i in OF])
    images = dit(labels, 1.0, generators(SEEDS), 4, output_type="pt").images
    plain = drawn(build("dit", guidance_scale=1))
    assert torch.allclose(plain, 2 * images - 1, atol=1e-4)
    assert build("dit").guidance_scale == 4 and (drawn(build("dit")) - plain).abs().max() > 1e-3


TEXT_KINDS = ("sd", "sdxl", "flux")


@pytest.mark.parametrize("name", TEXT_KINDS)
def test_samples_and_adapters_are_those_of_the_text_pipeline_itself(
    name: str, saved: Path, build: Callable[..., DiffusersGenerator], tmp_path: Path
):
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(saved / name)

    def of_the_pipeline() -> torch.Tensor:
        prompts = [PROMPTS.names[i] for i in OF]
        how = {"height": 16, "width": 16, "num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "pt"}
        return 2 * pipeline(prompts, generator=generators(SEEDS), **how).images - 1

    parent = build(name, guidance_scale=3.0)
    assert torch.allclose(drawn(parent), of_the_pipeline(), atol=1e-4)
    child = parent.fit(Bright(SHAPES[name], True), parent, 3)
    child.save(tmp_path / "000001.safetensors")
    pipeline.load_lora_weights(tmp_path, weight_name="000001.safetensors")
    assert torch.allclose(drawn(child), of_the_pipeline(), atol=1e-4)


@pytest.mark.parametrize("name", TEXT_KINDS)
def test_a_base_in_half_precision_has_an_adapter_in_full(name: str, build: Callable[..., DiffusersGenerator]):
    parent = build(name, precision="bf16")
    child = parent.fit(Bright(SHAPES[name], True), parent, 3)
    assert next(parent.base.pipeline.vae.parameters()).dtype == torch.bfloat16
    assert {weight.dtype for weight in child.weights.values()} == {torch.float32}
    assert drawn(child).isfinite().all() and not torch.equal(drawn(child), drawn(parent))


@pytest.mark.parametrize("name", TEXT_KINDS)
def test_the_loss_under_prompts_is_that_of_diffusers_training_scripts(
    name: str, saved: Path, build: Callable[..., DiffusersGenerator]
):
    from diffusers import DDPMScheduler, DiffusionPipeline, FlowMatchEulerDiscreteScheduler

    generator, own = build(name), DiffusionPipeline.from_pretrained(saved / name)
    x, of, t = torch.rand(3, 3, 16, 16) * 2 - 1, torch.tensor([0, 2, 1]), torch.tensor([3, 500, 998])
    like = FlowMatchEulerDiscreteScheduler if name == "flux" else DDPMScheduler
    schedule, draws = like.from_config(own.scheduler.config), torch.Generator()
    measured = generator.loss(x, t, generator.known()(of, draws), schedule, draws.manual_seed(1))

    draws.manual_seed(1)
    prompts, config = [PROMPTS.names[i] for i in of], own.vae.config
    with torch.no_grad():
        posterior = own.vae.encode(x).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=draws)
        latents = (latents - (config.shift_factor or 0)) * config.scaling_factor
        noise = torch.randn(latents.shape, generator=draws)
        if name == "flux":  # train_dreambooth_lora_flux.py
            embeddings, pooled, text_ids = own.encode_prompt(prompts, None)
            sigmas = schedule.sigmas[t].flatten()[:, None, None, None]
            noisy = (1.0 - sigmas) * latents + sigmas * noise
            predicted = own.transformer(
                hidden_states=own._pack_latents(noisy, 3, 4, 8, 8),
                timestep=schedule.timesteps[t] / 1000,
                guidance=torch.full((3,), 3.5),
                pooled_projections=pooled,
                encoder_hidden_states=embeddings,
                txt_ids=text_ids,
                img_ids=own._prepare_latent_image_ids(3, 4, 4, "cpu", torch.float32),
            ).sample
            predicted, target = own._unpack_latents(predicted, 16, 16, 2), noise - latents
        elif name == "sdxl":  # train_text_to_image_lora_sdxl.py
            embeddings, _, pooled, _ = own.encode_prompt(prompts, do_classifier_free_guidance=False)
            added = {"text_embeds": pooled, "time_ids": torch.tensor([[16, 16, 0, 0, 16, 16]] * 3)}
            noisy = schedule.add_noise(latents, noise, t)
            predicted, target = own.unet(noisy, t, embeddings, added_cond_kwargs=added).sample, noise
        else:  # train_text_to_image_lora.py
            tokens = own.tokenizer(prompts, padding="max_length", max_length=16, truncation=True, return_tensors="pt")
            embeddings = own.text_encoder(tokens.input_ids)[0]
            predicted = own.unet(schedule.add_noise(latents, noise, t), t, embeddings).sample
            target = schedule.get_velocity(latents, noise, t)
    assert measured.item() == pytest.approx((predicted - target).square().mean().item(), rel=1e-4)


def test_training_moves_samples_towards_the_training_set(build: Callable[..., DiffusersGenerator]):
    parent = build("ddpm", steps=10)
    longer = DiffusersGenerator(**{**vars(parent), "train": TRAIN.model_copy(update={"finetune_steps": 60})})
    child = longer.fit(Bright(SHAPES["ddpm"]), parent, 1)
    before, after = ((drawn(generator) - 0.8).square().mean() for generator in (parent, child))
    assert after < 0.6 * before


@dataclass(frozen=True)
class Slates:
    """Slates of three images under one condition each, of which the brightest was picked; a training set, too."""

    x: torch.Tensor
    conditions: np.ndarray | None
    k = 3

    @property
    def slates(self) -> "Slates":
        return self

    @property
    def won(self) -> np.ndarray:
        return self.x.flatten(2).mean(2).argmax(1).numpy()

    def __len__(self) -> int:
        return len(self.x)

    def read(self, index: np.ndarray) -> torch.Tensor:
        return self.x[torch.from_numpy(index)]


def log_ratios(child: DiffusersGenerator, parent: DiffusersGenerator, slates: Slates) -> torch.Tensor:
    """(n, 3) estimates of log-ratios of a generation's law to its parent's, but for a constant of each slate."""
    from diffusers import DDPMScheduler

    base, (n, k) = parent.base, slates.x.shape[:2]
    schedule = base.scheduler() if base.is_flux else DDPMScheduler.from_config(base.pipeline.scheduler.config)
    velocity, earliest = base.as_flow(schedule, lambda of: child.known(0.0)(of, torch.Generator()))
    latents, draws = base.encode(slates.x.flatten(0, 1)).unflatten(0, (n, k)), torch.Generator().manual_seed(0)
    t = earliest + (preferences.LATEST - earliest) * torch.rand(n, 64, generator=draws)
    x0 = torch.randn(n, 64, *latents.shape[2:], generator=draws)
    y = () if slates.conditions is None else (torch.from_numpy(slates.conditions),)
    of = []
    for generator in (parent, child):
        base.put(generator.weights)
        with torch.no_grad():
            of.append(preferences.surrogate(velocity, latents, t, x0, *y, earliest=earliest))
    return of[0] - of[1]


@pytest.mark.parametrize("name", ["ddpm", "dit", "sd", pytest.param("flux", marks=pytest.mark.slow)])
def test_dpo_leads_towards_what_was_picked_with_the_parent_as_reference(
    name: str, build: Callable[..., DiffusersGenerator]
):
    parent = build(name, rank=RANKS.get(name, "auto"))
    of = np.arange(12) % 3 if parent.conditions else None
    grey = torch.from_numpy(np.random.default_rng(0).permuted(np.tile([-0.8, 0.0, 0.8], (12, 1)), axis=1)).float()
    slates = Slates(grey.view(12, 3, 1, 1, 1).expand(-1, -1, *SHAPES[name]), of)
    before = drawn(parent)
    rate = 1e-2 if parent.base.rank else 1e-3
    steps = TRAIN.model_copy(update={"finetune_steps": 20, "batch_size": 16, "finetune_lr": rate})
    longer = DiffusersGenerator(**{**vars(parent), "train": steps})
    for kind in ("dpo", "luce_dpo"):
        learner = LearnerConfig.model_validate({"kind": kind, "beta": 0.2, "draws": 2})
        child = longer.fit(slates, parent, 3, learner=learner)  # type: ignore[arg-type] - it draws from slates alone
        ratios = log_ratios(child, parent, slates)
        won = ratios[np.arange(12), slates.won]
        assert (won - ratios.mean(1)).mean() > 0 and (drawn(child) - before).abs().max() > 0
    assert torch.equal(drawn(parent), before)
    with pytest.raises(ValueError, match="there are none here"):
        longer.fit(Bright(SHAPES[name]), parent, 3, learner=LearnerConfig(kind="dpo"))


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction"])
def test_a_denoiser_as_a_flow_gives_log_ratios_of_densities(kind: str):
    from diffusers import DDPMScheduler

    schedule = DDPMScheduler(prediction_type=kind)

    @dataclass(eq=False)
    class Exact(Base):
        """The denoiser of a normal law in one dimension."""

        mean: float = 0.0
        std: float = 1.0

        def predict(self, x: torch.Tensor, t: torch.Tensor, given: object) -> torch.Tensor:
            low, high = t.floor().long(), t.ceil().long()
            signal = torch.lerp(*(schedule.alphas_cumprod[i].sqrt() for i in (low, high)), t - low)[:, None]
            noise = (1 - signal**2).sqrt()
            clean = self.mean + signal * self.std**2 / ((signal * self.std) ** 2 + noise**2) * (x - signal * self.mean)
            epsilon = (x - signal * clean) / noise
            return {"epsilon": epsilon, "sample": clean}.get(kind, signal * epsilon - noise * clean)

    x, n = torch.tensor([-1.5, 0.0, 1.0]), 100_000
    estimates = []
    for mean, std in ((0.0, 1.0), (0.5, 0.8)):
        base = Exact("", "", None, "pixels", 0, {}, mean=mean, std=std)
        velocity, earliest = base.as_flow(schedule, lambda of: of)
        t = (earliest + (torch.arange(n) + 0.5) / n * (preferences.LATEST - earliest)).view(1, n)
        x0 = torch.randn(1, n, 1, generator=torch.Generator().manual_seed(0))
        estimates.append(preferences.surrogate(velocity, x.view(1, 3, 1), t, x0, earliest=earliest)[0])
    exact = torch.distributions.Normal(0.5, 0.8).log_prob(x) - torch.distributions.Normal(0.0, 1.0).log_prob(x)
    torch.testing.assert_close(estimates[0] - estimates[1], exact, atol=0.03, rtol=0)


def test_what_does_not_go_together_is_refused_in_one_sentence(
    saved: Path, build: Callable[..., DiffusersGenerator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refusal(name: str, shape: tuple[int, ...], conditions: Conditions | None = None, **settings: object) -> str:
        network = NetworkConfig.model_validate({"kind": "diffusers", "file": str(saved / name), **settings})
        with pytest.raises(ValueError) as error:
            DiffusersGenerator.build(shape, network, TRAIN, SamplingConfig(), conditions)
        return str(error.value)

    assert "8 x 8 pixels with 1 channels" in refusal("ddpm", (3, 32, 32))
    assert "multiples of 2" in refusal("sd", (3, 15, 15), PROMPTS)
    assert "multiples of 4" in refusal("flux", (3, 18, 18), PROMPTS)
    assert "name them in study.toml" in refusal("sd", (3, 16, 16))
    assert "draws by class" in refusal("dit", (3, 16, 16))
    assert "can't draw under conditions" in refusal("ddpm", (1, 8, 8), CLASSES)
    assert "has 3 classes" in refusal("dit", (3, 16, 16), Conditions(tuple("abcd"), (0.25,) * 4))
    assert "set network.rank to 0" in refusal("ddpm", (1, 8, 8), rank=4)
    assert "is another" in refusal("ddpm", (1, 8, 8), file_sha256="0" * 64)
    assert "model_index.json" in refusal("nothing", (1, 8, 8))
    for sampling, words in ({"guidance_scale": 2}, "without guidance"), ({"steps": 101}, "has 100"):
        with pytest.raises(ValueError, match=words):
            build("ddpm", **sampling)
    with pytest.raises(ValueError, match=r"DDIMScheduler"):
        build("ddpm", scheduler="Euler")
    for scheduler in ("DDIMScheduler", "FlowMatchHeunDiscreteScheduler"):
        with pytest.raises(ValueError, match="such as FlowMatchEulerDiscreteScheduler, for a flow"):
            build("flux", scheduler=scheduler)
    with pytest.raises(ValueError, match="have no conditions"):
        build("dit", 2).fit(Bright(SHAPES["dit"]), build("dit", 2), 1)

    moved = shutil.copytree(saved / "ddpm", tmp_path / "ddpm")
    network = NetworkConfig(kind="diffusers", file=str(moved), precision="fp32")
    generator = DiffusersGenerator.build((1, 8, 8), network, TRAIN, SamplingConfig())
    generator.save(tmp_path / "0.safetensors")
    index = (moved / "model_index.json").read_text()
    (moved / "model_index.json").write_text(index + "\n")
    with pytest.raises(ValueError, match="isn't the pipeline"):
        DiffusersGenerator.load(tmp_path / "0.safetensors", TRAIN, SamplingConfig())
    (moved / "model_index.json").write_text(index.replace("DDPMPipeline", "StableDiffusion3Pipeline"))
    with pytest.raises(ValueError, match="is a StableDiffusion3Pipeline; supported are DDPMPipeline, "):
        DiffusersGenerator.load(tmp_path / "0.safetensors", TRAIN, SamplingConfig())
    (moved / "model_index.json").write_text(index)
    (moved / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="can't be read"):
        DiffusersGenerator.load(tmp_path / "0.safetensors", TRAIN, SamplingConfig())

    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'curate[diffusers]'" in refusal("classes", (1, 8, 8), CLASSES)


def test_prompts_that_are_no_class_of_the_pictures_need_none(saved: Path, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)
    for i, picture in enumerate(pixels):
        (tmp_path / "pictures" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png")
    settings = (
        f"data.path={tmp_path / 'pictures'}", "data.size=16", f"network.file={saved / 'sd'}", "network.precision=fp32",
        "train.finetune_steps=2", "train.batch_size=4", "sampling.steps=2", "sampling.batch_size=64",
        "classifier.width=4", "classifier.epochs=1", "curation.picks=20", "evaluation.samples=100",
        "curation.extend=none",
    )  # fmt: skip
    prompts = [ConditionConfig(name="a fox in the snow"), ConditionConfig(name="a lighthouse")]
    config = configure("diffusers", settings).model_copy(update={"conditions": tuple(prompts)})
    study = Study.create(tmp_path / "study", config)
    simulate(study, 1, lambda phase, done, total: None)
    assert [row.n_curated for row in study.store.generations()] == [0, 20]
    study.store.close()

    other = NetworkConfig(kind="resample")
    with pytest.raises(ValueError, match="Generation 0 has nothing to be trained on"):
        simulate(Study.create(tmp_path / "other", config.model_copy(update={"network": other})), 1, lambda *step: None)


def stopped(phase: str, _done: int, _total: int) -> None:
    if phase == "training":
        raise KeyboardInterrupt


@pytest.mark.parametrize("conditions", ["none", pytest.param("classes", marks=pytest.mark.slow)])
def test_a_study_begins_with_the_pipeline_and_trains_it_on_picks(conditions: str, tmp_path: Path):
    base = save_ddpm(tmp_path / "base", 10 if conditions == "classes" else None)
    settings = (
        "network.kind=diffusers", f"network.file={base}", "network.precision=fp32", "train.finetune_steps=4",
        "train.finetune_lr=0.01", "train.batch_size=8", "sampling.steps=3", "sampling.batch_size=64", "data.n=120",
        "classifier.width=4", "classifier.epochs=1", "curation.picks=20", "evaluation.samples=100",
        "curation.extend=none", f"data.conditions={conditions}",
    )  # fmt: skip
    study, other = (Study.create(tmp_path / name, configure("digits", settings)) for name in ("study", "other"))
    phases = []
    simulate(study, 1, lambda phase, done, total: phases.append(phase))
    assert "pretraining" not in phases and "training" in phases
    first, second = study.store.generations()
    assert first.policy == "pretrained elsewhere" and second.n_curated == 20
    stored = json.loads(study.checkpoint_path(1).with_suffix(".json").read_text())["config"]
    generator = load_generator(study, 1)
    assert isinstance(generator, DiffusersGenerator) and stored["base"]["sha256"] == generator.base.sha256
    assert stored["sampled"] == {"guidance_scale": 1.0, "num_inference_steps": 3}
    of = [None] if conditions == "none" else list("0123456789")
    assert {row["condition"] for row in study.store.rows("SELECT condition FROM slate")} <= set(of)

    with pytest.raises(KeyboardInterrupt):
        simulate(other, 1, stopped)
    simulate(other, 1, lambda phase, done, total: None)
    assert [row.checkpoint_sha256 for row in other.store.generations()] == [
        row.checkpoint_sha256 for row in study.store.generations()
    ]
    for opened in (study, other):
        opened.store.close()

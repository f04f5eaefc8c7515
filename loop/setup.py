"""A study's preparation before its first round: the classifier that judges its images, and generation 0.

Both are trained, or come from files and starters; `plan` says beforehand how long it takes. `curate pretrain` makes
generation 0 outside any study.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

import model as model_package
from data.config import DataConfig
from data.datasets import RealData, count, load, load_test, sample_shape
from data.measurements import Measurements
from data.records import Generation
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.evaluation import HELD_OUT_TEXTS, Evaluation, Evaluator
from loop.generators import (
    FLOW_KINDS,
    OTHERS,
    generator_class,
    has_conditions,
    load_generator,
    pretrained,
    sheet,
    train_first,
)
from loop.scoring import Scorer
from loop.study import SAMPLES, Study
from loop.training_data import real_only, rows_of, to_bytes
from model import weights_import
from model.checkpoint import load as load_checkpoint
from model.checkpoint import sidecar_path
from model.compute import alone, describe, device, from_main
from model.config import PREFERENCE_LEARNERS, ClassifierConfig
from model.flow import Flow
from model.interfaces import Report, Rows
from model.judging.classifier import Classifier
from model.judging.classifier_training import Labelled, accuracy, classifier_step_seconds, train_classifier
from model.preferences import EVALUATIONS
from model.sampling import derive_seed, evaluations
from model.training import FEW, LONG_STEP_S, Snapshotter, step_seconds, typical_seconds

PURPOSES = {"classifier": 0xC1A55, "judge": 0x10D6E}  # each trains from a seed of its own
STEP_PASSES = 3  # a training step takes as long as so many evaluations: backward costs twice forward
FITTED_KINDS = ("vae", "gpt")  # whose training and sampling take a step or a token after the other, too
FEW_STEPS, FEW_TOKENS = 2, 4  # that are measured
COUNTED, WRITTEN = 4_000, 250  # texts that a model of counts is measured on
CHARACTERS = 96  # of a text, about: its own aren't known before it is read
STARTERS = Path(model_package.__file__).parent / "starters"


def trained(config: StudyConfig, real: RealData, name: str, path: Path, report: Report) -> Classifier:
    """The study's 'classifier' or 'judge', trained on the real images; measured on the test set where there is one.

    Snapshots of its training lie beside the checkpoint; an interrupted training continues from the last.

    Args:
        config: the settings.
        real: the images.
        name: 'classifier' or 'judge'.
        path: where its checkpoint is written.
        report: called with the phase and how far it is.

    Raises:
        ValueError: fewer than two classes.
        RuntimeError: the device's memory is too small for a batch.
    """
    table = ClassifierConfig(**getattr(config, name).model_dump(include=set(ClassifierConfig.model_fields)))
    seed = derive_seed(config.seed, PURPOSES[name])
    snapshotter = Snapshotter(path.with_suffix(".partial"), repr((seed, config.data, table)))
    unseen = from_main(lambda: unseen_images(config.data, real.label_names))
    reports = partial(report, name), partial(report, f"accuracy of the {name}")
    data = to_bytes(real.x), real.labels, real.label_names
    try:
        classifier = train_classifier(*data, table, seed, reports[0], unseen, snapshotter, reports[1])
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The device has too little memory to train the {name} on {table.batch_size} images at once: set "
            f"{name}.batch_size lower."
        ) from error
    classifier = replace(classifier, sha256=classifier.save(path))
    snapshotter.remove()
    return classifier


def imported(weights: Path, path: str = "") -> tuple[Classifier, str]:
    """The VGG11 of huyvnphan/PyTorch_CIFAR10 with its accuracy on CIFAR-10's test images.

    Args:
        weights: the .pt file.
        path: a local copy of CIFAR-10; empty: downloaded.

    Returns:
        The classifier, and why its accuracy isn't known: empty where it is.

    Raises:
        ValueError: the weights can't be read, or the local copy is of other images.
    """
    classifier = weights_import.read_huyvnphan(weights)
    try:
        test = unseen_images(DataConfig(dataset="cifar10", path=path), classifier.label_names)
    except (OSError, RuntimeError) as error:  # torchvision's words for a download that fails
        why = f"CIFAR-10 can't be had ({error}): the accuracy is not measured and not stored; --path names a copy."
        return classifier, why
    if test is None:
        return classifier, f"There is no folder `test` in {path}: the accuracy is not measured and not stored."
    return replace(classifier, accuracy=accuracy(classifier, *test)), ""


def unseen_images(data: DataConfig, label_names: tuple[str, ...]) -> Labelled | None:
    """Images and labels that no training sees, where the data set has them.

    Raises:
        ValueError: they are of other classes than these.
        OSError: they couldn't be downloaded.
    """
    test = load_test(data)
    if test is None:
        return None
    if test.label_names != label_names:
        raise ValueError(f"The test images have classes {test.label_names}, and {label_names} were expected.")
    return to_bytes(test.x), test.labels


def read_images(study: Study, report: Report) -> None:
    """Reads the study's real data into `study.real`, on rank 0 for all processes."""
    reading = "downloading" if study.config.data.is_text else "reading images"
    real = from_main(lambda: study.read_real(partial(report, reading)))
    study.__dict__.setdefault("real", real)


def prepare_evaluator(study: Study, report: Report, donor: Study | None = None) -> Evaluator:
    """The evaluator of the study's generations, with its scorer; classifiers that it lacks are copied or trained.

    Args:
        study: the study.
        report: called with the phase and how far it is.
        donor: a study with the same pretraining (`StudyConfig.pretraining`), whose classifiers are copied.

    Raises:
        ValueError: the donor's pretraining is another, or a classifier doesn't go with the study.
    """
    read_images(study, report)
    real = study.real
    if not real.is_images:
        return Evaluator(study, Scorer(study.config, None, real.label_names, real))
    scorer = prepare_classifier(study, "classifier", report, donor)
    if not study.config.judge.enabled:
        return Evaluator(study, scorer)
    judge = prepare_classifier(study, "judge", report, donor)
    if judge.label_names != scorer.label_names:
        raise ValueError(f"The judge knows the classes {judge.label_names}, the classifier {scorer.label_names}.")
    return Evaluator(study, scorer, judge)


def prepare_classifier(study: Study, name: str, report: Report, donor: Study | None) -> Scorer:
    """The scorer that goes by the study's 'classifier', or its 'judge', which is copied or trained if it is missing."""
    path = study.weights_path(name)
    if not from_main(lambda: copy_classifier(study, name, path, donor)):
        classifier = trained(study.config, study.real, name, path, report)
        from_main(lambda: study.store.log("worker", f"{name}_trained", accuracy=classifier.accuracy))
    classifier = Classifier.load(path)
    return Scorer(study.config, classifier, classifier.label_names)


def copy_classifier(study: Study, name: str, path: Path, donor: Study | None) -> bool:
    """Copies the classifier that the study names, a starter's or a donor's, unless one is there; True if one is now.

    Raises:
        ValueError: the classifier that the study names is for other images.
    """
    file = getattr(study.config, name).file
    if file and not path.exists():
        shapes = Classifier.load(Path(file)).shape, sample_shape(study.config.data)
        if shapes[0] != shapes[1]:
            there, here = (f"{width} x {height} pixels, {channels} channels" for channels, height, width in shapes)
            raise ValueError(f"{name}.file is for images of {there}; the study's have {here}: name another file.")
        copy_checkpoint(Path(file), path)
    return path.exists() or copy_starter(study, name, path) or copy_donated(study, donor, name, path)


def prepare_first_generation(study: Study, evaluator: Evaluator, report: Report, donor: Study | None = None) -> None:
    """Publishes generation 0, if there is none yet: from the starter, a donor, `network.file`, or by pretraining.

    Args:
        study: the study.
        evaluator: its measurements.
        report: called with the phase and how far it is.
        donor: a study with the same pretraining (`StudyConfig.pretraining`), whose generation 0 is copied: the same
            weights as pretraining again would give.

    Raises:
        ValueError: the donor's pretraining is another, or `network.file` doesn't go with the study.
        DownloadError: `network.file` couldn't be downloaded.
    """
    if from_main(lambda: study.store.latest_cut() is not None):
        check_vocabulary(study)
        return
    path = study.checkpoint_path(0)
    if not from_main(
        lambda: (
            copy_starter(study, "generator", path)
            or copy_donated(study, donor, "generator", path)
            or take_pretrained(study, path, report)
        )
    ):
        on_sheet = partial(show, study) if study.real.is_images else None
        asked = None if study.conditions is None else study.conditions.asked
        rows, _ = evaluator.real_rows
        vocabulary = None if study.real.vocabulary is None else study.real.vocabulary.as_json()
        train_first(study.config, rows, path, partial(report, "pretraining"), on_sheet, asked, vocabulary)
    evaluator.score_real(partial(report, "scoring real data"))
    report("evaluating", 0, 1)
    evaluation = evaluator.of(load_generator(study, 0), 0, None, partial(report, "evaluating"))
    of_real = evaluator.of_real()
    from_main(lambda: publish_first(study, evaluator, evaluation, of_real))


def check_vocabulary(study: Study) -> None:
    """Refuses to go on with a text of other tokens than generation 0 learned.

    Raises:
        ValueError: the text has changed.
    """
    if study.real.vocabulary is None or not study.checkpoint_path(0).exists():
        return
    learned = load_checkpoint(study.checkpoint_path(0)).config.get("text")
    if learned not in (None, study.real.vocabulary.as_json()):
        raise ValueError(
            f"The text '{study.config.data.path}' has other tokens than {study.path} began with; restore it."
        )


def show(study: Study, step: int, sha256: str, png: bytes) -> None:
    """Puts a picture of samples in the middle of training into the study's folder and on the researcher's page."""
    write_sheet(study.path / SAMPLES, step, png)
    with study.store.write():
        study.store.add_images([(sha256, png)])
        study.store.set_status(SAMPLES, step=step, steps=study.config.train.pretrain_steps, sha256=sha256)


def write_sheet(folder: Path, step: int, png: bytes) -> None:
    """Writes a picture of samples at a step of training into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"step-{step:07d}.png").write_bytes(png)


def publish_first(study: Study, evaluator: Evaluator, evaluation: Evaluation, of_real: Measurements) -> None:
    """Stores generation 0, its evaluation and that of the real data in one transaction."""
    path = study.checkpoint_path(0)
    with study.store.write() as _:
        study.store.set_status("real", **of_real.as_json())
        study.store.add_images([evaluation.picture])
        study.store.publish(
            Generation(
                t=0,
                parent_t=None,
                checkpoint=path.name,
                checkpoint_sha256=load_checkpoint(path).sha256,
                n_real=len(study.real),
                n_curated=0,
                policy="pretrained elsewhere" if study.config.network.file else "pretrained on real data",
                config=study.config.as_json(),
                measurements=evaluation.measurements.extended(device=describe()),
            )
        )
        study.store.add_evaluation(evaluator.real_samples())
        study.store.add_evaluation(evaluation.samples)
        study.store.log("worker", "generation_published", t=0)


@dataclass(frozen=True, slots=True)
class Plan:
    """The work that a study's settings ask for on this device, in seconds by a short measurement.

    Attributes:
        parts: seconds of each phase before the first round, by the name under which it is reported, in order.
        training: what they train, in words.
        n: real data.
        shape: of a sample.
        device: in words.
        rounds: that are to follow.
        round_s: seconds of each of them.
        are_texts: True if the data are, and `shape` has their number of tokens.
    """

    parts: dict[str, float]
    training: list[str]
    n: int
    shape: tuple[int, ...]
    device: str
    rounds: int = 0
    round_s: float = 0.0
    are_texts: bool = False

    @property
    def preparing_s(self) -> float:
        """Seconds before the first round."""
        return sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.preparing_s + self.rounds * self.round_s

    def overall(self, report: Report) -> Report:
        """A function to report phases to, which reports them to `report` as shares of a single one, 'preparing'."""
        if not self.preparing_s:
            return lambda _phase, done, total: report("preparing", done, total)
        names, before = list(self.parts), 0.0

        def combine(phase: str, done: int, total: int) -> None:
            nonlocal before
            if phase in names and total:
                earlier = sum(self.parts[name] for name in names[: names.index(phase)])
                before = max(before, earlier + self.parts[phase] * done / total)
            report("preparing", round(1_000 * before / self.preparing_s), 1_000)

        return combine


def plan(
    config: StudyConfig, study: Study | None = None, rounds: int = 0, names: Sequence[str] | None = None, *,
    picked: bool = False,
) -> Plan:  # fmt: skip
    """The plan of a study, or of one that is to be made; a few steps of what it trains are measured.

    Args:
        config: the settings.
        study: where there is one; what it has needn't be trained.
        rounds: that are to follow the preparation.
        names: of 'classifier', 'judge' and 'generator' those to be trained; by default the ones that are missing.
        picked: the picks of these rounds are there.

    Raises:
        ValueError: the folder of images isn't there, or a network doesn't go with the data.
    """
    shape, parts, training, texts = sample_shape(config.data), {}, [], None
    if config.data.is_text:  # too short a text is refused before any work is measured
        texts = load(config.data, config.seed) if study is None else study.real
    n = count(config.data) if texts is None else len(texts)
    threads = f" ({torch.get_num_threads()} threads)" if device().type == "cpu" else ""
    wanted = untrained(config, study) if names is None else names
    with alone(), torch.random.fork_rng():
        for name in (name for name in wanted if name != "generator"):
            table = getattr(config, name)
            held_out = 0.0 if config.data.dataset in ("cifar10", "fashion") else table.holdout
            epochs = table.epochs + table.restart_epochs
            steps = epochs * -(-round(n * (1 - held_out)) // table.batch_size)
            parts[name] = steps * classifier_step_seconds(shape, table, steps)
            training.append(f"a {name} ({epochs} epochs)")
        is_first = "generator" in wanted
        kind, first = config.network.kind, config.train.pretrain_steps
        steps = first if config.train.restart else tuning_steps(config)
        if kind not in (*FLOW_KINDS, *FITTED_KINDS, "ngram") or not (is_first or rounds):
            return Plan(parts, training, n, shape, describe() + threads, rounds)
        if kind in FLOW_KINDS:
            step_s = step_seconds(shape, config.network, config.train)
            forward_s = step_s / config.train.batch_size / STEP_PASSES
            sample_s = forward_s * evaluations(config.sampling.solver, config.sampling.steps)
        elif texts is not None and kind == "ngram":
            first = steps = 1
            step_s, sample_s = counting_seconds(config, texts)
        else:
            step_s, sample_s = fit_seconds(config)
    evaluating_s = (config.evaluation.samples + (HELD_OUT_TEXTS if kind == "ngram" else 0)) * sample_s
    if is_first:
        parts["pretraining"] = first * step_s
        training.append(f"generation 0 ({'counts' if kind == 'ngram' else f'{first:,} steps'})")
        parts["evaluating"] = evaluating_s
    k = config.curation.inf_pool if config.curation.k == "inf" else config.curation.k
    curating_s = 0.0 if picked else (config.curation.picks or config.policy.asked(n)) * k * sample_s
    round_s = curating_s + steps * step_s + evaluating_s
    return Plan(parts, training, n, shape, describe() + threads, rounds, round_s, config.data.is_text)


def fit_seconds(config: StudyConfig) -> tuple[float, float]:
    """Seconds of a training step and of a sample of an autoencoder or a transformer, measured on noise.

    Where a step is long a few samples are measured, and of a text its first tokens; the rest is taken to last in
    proportion.
    """
    shape, train, is_text = sample_shape(config.data), config.train, config.data.is_text
    first = (min(shape[0], FEW_TOKENS),) if is_text else shape
    size = config.data.vocabulary if config.data.tokenizer == "bpe" else CHARACTERS
    more: dict[str, Any] = {"vocabulary": {"size": size}} if is_text else {}
    rng, own = np.random.default_rng(0), generator_class(config)

    def learn(n: int) -> float:
        table = train.model_copy(update={"pretrain_steps": FEW_STEPS, "batch_size": n})
        generator = own.build(shape, config.network, table, config.sampling, **more)
        x = rng.integers(64, size=(n, *shape)).astype(np.int64 if is_text else np.uint8)
        rows = real_only(Rows(torch.from_numpy(x)))
        return typical_seconds(lambda: generator.fit(rows, None, 0), train.pretrain_steps // FEW_STEPS) / FEW_STEPS

    few, at_once = min(train.batch_size, FEW), min(config.sampling.batch_size, config.evaluation.samples)
    step_s = learn(few) * train.batch_size / few
    if step_s <= LONG_STEP_S and few < train.batch_size:
        step_s = learn(train.batch_size)
    writer = own.build(first, config.network, train, config.sampling, **more)
    batches = -(-config.evaluation.samples // at_once)
    sample_s = typical_seconds(lambda: writer.sample(np.arange(at_once)), batches) / at_once
    # a text's first token is drawn without the network
    return step_s, sample_s * ((shape[0] - 1) / (first[0] - 1) if is_text else 1)


def counting_seconds(config: StudyConfig, real: RealData) -> tuple[float, float]:
    """Seconds of counting the real texts, and of writing one by the counts, measured on some of them."""
    assert real.vocabulary is not None
    tables = config.network, config.train, config.sampling
    own: Any = generator_class(config)
    untrained, some = own.build(real.x.shape[1:], *tables, vocabulary=real.vocabulary.as_json()), real.x[:COUNTED]
    rows = real_only(Rows(torch.from_numpy(some)))
    began = time.perf_counter()
    counted = untrained.fit(rows, None, 0)
    fit_s = (time.perf_counter() - began) * len(real) / len(some)
    batches = -(-config.evaluation.samples // WRITTEN)
    return fit_s, typical_seconds(lambda: counted.sample(np.arange(WRITTEN)), batches) / WRITTEN


def tuning_steps(config: StudyConfig) -> float:
    """Steps of a flow's fine-tuning, in steps of flow matching; those of DPO evaluate the reference as well."""
    steps, learner = config.train.finetune_steps, config.learner
    if learner.kind not in PREFERENCE_LEARNERS:
        return steps
    reference = steps if learner.reference_steps == "auto" else learner.reference_steps
    return reference + steps * EVALUATIONS * (1 + 1 / STEP_PASSES)


def untrained(config: StudyConfig, study: Study | None = None) -> list[str]:
    """Those of 'classifier', 'judge' and 'generator' that have to be trained: no file, starter or study has them."""
    names = ["classifier", *(["judge"] if config.judge.enabled else [])] if len(sample_shape(config.data)) == 3 else []
    wanted = [name for name in names if not (getattr(config, name).file or is_starter(config, name))]
    if study is not None:
        wanted = [name for name in wanted if not study.weights_path(name).exists()]
    is_there = study is not None and study.store.latest_cut() is not None
    return wanted if is_there or config.network.file or is_starter(config, "generator") else [*wanted, "generator"]


def copy_starter(study: Study, part: str, path: Path) -> bool:
    """Copies weights that ship for this data set, if the study asks for just these; True if it did.

    Args:
        study: the study.
        part: 'generator', 'classifier' or 'judge'.
        path: where they go.
    """
    if not is_starter(study.config, part):
        return False
    copy_checkpoint(STARTERS / study.config.data.dataset / f"{part}.safetensors", path)
    return True


def is_starter(config: StudyConfig, part: str) -> bool:
    """True if weights of a 'generator', 'classifier' or 'judge' that ship are those of the settings."""
    starter = STARTERS / config.data.dataset / f"{part}.safetensors"
    if config.data.n or (part == "generator" and has_conditions(config)) or not sidecar_path(starter).exists():
        return False
    table = "network" if part == "generator" else "classifier"
    wanted = getattr(config, table)
    return type(wanted)(**load_checkpoint(starter).config[table]) == wanted


def copy_donated(study: Study, donor: Study | None, part: str, path: Path) -> bool:
    """Copies a donor's generation 0 or classifier, if there is one; True if it did. Arguments as `copy_starter`.

    Raises:
        ValueError: the donor's pretraining is another.
    """
    if donor is None:
        return False
    if donor.config.pretraining != study.config.pretraining:
        raise ValueError(f"{donor.path} was pretrained with other settings or another seed than {study.path}.")
    source = donor.checkpoint_path(0) if part == "generator" else donor.weights_path(part)
    if not source.exists() or (part == "generator" and donor.store.latest_cut() is None):
        return False
    copy_checkpoint(source, path)
    study.store.log("worker", f"{part}_copied", source=donor.path.resolve().name)
    return True


def take_pretrained(study: Study, path: Path, report: Report) -> bool:
    """Writes the flow that `network.file` names as generation 0; False if it names none."""
    if not study.config.network.file or study.config.network.kind == "diffusers":
        return False
    generator = pretrained(study.config, partial(report, "downloading"))
    generator.flow.save(path)
    located = generator.located
    study.store.log("worker", "generator_taken", source=located.source, sha256=located.sha256)
    return True


def copy_checkpoint(source: Path, path: Path) -> None:
    """Copies a checkpoint, after verifying it; the weights come last, since a checkpoint is there once they are."""
    load_checkpoint(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    for from_, to in ((sidecar_path(source), sidecar_path(path)), (source, path)):
        draft = to.with_name(f".{to.name}")
        shutil.copyfile(from_, draft)
        draft.replace(to)


@dataclass(frozen=True, slots=True)
class WrittenGenerator:
    """A generator that was written to a file.

    Attributes:
        sha256: of the file.
        parameters: numbers that training can change.
        sheets: the folder with pictures of samples along the way; None where it wasn't trained here.
    """

    sha256: str
    parameters: int
    sheets: Path | None

    @classmethod
    def of(cls, flow: Flow, sha256: str, sheets: Path | None = None) -> Self:
        """The facts of a flow that was written."""
        return cls(sha256, sum(parameter.numel() for parameter in flow.network.parameters()), sheets)


def pretrain(config: StudyConfig, path: Path, report: Report) -> WrittenGenerator:
    """Trains the generator that a study with these settings would begin with, and writes it.

    Called again after an interruption, it continues from the last snapshot. Pictures of samples along the way go into
    a folder beside the file.

    Args:
        config: the settings.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: the network doesn't go with the data, or isn't a flow.
        NonFiniteLossError: training diverged.
    """
    if config.network.kind in OTHERS:
        raise ValueError(f"curate pretrain is for flows, and network.kind is '{config.network.kind}'.")
    real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
    sheets = path.with_name(f"{path.stem}-samples")
    pixels, of, conditions = to_bytes(real.x), None, StudyConditions.of(config, real.label_names)
    rows = pixels
    if conditions is not None:
        of = conditions.of_labels(real.labels)
        rows, of = pixels[torch.from_numpy(of >= 0)], of[of >= 0]
    asked, on_step = None if conditions is None else conditions.asked, partial(report, "pretraining")
    part = rows_of(rows, of, conditions)
    sha256 = train_first(config, part, path, on_step, lambda step, _, png: write_sheet(sheets, step, png), asked)
    flow = Flow.load(path, config.train, config.sampling)
    _, png = sheet(flow, config, pixels)
    from_main(lambda: write_sheet(sheets, config.train.pretrain_steps, png))
    return WrittenGenerator.of(flow, sha256, sheets)


def take(config: StudyConfig, path: Path, report: Report) -> WrittenGenerator:
    """Writes the generator that `network.file` names, torchcfm's or this project's, in this project's format.

    Args:
        config: the settings, which it has to go with.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: it can't be read or doesn't go with the settings.
        DownloadError: it can't be downloaded.
    """

    def take_it() -> WrittenGenerator:
        flow = pretrained(config, partial(report, "downloading")).flow
        return WrittenGenerator.of(flow, flow.save(path))

    return from_main(take_it)

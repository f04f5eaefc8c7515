"""A study's preparation before its first round: the classifier that judges its images, and generation 0.

Both are trained, or come from files and starters; `curate pretrain` makes generation 0 outside any study.
"""

import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

import model as model_package
from data.config import DataConfig
from data.datasets import RealData, load, load_test, sample_shape
from data.measurements import Measurements
from data.records import Generation
from loop.config import StudyConfig
from loop.evaluation import Evaluation, Evaluator
from loop.generators import load_generator, pretrained, train_first
from loop.pictures import to_bytes
from loop.scoring import Scorer
from loop.study import Study
from model import weights_import
from model.checkpoint import load as load_checkpoint
from model.checkpoint import sidecar_path
from model.classifier import Classifier
from model.classifier_training import Labelled, accuracy, train_classifier
from model.config import ClassifierConfig
from model.devices import describe
from model.distributed import from_main
from model.flow import Flow
from model.interfaces import Report
from model.noise import derive_seed
from model.training_state import Snapshotter

PURPOSES = {"classifier": 0xC1A55, "judge": 0x10D6E}  # each trains from a seed of its own
STARTERS = Path(model_package.__file__).parent / "starters"


def trained(config: StudyConfig, real: RealData, name: str, path: Path, report: Report) -> Classifier:
    """The study's 'classifier' or 'judge', trained on the real images; measured on the test set where there is one.

    Its training is kept beside the checkpoint on the way, and goes on from there where it was interrupted.

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
    about = to_bytes(real.x), real.labels, real.label_names, table, seed
    try:
        found = train_classifier(*about, reports[0], unseen, snapshotter, reports[1])
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"The device has too little memory to train the {name} on {table.batch_size} images at once: set "
            f"{name}.batch_size lower."
        ) from error
    found = replace(found, sha256=found.save(path))
    snapshotter.done()
    return found


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
    found = weights_import.read_huyvnphan(weights)
    try:
        test = unseen_images(DataConfig(dataset="cifar10", path=path), found.label_names)
    except (OSError, RuntimeError) as error:  # torchvision's words for a download that fails
        why = f"CIFAR-10 can't be had ({error}): the accuracy is not measured and not stored; --path names a copy."
        return found, why
    if test is None:
        return found, f"There is no folder `test` in {path}: the accuracy is not measured and not stored."
    return replace(found, accuracy=accuracy(found, *test)), ""


def unseen_images(data: DataConfig, label_names: tuple[str, ...]) -> Labelled | None:
    """Images and labels that no training sees, where the data set has them.

    Raises:
        ValueError: they are of other classes than these.
        OSError: they couldn't be downloaded.
    """
    found = load_test(data)
    if found is None:
        return None
    if found.label_names != label_names:
        raise ValueError(f"The test images have classes {found.label_names}, and {label_names} were expected.")
    return to_bytes(found.x), found.labels


def read_images(study: Study, report: Report) -> None:
    """Reads the study's real data, on rank 0 for all processes, and keeps them with it."""
    real = from_main(lambda: study.read_real(partial(report, "reading images")))
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
        return Evaluator(study, Scorer(study.config, None, real.label_names))
    scorer = _prepare_classifier(study, "classifier", report, donor)
    if not study.config.judge.enabled:
        return Evaluator(study, scorer)
    judge = _prepare_classifier(study, "judge", report, donor)
    if judge.label_names != scorer.label_names:
        raise ValueError(f"The judge knows the classes {judge.label_names}, the classifier {scorer.label_names}.")
    return Evaluator(study, scorer, judge)


def _prepare_classifier(study: Study, name: str, report: Report, donor: Study | None) -> Scorer:
    """The scorer that goes by the study's 'classifier', or its 'judge'."""
    path = study.weights_path(name)
    if not from_main(lambda: _has_classifier(study, name, path, donor)):
        found = trained(study.config, study.real, name, path, report)
        from_main(lambda: study.store.log("worker", f"{name}_trained", accuracy=found.accuracy))
    classifier = Classifier.load(path)
    return Scorer(study.config, classifier, classifier.label_names)


def _has_classifier(study: Study, name: str, path: Path, donor: Study | None) -> bool:
    """True if the classifier is there, after copying the one that the study names, a starter's or a donor's."""
    file = getattr(study.config, name).file
    if file and not path.exists():
        _check_images(Classifier.load(Path(file)), study, name)
        copy_checkpoint(Path(file), path)
    return path.exists() or _copy_starter(study, name, path) or _copy_donated(study, donor, name, path)


def _check_images(classifier: Classifier, study: Study, name: str) -> None:
    wanted = sample_shape(study.config.data)
    if classifier.shape != wanted:
        theirs, ours = (
            f"{width} x {height} pixels, {channels} channels" for channels, height, width in (classifier.shape, wanted)
        )
        raise ValueError(f"{name}.file is for images of {theirs}; the study's have {ours}: name another file.")


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
        return
    path = study.checkpoint_path(0)
    if not from_main(
        lambda: (
            _copy_starter(study, "generator", path)
            or _copy_donated(study, donor, "generator", path)
            or _take_pretrained(study, path, report)
        )
    ):
        train_first(study.config, evaluator.real_kept, path, partial(report, "pretraining"))
    evaluator.score_real(partial(report, "scoring real data"))
    report("evaluating", 0, 1)
    evaluation, of_real = evaluator.of(load_generator(study, 0), 0, None), evaluator.of_real()
    from_main(lambda: _publish_first(study, evaluator, evaluation, of_real))


def _publish_first(study: Study, evaluator: Evaluator, evaluation: Evaluation, of_real: Measurements) -> None:
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


def _copy_starter(study: Study, what: str, path: Path) -> bool:
    """Copies the weights that ship for this data set, if the study asks for just these; says whether it did."""
    starter = STARTERS / study.config.data.dataset / f"{what}.safetensors"
    if study.config.data.n or not sidecar_path(starter).exists():
        return False
    config = load_checkpoint(starter).config
    table = "network" if what == "generator" else "classifier"
    wanted = getattr(study.config, table)
    if type(wanted)(**config[table]) != wanted:
        return False
    copy_checkpoint(starter, path)
    return True


def _copy_donated(study: Study, donor: Study | None, what: str, path: Path) -> bool:
    """Copies a donor's generation 0 or classifier, if there is one; says whether it did."""
    if donor is None:
        return False
    if donor.config.pretraining != study.config.pretraining:
        raise ValueError(f"{donor.path} was pretrained with other settings or another seed than {study.path}.")
    source = donor.checkpoint_path(0) if what == "generator" else donor.weights_path(what)
    if not source.exists() or (what == "generator" and donor.store.latest_cut() is None):
        return False
    copy_checkpoint(source, path)
    study.store.log("worker", f"{what}_copied", source=donor.path.resolve().name)
    return True


def _take_pretrained(study: Study, path: Path, report: Report) -> bool:
    """Takes generation 0 from the file that study.toml names, if it names one; says whether it did."""
    if not study.config.network.file:
        return False
    found = pretrained(study.config, partial(report, "downloading"))
    found.flow.save(path)
    study.store.log("worker", "generator_taken", source=found.located.source, sha256=found.located.sha256)
    return True


def copy_checkpoint(source: Path, path: Path) -> None:
    """Copies a checkpoint, after verifying it; the weights come last, since they are what is looked for."""
    load_checkpoint(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    for from_, to in ((sidecar_path(source), sidecar_path(path)), (source, path)):
        draft = to.with_name(f".{to.name}")
        shutil.copyfile(from_, draft)
        draft.replace(to)


@dataclass(frozen=True, slots=True)
class Made:
    """A generator that was written: its file's SHA-256, how many numbers it holds, where its pictures are."""

    sha256: str
    parameters: int
    sheets: Path | None


def pretrain(config: StudyConfig, path: Path, report: Report) -> Made:
    """Trains the generator that a study with these settings would begin with, and writes it.

    Interrupted, it goes on from the last time it was kept when it is called again. Pictures of samples along the way
    go into a folder beside the file.

    Args:
        config: the settings.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: the network doesn't go with the data.
        NonFiniteLossError: training diverged.
    """
    real = from_main(lambda: load(config.data, config.seed, on_read=partial(report, "reading images")))
    sheets = path.with_name(f"{path.stem}-samples")
    sha256 = train_first(config, to_bytes(real.x), path, partial(report, "pretraining"), sheets)
    return Made(sha256, _parameters(Flow.load(path, config.train, config.sampling)), sheets)


def take(config: StudyConfig, path: Path, report: Report) -> Made:
    """Writes the generator that `network.file` names, one of torchcfm's or of ours, in our format.

    Args:
        config: the settings, which it has to go with.
        path: of the weights, .safetensors.
        report: called with the phase and how far it is.

    Raises:
        ValueError: it can't be read or doesn't go with the settings.
        DownloadError: it can't be downloaded.
    """

    def take_it() -> Made:
        flow = pretrained(config, partial(report, "downloading")).flow
        return Made(flow.save(path), _parameters(flow), None)

    return from_main(take_it)


def _parameters(flow: Flow) -> int:
    return sum(parameter.numel() for parameter in flow.network.parameters())

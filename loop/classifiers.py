"""Trains the classifiers that judge a study's images: the one behind the reward, and the second opinion."""

from data.real import RealData, load_test
from loop.config import StudyConfig
from loop.tensors import to_bytes
from model.classifier import Classifier
from model.classifier_training import Labelled, accuracy, train_classifier
from model.config import ClassifierConfig
from model.interfaces import OnStep
from model.noise import derive_seed

PURPOSES = {"classifier": 0xC1A55, "judge": 0x10D6E}  # each trains from a seed of its own


def trained(config: StudyConfig, real: RealData, name: str, on_step: OnStep | None) -> Classifier:
    """The study's 'classifier' or 'judge', trained on the real images; measured on the test set where there is one."""
    table: ClassifierConfig = getattr(config, name)
    seed = derive_seed(config.seed, PURPOSES[name])
    return train_classifier(
        to_bytes(real.x), real.labels, real.label_names, table, seed, on_step, test_images(config, real)
    )


def measured(config: StudyConfig, real: RealData, classifier: Classifier) -> float:
    """The accuracy of a classifier from elsewhere, on the test set, or on the real images where there is none."""
    return accuracy(classifier, *(test_images(config, real) or (to_bytes(real.x), real.labels)))


def test_images(config: StudyConfig, real: RealData) -> Labelled | None:
    """Images and labels that no training sees, where the data set has them.

    Raises:
        ValueError: they are of other classes than the real data.
    """
    found = load_test(config.data)
    if found is None:
        return None
    if found.label_names != real.label_names:
        raise ValueError(f"The test images have classes {found.label_names}, the others {real.label_names}.")
    return to_bytes(found.x), found.labels

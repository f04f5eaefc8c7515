"""Which settings a replay may change: those that say what trains, not those behind the log and the measurements."""

from collections.abc import Sequence
from typing import Any

from loop.config import StudyConfig, build, known_keys, override, plain, put

MAY_CHANGE = ("mix.", "quality.", "train.", "curation.extend")
MAY_NOT = ("train.pretrain_", "train.augment")


def replayed_config(source: StudyConfig, settings: Sequence[str], given: dict[str, Any]) -> StudyConfig:
    """The old study's settings with others put in.

    Args:
        source: the old study's.
        settings: as for --set.
        given: values by the setting's full name; None leaves it.

    Raises:
        ValueError: an unknown setting or value, or one that says how the log, generation 0 or the figures were made.
    """
    chosen = {key: value for key, value in given.items() if value is not None}
    config = build(put(override(source.model_dump(), settings), chosen, "replay"), "replay")
    for key in changes(source, config):
        if not key.startswith(MAY_CHANGE) or key.startswith(MAY_NOT):
            raise ValueError(
                f"{key} can't be changed in a replay: it says how generation 0, the log or the figures were made. "
                "What trains may change: mix.*, quality.*, curation.extend, and train.* but for pretraining."
            )
    return config


def changes(source: StudyConfig, config: StudyConfig) -> dict[str, dict[str, Any]]:
    """The settings that differ, by full name: {was, now}, as plain values."""
    was, now = plain(source.model_dump()), plain(config.model_dump())
    found = {}
    for key in known_keys():
        before, after = (_value(values, key) for values in (was, now))
        if before != after:
            found[key] = {"was": before, "now": after}
    return found


def _value(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values

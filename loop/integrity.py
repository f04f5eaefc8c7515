"""`curate check`: whether a study is whole. Reads everything, changes nothing, needs no torch."""

import hashlib
import json
from pathlib import Path

from data.images import damaged
from loop.study import Study

IMPORTED = "imported"  # a log without its generators


def faults(study: Study) -> list[str]:
    """What is wrong with a study, in sentences; empty when it is sound."""
    store = study.store
    found = store.faults()
    found += [f"image {sha256} doesn't hold what its name says" for sha256 in damaged(store.images())]
    for name in ("classifier", "judge"):
        if study.weights_path(name).exists():
            found += _file_faults(study.weights_path(name), None, f"the {name}")
    for generation in store.generations():
        if generation.policy == IMPORTED:
            continue
        path = study.checkpoints / generation.checkpoint
        found += _file_faults(path, generation.checkpoint_sha256, f"generation {generation.t}: checkpoint {path.name}")
        asked = generation.metrics.get("curated")
        if asked and sum(asked[kind] for kind in ("human", "sim", "proxy")) != generation.n_curated:
            found.append(f"generation {generation.t}: the curated counts don't add up to {generation.n_curated}")
    shared = store.shared_samples()
    if shared:
        found.append(f"{shared} sample(s) stand in more than one curation slate; the slates must be disjoint")
    found += [
        f"pick {id_} names position {position}, which slate {slate} lacks"
        for id_, position, slate in store.lost_picks()
    ]
    found += [f"slate {id_} holds {n} samples, not its K = {k}" for id_, k, n in store.uneven_slates()]
    return found


def _file_faults(path: Path, sha256: str | None, name: str) -> list[str]:
    """Whether weights are there, are those that the database recorded (if it did), and match their sidecar."""
    if not path.is_file():
        return [f"{name} is missing"]
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        return [f"{name} is damaged (its sha256 is not the recorded one)"]
    try:
        recorded = json.loads(path.with_suffix(".json").read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return [f"{name} has no readable sidecar {path.with_suffix('.json').name}"]
    return [] if recorded == found else [f"{name} doesn't match its sidecar"]

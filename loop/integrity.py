"""`curate check`: whether a study is whole. Reads everything, changes nothing, needs no torch."""

import hashlib
import json

from data.images import damaged
from data.records import Generation
from loop.study import Study


def faults(study: Study) -> list[str]:
    """What is wrong with a study, in sentences; empty when it is sound."""
    store = study.store
    found = store.faults()
    found += [f"image {sha256} doesn't hold what its name says" for sha256 in damaged(store.images())]
    for generation in store.generations():
        found += _checkpoint_faults(study, generation)
        asked = generation.metrics.get("curated")
        if asked and sum(asked[kind] for kind in ("human", "sim", "proxy")) != generation.n_curated:
            found.append(f"generation {generation.t}: the curated counts don't add up to {generation.n_curated}")
    shared = store.shared_samples()
    if shared:
        found.append(f"{shared} sample(s) stand in more than one curation slate; the slates must be disjoint")
    found += [f"slate {id_} holds {n} samples, not its K = {k}" for id_, k, n in store.uneven_slates()]
    return found


def _checkpoint_faults(study: Study, generation: Generation) -> list[str]:
    path = study.checkpoints / generation.checkpoint
    name = f"generation {generation.t}: checkpoint {path.name}"
    if not path.is_file():
        return [f"{name} is missing"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != generation.checkpoint_sha256:
        return [f"{name} is damaged (its sha256 is not the recorded one)"]
    try:
        recorded = json.loads(path.with_suffix(".json").read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return [f"{name} has no readable sidecar {path.with_suffix('.json').name}"]
    return [] if recorded == generation.checkpoint_sha256 else [f"{name} doesn't match its sidecar"]

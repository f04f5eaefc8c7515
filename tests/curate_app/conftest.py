"""Studies of real digits without a worker: published generations, slates, contact sheets."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from data.images import contact_sheet, encode_png
from data.real import digits
from data.records import Generation, NewSlate, Sample
from loop.study import Study, configure

MakeStudy = Callable[..., Study]


def publish(study: Study, t: int, *, slates: int = 12, audit: int = 4, share: float = 0.1) -> None:
    """Generation t with a contact sheet, class shares in which class 3 has `share`, and free slates."""
    store, real, rng = study.store, digits(), np.random.default_rng(t)
    k = study.config.curation.k
    assert isinstance(k, int)
    sheet, sheet_png = encode_png(contact_sheet(real.x[rng.choice(len(real), 16)], 8))
    metrics = {
        "mean_reward": {"value": 1.0 + 0.1 * t, "se": 0.01},
        "class_shares": [share if label == 3 else (1 - share) / 9 for label in range(10)],
        "class_names": list("0123456789"),
        "nn_ratio": 0.9,
        "grid_sha256": sheet,
        "grid_columns": 8,
    }
    made = []
    for index in range(slates + audit):
        chosen = rng.choice(len(real), k, replace=False)
        pngs = [encode_png(real.x[i]) for i in chosen]
        store.add_images(pngs)
        samples = [Sample(t, 1000 * index + j, 0.5, int(real.labels[i]), pngs[j][0]) for j, i in enumerate(chosen)]
        made.append(NewSlate(t, "curation" if index < slates else "audit", k, index, samples))
    with store.write():
        store.add_images([(sheet, sheet_png)])
        store.publish(Generation(t, t - 1 if t else None, f"{t}.safetensors", "ab" * 32, 1797, 0, "mix", metrics=metrics))
        store.add_slates(made)


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """A factory: settings as for --set, the number of generations, the worker's phase (None: no worker)."""
    opened: list[Study] = []

    def make(*settings: str, generations: int = 1, phase: str | None = "idle") -> Study:
        study = Study.create(tmp_path / f"study-{len(opened)}", configure("digits", settings))
        opened.append(study)
        for t in range(generations):
            publish(study, t, share=0.1 + 0.05 * t)
        if phase:
            study.store.set_status("worker", phase=phase, done=0.25, left_s=18)
        return study

    yield make
    for study in opened:
        study.store.close()


@pytest.fixture
def study(make_study: MakeStudy) -> Study:
    """One generation, an idle worker."""
    return make_study()

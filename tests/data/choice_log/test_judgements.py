"""Worst picks and ties in every format: one best-and-worst slate of four, one tie of two, with images."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.choice_log import Source, find_format
from data.choice_log.export import CARD, export
from data.images import encode_png
from data.records import Generation, NewSlate, Pick, Sample
from data.store import Store


@pytest.fixture
def judged(tmp_path: Path) -> Iterator[Store]:
    """Slate 1: best at 2, worst at 0. Slate 2: a tie."""
    store = Store.create(tmp_path / "study.db")
    store.publish(Generation(0, None, "g0", "ab" * 32, 10, 0, ""))
    store.add_session("ann", store.add_rater("human", panel="panel", panel_rater_id="ann"))
    pngs = [encode_png(np.full((4, 4, 3), value, dtype=np.uint8)) for value in range(6)]
    store.add_images(pngs)
    samples = [Sample(0, i, 0.1 * i, i, sha256) for i, (sha256, _) in enumerate(pngs)]
    store.add_slates([NewSlate(0, "curation", 4, 8, samples[:4]), NewSlate(0, "curation", 2, 9, samples[4:])])
    leased = [store.lease("ann", ("curation",), 0, 60) for _ in range(2)]
    assert {slate.id for slate in leased if slate} == {1, 2}
    for answer in (Pick(1, "pick", 2, worst=0), Pick(2, "tie")):
        store.record_pick("ann", answer)
    yield store
    store.close()


@pytest.fixture
def written(judged: Store, tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        format_ = find_format(name)
        export(Source(judged, "study", "salt"), format_, tmp_path / name, replace=True)
        return tmp_path / name / format_.file

    return write


def test_the_tables_mark_the_worst_and_the_tie(written):
    for table in (pd.read_csv(written("long-csv")), pd.read_parquet(written("long-parquet"))):
        assert table[table.worst == 1][["slate_id", "position"]].to_numpy().tolist() == [[1, 0]]
        assert table[table.picked == 1][["slate_id", "position"]].to_numpy().tolist() == [[1, 2]]
        assert set(table[table.outcome == "tie"].slate_id) == {2}
    wide = pd.read_csv(written("wide-csv"))
    assert wide.picked.tolist()[0] == 2 and wide.worst.tolist()[0] == 0
    assert wide.picked.isna().tolist() == wide.worst.isna().tolist() == [False, True]
    answers = pd.read_parquet(written("hf"))
    assert answers.worst.tolist()[0] == 0 and answers.outcome.tolist() == ["pick", "tie"]


def test_pairs_are_the_best_over_all_and_all_over_the_worst(written):
    trl = pd.read_parquet(written("trl"))
    pairs = {(3, 1), (3, 2), (3, 4), (2, 1), (4, 1)}  # ids of samples; the one at position 2 is 3
    assert set(zip(trl.chosen_sample_id, trl.rejected_sample_id, strict=True)) == pairs and len(trl) == 5
    assert len(json.loads(written("hpd").read_text())) == 5
    dpo = pd.read_parquet(written("diffusion-dpo"))
    assert len(dpo) == 5 and (dpo.label_0 + dpo.label_1 == 1).all()
    for name in ("trl", "hpd", "diffusion-dpo", "imagefolder"):
        assert "1: both as good" in (written(name).parents[name in ("diffusion-dpo", "imagefolder")] / CARD).read_text()


def test_formats_that_know_ties_mark_them(written):
    pick_a_pic = pd.read_parquet(written("pickapic"))
    assert sorted(pick_a_pic.label_0 + pick_a_pic.label_1) == [1.0] * 6
    tie = pick_a_pic[pick_a_pic.label_0 == 0.5]
    assert tie.slate_id.tolist() == [2] and tie.best_image_uid.tolist() == ["tie"]
    better = pick_a_pic[pick_a_pic.slate_id == 1]
    assert (better.best_image_uid == better.image_0_uid.where(better.label_0 == 1, better.image_1_uid)).all()
    orders = [line for line in written("preflib").read_text().splitlines() if not line.startswith("#")]
    assert orders == ["1: 3,{2,4},1", "1: {5,6}"]
    log = json.loads(written("choix").read_text())
    assert log["data"] == [[2, [0, 1, 3]]] and log["slate_ids"] == [1]
    assert log["worst"] == [[1, 0, [1, 3]]] and log["ties"] == [[2, 4, 5]]

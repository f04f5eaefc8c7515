"""Comparisons, read by choix, preflibtools and as code for Pick-a-Pic and HPD does: the picks are the study's."""

import json

import choix
import numpy as np
import pandas as pd
from preflibtools.instances import OrdinalInstance


def compared(truth) -> dict[int, tuple[int, set[int]]]:
    return {s: (won, set(truth.slates[s]) - {won}) for s, won in truth.picks.items() if len(truth.slates[s]) > 1}


def test_choix_gets_winners_and_losers(write, truth):
    path, written = write("choix")
    log = json.loads(path.read_text())
    sample = [item["sample_id"] for item in log["items"]]
    found = {
        slate: (sample[won], {sample[one] for one in losers})
        for slate, (won, losers) in zip(log["slate_ids"], log["data"], strict=True)
    }
    assert found == compared(truth) and written.rows == len(log["data"]) and log["n_items"] == len(sample)
    labels = [item["label"] if item["label"] is not None else 10 for item in log["items"]]
    data = [(labels[won], [labels[one] for one in losers]) for won, losers in log["data"]]
    assert np.isfinite(choix.opt_top1(11, data, alpha=0.1)).all()


def test_preflibtools_reads_the_orders(write, truth):
    path, written = write("preflib")
    orders = OrdinalInstance(str(path))
    sample = {number: int(name.split()[1]) for number, name in orders.alternatives_name.items()}
    found = sorted(
        (sample[order[0][0]], sorted(sample[one] for one in order[1]))
        for order in orders.orders
        for _ in range(orders.multiplicity[order])
    )
    assert found == sorted((won, sorted(losers)) for won, losers in compared(truth).values())
    assert orders.data_type == "toi" and orders.num_voters == written.rows and orders.num_alternatives == len(sample)


def test_pick_a_pic_code_finds_the_better_picture(write, truth, study):
    pairs = pd.read_parquet(write("pickapic")[0])
    sha256 = {row["id"]: row["image_sha256"] for row in study.rows("SELECT id, image_sha256 FROM sample")}
    wanted = {slate: one for slate, one in compared(truth).items() if sha256[one[0]]}
    assert set(pairs.slate_id) == set(wanted)
    for slate, rows in pairs.groupby("slate_id"):
        won, losers = wanted[int(slate)]  # pyright: ignore[reportArgumentType]
        better = rows.image_0_uid.where(rows.label_0 == 1, rows.image_1_uid)
        worse = rows.image_0_uid.where(rows.label_0 == 0, rows.image_1_uid)
        assert set(better) == {sha256[won]} == set(rows.best_image_uid)
        assert sorted(worse) == sorted(sha256[one] for one in losers)
    first = pairs.iloc[0]
    assert first.jpg_0["bytes"] == study.image(first.image_0_uid) and (pairs.label_0 + pairs.label_1 == 1).all()


def test_hpd_records_name_files_that_are_there(write, truth, study):
    path, written = write("hpd")
    records = json.loads(path.read_text())
    assert len(records) == written.rows == 2 * len({record["slate_id"] for record in records})
    sha256 = {row["id"]: row["image_sha256"] for row in study.rows("SELECT id, image_sha256 FROM sample")}
    for record in records:
        won = record["image_path"][record["human_preference"].index(1)]
        assert won == f"images/{sha256[truth.picks[record['slate_id']]]}.png" and sum(record["human_preference"]) == 1
        assert all((path.parent / one).is_file() for one in record["image_path"])

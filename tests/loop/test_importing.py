"""Export, import, export: the same file; and every fault of a log is told with its line and column."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from data.choice_log import Source, find_format
from data.choice_log.export import export
from data.choice_log.reader import LogFaultsError
from data.records import ExclusionRule, NewSlate, Pick, Sample
from data.store import Store
from loop.importing import import_log
from loop.study import Study, StudyExistsError, configure, faults

TEXTS = ("=1+1", "'=1", "two\nlines", "😀 \u202eעברית", "<script>", "'; DROP TABLE pick; --", 'a,"b"', "-1", "\t")


@pytest.fixture
def logged(store: Store, fill: Callable[..., list[int]]) -> Store:
    """Hostile texts, a 'none', a repeated slate, a practice copy, flags, an exclusion, points and K = inf."""
    (template,) = fill(store, n=1, purpose="practice")
    practice = store.lease_copy("ann", template, [1, 2, 0], 3, 60)
    store.record_pick("ann", Pick(practice.id, "pick", 0))
    for text in ("=x", "\r"):
        slate = store.lease("ann", ("curation",), 0, 60)
        assert slate is not None
        store.record_pick("ann", Pick(slate.id, "pick", 2, rt_ms=700, input=text, viewport=text, blur_count=3))
    assert store.lease("bob", ("curation",), 0, 60)
    store.record_pick("bob", Pick(3, "none"))
    again = store.lease_copy("ann", 1, [2, 0, 1], 7, 60)
    store.record_pick("ann", Pick(again.id, "pick", 1))
    store.set_flags([(2, {"too_fast": True})], [("ann", {"inconsistent": True})])
    store.exclude(1, 0, 99, ExclusionRule(picks=("too_fast",)))
    store.withdraw("bob")
    for i, text in enumerate(TEXTS):
        user = store.bulk_session("sim", text, text)
        samples = [Sample(0, 50 + i, 0.1 + i, 1, point=(1e-9, 2.0), operative_reward=-0.5), Sample(0, 70 + i)]
        (slate,) = store.add_slates([NewSlate(0, "curation", 2, i, samples)], picked_by=[user])
        store.add_picks([(slate, user, 1, {})])
    three = [[Sample(0, 200 + 10 * j + i, 0.5) for i in range(k)] for j, k in enumerate((3, 2))]
    judged = store.add_slates([NewSlate(0, "curation", len(samples), 5, samples) for samples in three])
    user = store.bulk_session("sim", "judge")
    store.add_picks([(judged[0], user, 2, {})], worst=[1])
    store.add_picks([(judged[1], user, None, {})])  # a tie
    (infinite,) = store.add_slates([NewSlate(0, "curation", None, 9, [Sample(0, 4)])])
    store.add_picks([(infinite, store.bulk_session("proxy", "fit"), 0, {})])
    return store


def exported(store: Store, out: Path, name: str = "long-csv", study: str = "=study\n<1>") -> Path:
    export(Source(store, study, "a salt"), find_format(name), out)
    return out


@pytest.mark.parametrize("name", ["long-csv", "long-parquet"])
def test_export_import_export_is_the_same_file(logged: Store, tmp_path: Path, name: str):
    first = exported(logged, tmp_path / "first", name)
    assert import_log(first, tmp_path / "copy", configure("digits")) == (17, 0)
    copy = Study.open(tmp_path / "copy")
    export(Source(copy.store, "copy", "another salt"), find_format(name), tmp_path / "second")
    file = find_format(name).file
    assert (first / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    names = [sorted(one.name for one in (tmp_path / which / "images").iterdir()) for which in ("first", "second")]
    assert names[0] == names[1] and len(names[0]) == 9
    assert faults(copy) == []
    copy.store.close()


def test_images_may_be_known_by_their_hash_alone(logged: Store, tmp_path: Path):
    file = exported(logged, tmp_path / "log.csv")
    answers, missing = import_log(file, tmp_path / "copy", configure("digits"))
    copy = Study.open(tmp_path / "copy")
    assert (answers, missing) == (17, 9) and faults(copy) == []
    export(Source(copy.store, "copy"), find_format("long-csv"), tmp_path / "again.csv")
    assert file.read_bytes() == (tmp_path / "again.csv").read_bytes()
    copy.store.close()


def test_a_log_from_elsewhere_needs_four_columns(tmp_path: Path):
    (tmp_path / "log.csv").write_text(
        "sample_id,picked,choice_id,position,rt_ms\n7,0,1,0,5\n8,1,1,1,5\n7,0,2,0,\n9,0,2,1,\n"
    )
    assert import_log(tmp_path / "log.csv", tmp_path / "copy", configure("digits")) == (2, 0)
    copy = Study.open(tmp_path / "copy")
    rows = [row for batch in Source(copy.store, "x").batches() for row in zip(*batch.values(), strict=True)]
    columns = list(next(Source(copy.store, "x").batches()))
    got = [
        {name: row[columns.index(name)] for name in ("study", "outcome", "sample_id", "picked", "k")} for row in rows
    ]
    assert [tuple(one.values()) for one in got] == [
        ("log", "pick", 7, 0, 2), ("log", "pick", 8, 1, 2), ("log", "none", 7, 0, 2), ("log", "none", 9, 0, 2),
    ]  # fmt: skip
    copy.store.close()


CHANGES = {  # row (0 is the first below the head), column, new cell, what is said
    "not a number": (0, "rt_ms", "fast", "line 2, rt_ms: 'fast' is not a whole number"),
    "unknown purpose": (3, "purpose", "fun", "purpose: 'fun' is none of curation"),
    "no position": (1, "position", "5", "line 3, position: 5 where 1 should be"),
    "two picks": (0, "picked", "2", "picked: '2' is neither 0 nor 1"),
    "pick and outcome": (0, "picked", "0", "0 positions picked, and the outcome is pick"),
    "differs": (1, "slate_seed", "77", "line 3, slate_seed: 77 differs from 3"),
    "descending": (0, "choice_id", "99", "choice_id: 1 comes after 99"),
    "bad JSON": (2, "flags", "{", "line 4, flags: '{' is not an object"),
    "bad hash": (2, "image_sha256", "ab", "image_sha256: 'ab' is not a sha256"),
    "not finite": (0, "reward", "nan", "reward: 'nan' is not a finite number"),
    "another sample": (12, "reward", "7.5", "reward: sample"),
    "empty": (0, "sample_id", "", "line 2, sample_id: is empty"),
    "K": (0, "k", "9", "line 3, k: 3 differs from 9 above it"),
}


@pytest.mark.parametrize("fault", list(CHANGES))
def test_a_fault_is_told_with_its_line_and_column(logged: Store, tmp_path: Path, fault: str):
    number, column, cell, said = CHANGES[fault]
    rows = list(csv.DictReader(exported(logged, tmp_path / "log.csv", study="s").open(newline="", encoding="utf-8")))
    rows[number][column] = cell
    write_rows(tmp_path / "log.csv", rows)
    before = set(tmp_path.iterdir())
    with pytest.raises(LogFaultsError, match=r"log\.csv can't be imported") as told:
        import_log(tmp_path / "log.csv", tmp_path / "copy", configure("digits"))
    assert said in str(told.value)
    assert set(tmp_path.iterdir()) == before


def test_the_first_ten_faults_are_told_and_no_more(logged: Store, tmp_path: Path):
    rows = list(csv.DictReader(exported(logged, tmp_path / "log.csv", study="s").open(newline="", encoding="utf-8")))
    for row in rows:
        row["blur_count"] = "x"
    write_rows(tmp_path / "log.csv", rows)
    with pytest.raises(LogFaultsError) as told:
        import_log(tmp_path / "log.csv", tmp_path / "copy", configure("digits"))
    assert str(told.value).count("is not a whole number") == 10 and "the first ten" in str(told.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("choice_id,position,sample_id,picked,rewrd\n", "rewrd: no such column; did you mean reward?"),
        ("choice_id,position,sample_id\n", "picked: the column is missing"),
        ("choice_id,position,sample_id,picked\n1,0,1\n", "line 2, picked: 3 cells"),
        ("choice_id,position,sample_id,picked,panel_rater_id\n", "without --include-panel-ids"),
        ("choice_id,position,sample_id,picked,prob_0\n", "without --features"),
        ("", "the column is missing"),
        ('choice_id,position,sample_id,picked\n"1,0\n', "isn't CSV"),
    ],
)
def test_a_file_that_is_no_long_table_is_refused(tmp_path: Path, text: str, said: str):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(LogFaultsError) as told:
        import_log(tmp_path / "log.csv", tmp_path / "copy", configure("digits"))
    assert said in str(told.value) and not (tmp_path / "copy").exists()


def test_nothing_is_written_over_and_nothing_made_of_nothing(tmp_path: Path):
    (tmp_path / "there").mkdir()
    with pytest.raises(StudyExistsError):
        import_log(tmp_path / "log.csv", tmp_path / "there", configure("digits"))
    with pytest.raises(ValueError, match="no long table"):
        import_log(tmp_path / "log.csv", tmp_path / "copy", configure("digits"))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

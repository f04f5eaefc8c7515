"""A study with everything that an export has to carry, and with text in it that tries to be something else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.choice_log import Source, Written, find_format
from data.choice_log.export import export
from data.records import Generation, NewSlate, Pick, Sample
from data.store import Store

NASTY = (
    '=HYPERLINK("http://evil.example","x")', "+1+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\tx", "'=1", "''=1", "'", "＝1",
    "<script>alert(1)</script>", "'; DROP TABLE pick; --", 'a,b;"c"', "two\nlines", "two\r\nlines",
    "😀 ‎עברית‏ \u202eabc",
    "# {{7*7}} `x` | y", "NA", "null", "1e5", " padded ",
)  # fmt: skip
STUDY = '=cmd|"x"!A1 <b>&\nline | `code` 😀 \u202e'


@dataclass(frozen=True)
class Truth:
    """What the database says, asked table by table: slates as sample ids in display order, and the pick of each."""

    slates: dict[int, list[int]]
    picks: dict[int, int]  # by slate: the picked sample
    answers: dict[int, str]  # by slate: the outcome


@pytest.fixture
def study(store: Store, fill: Callable[..., list[int]]) -> Store:
    """Picks of people (one 'none', one repeated slate, every nasty text), of simulated users without images."""
    fill(store, n=len(NASTY))
    for text in NASTY:
        slate = store.lease("ann", ("curation",), 0, 60)
        assert slate is not None
        store.record_pick(
            "ann", Pick(slate.id, "pick", slate.id % 3, rt_ms=300, input=text, viewport=text, blur_count=0)
        )
    none = store.lease("bob", ("curation",), 0, 60)
    assert none is not None
    store.record_pick("bob", Pick(none.id, "none"))
    again = store.lease_copy("ann", 1, [2, 0, 1], 7, 60)
    store.record_pick("ann", Pick(again.id, "pick", 2))
    store.publish(Generation(1, 0, "g1", "cd" * 32, 10, 4, "mix", pick_cut=store.last_pick()))
    for number, text in enumerate(NASTY):
        user = store.bulk_session("sim", text, text)
        samples = [Sample(1, 10 * number + j, 0.1 * j - 1.5, j, point=(j + 0.5, -1e-7)) for j in range(2)]
        (slate,) = store.add_slates([NewSlate(1, "curation", 2, number, samples)], picked_by=[user])
        store.add_picks([(slate, user, number % 2, {})])
    user = store.bulk_session("sim", "infinite")
    (infinite,) = store.add_slates([NewSlate(1, "curation", None, 99, [Sample(1, 999, 2.0)])], picked_by=[user])
    store.add_picks([(infinite, user, 0, {"odd": True})])
    return store


@pytest.fixture
def truth(study: Store) -> Truth:
    """The study's own tables."""
    slates: dict[int, list[int]] = {}
    for row in study.rows("SELECT slate_id, sample_id FROM slate_item ORDER BY slate_id, position"):
        slates.setdefault(row["slate_id"], []).append(row["sample_id"])
    answers = {row["slate_id"]: row for row in study.rows("SELECT slate_id, outcome, position FROM pick")}
    return Truth(
        {slate: slates[slate] for slate in answers},
        {slate: slates[slate][row["position"]] for slate, row in answers.items() if row["outcome"] == "pick"},
        {slate: row["outcome"] for slate, row in answers.items()},
    )


@pytest.fixture
def write(study: Store, tmp_path: Path) -> Callable[..., tuple[Path, Written]]:
    """A function: exports the study in a format to a folder, and gives the data file and what was written."""

    def written(name: str, **options) -> tuple[Path, Written]:
        format_ = find_format(name)
        out = tmp_path / f"as-{name}"
        done = export(Source(study, STUDY, "salt", **options), format_, out)
        return out / format_.file, done

    return written

"""kill -9 of the worker at every place that matters: the same command goes on, and nothing is lost or doubled.

Run as a script, this file is the worker that dies. One place is tried in every run of the suite, `make kills` tries all
of them, before the first turn and after the third.
"""

import importlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data.store import queries
from loop.selfcheck import self_checks
from loop.study import Study, configure, faults
from loop.worker import Worker

SETTINGS = ("schedule.picks=8", "pool.size=12", "pool.audit=4", "curation.extend=proxy", "train.finetune_steps=45")
PICKS, SIMULATED = 8, 5


@dataclass(frozen=True)
class Place:
    """Where the worker dies: at the nth call of a function, before it or when it is done.

    Attributes:
        function: as module:name.
        done: the function has been done.
        nth: of the calls for which `argument`, where given, is the second argument.
        fresh: in a study that has no generation yet; else one is due.
        simulated: the researcher has asked for simulated users.
    """

    function: str
    done: bool = False
    nth: int = 1
    argument: str = ""
    fresh: bool = False
    simulated: bool = False


PLACES = {
    "generation 0 trained, nothing of it written": Place("model.flow:Flow.save", fresh=True),
    "generation 0 written, not measured": Place("model.flow:Flow.save", done=True, fresh=True),
    "generation 0 published, not committed": Place("data.store.generations:Generations.publish", done=True, fresh=True),
    "first slates stored, not committed": Place("data.store.slates:Slates.add_slates", done=True, fresh=True),
    "samples for the pool drawn": Place("loop.slates:draw", done=True),
    "samples for the pool being scored": Place("loop.scoring:Scorer.score"),
    "images of the pool stored, slates not": Place("data.store.slates:Slates.add_slates"),
    "slates of the pool stored, not committed": Place("data.store.slates:Slates.add_slates", done=True),
    "simulated users' slates stored, picks not": Place("data.store.slates:Picks.add_picks", simulated=True),
    "simulated users' picks not committed": Place("data.store.slates:Picks.add_picks", done=True, simulated=True),
    "flags set, not committed": Place("data.store.slates:Picks.set_flags", done=True),
    "turn settled, not committed": Place("loop.users:store_turn", done=True),
    "turn settled, proxy has not picked": Place("loop.users:fit_utilities"),
    "proxy's picks stored, not committed": Place("data.store.slates:Picks.add_picks", done=True),
    "proxy's picks committed": Place("loop.users:store_picks", done=True),
    "training": Place("loop.worker:Reporter.__call__", argument="training", nth=2),
    "trained, nothing written": Place("model.flow:Flow.save"),
    "weights written, sidecar not": Place("model.checkpoint:write_whole", done=True),
    "checkpoint written, not measured": Place("model.flow:Flow.save", done=True),
    "being measured": Place("loop.evaluation:draw_scored", done=True),
    "published, not committed": Place("data.store.slates:Slates.retire_slates", done=True, nth=2),
    "published, evidence not stored": Place("loop.round:store_quick_evidence"),
    "new pool stored, not committed": Place("data.store.slates:Slates.add_slates", done=True, nth=4),
}
QUICK = ("published, not committed",)
CASES = [
    pytest.param(t, name, marks=[] if t == 0 and name in QUICK else [pytest.mark.slow], id=f"{name}-{t}")
    for t in (0, 3) for name, place in PLACES.items() if not (t and place.fresh)
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_digits, people) -> Iterator[Callable[[int, Place], Study]]:
    """A function: a study at generation t, to be copied: fresh, or with the picks of its next turn."""
    made: dict[tuple[int, bool, bool], Study] = {}
    turns: list[Study] = []

    def at(t: int) -> Study:
        """One study that is taken through its generations, and left before the next turn."""
        if not turns:
            path = tmp_path_factory.mktemp("turns") / "study"
            turns.append(Study.create(path, configure("digits", [*tiny_digits, *SETTINGS], seed=6)))
            Worker(turns[0]).run(once=True)
        while latest_t(turns[0]) < t:
            people(turns[0], PICKS)
            Worker(turns[0]).run(once=True)
        return turns[0]

    def study_of(t: int, place: Place) -> Study:
        key = (t, place.fresh, place.simulated)
        if key not in made:
            path = tmp_path_factory.mktemp("base") / "study"
            if place.fresh:
                made[key] = Study.create(path, configure("digits", [*tiny_digits, *SETTINGS], seed=6))
            else:
                made[key] = copied(at(t), path)
                people(made[key], PICKS)
                if place.simulated:
                    made[key].store.log("researcher", "simulate_requested", n=SIMULATED)
        return made[key]

    yield study_of
    for study in [*made.values(), *turns]:
        study.store.close()


@pytest.fixture(scope="module")
def undisturbed() -> dict[tuple[int, bool, bool], dict[str, Any]]:
    """What became of studies whose worker nobody killed."""
    return {}


@pytest.mark.parametrize(("t", "name"), CASES)
def test_the_same_command_goes_on_after_a_kill(base, undisturbed, copy_of, run_and_die, t: int, name: str):
    place = PLACES[name]
    key = (t, place.fresh, place.simulated)
    if key not in undisturbed:
        undisturbed[key] = state(worked(copy_of(base(t, place))))
    study = copy_of(base(t, place))
    given = people_picks(study)
    run_and_die(Path(__file__), study, name, place.nth)
    killed = Study.open(study.path)
    assert people_picks(killed) == given
    resumed = worked(killed)
    assert faults(resumed) == []
    assert [check for check in self_checks(resumed.store, resumed.config) if check.verdict == "fail"] == []
    assert people_picks(resumed) == given and state(resumed) == undisturbed[key]
    assert drafts(resumed) == []
    free = [resumed.store.pool_size(purpose, latest_t(resumed)) for purpose in ("curation", "audit")]
    assert free[0] >= 12 and free[1] >= 4
    resumed.store.close()


def worked(study: Study) -> Study:
    Worker(study).run(once=True)
    return study


def latest_t(study: Study) -> int:
    return study.store.latest_cut()[0]  # pyright: ignore[reportOptionalSubscript]


def people_picks(study: Study) -> list[dict]:
    """What people picked, as it is stored, but for the flags that the worker adds."""
    rows = study.store.rows(
        """SELECT pick.* FROM pick JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
        WHERE kind = 'human' ORDER BY pick.id"""
    )
    return [{key: value for key, value in row.items() if key != "flags_json"} for row in rows]


def state(study: Study) -> dict[str, Any]:
    """What must not depend on a kill: weights, what trained them, and how many picked what."""
    rows = [(row.t, row.checkpoint_sha256, row.pick_cut, row.n_curated) for row in study.store.generations()]
    kinds = [(row["kind"], row["purpose"], row["t"], row["n"]) for row in queries.tally(study.store)]
    curated = [row.measurements.curated for row in study.store.generations()]
    return {"generations": rows, "counts": kinds, "curated": curated}


def drafts(study: Study) -> list[str]:
    """Files that were begun and never finished."""
    return [path.name for path in study.checkpoints.iterdir() if path.name.startswith(".")]


def copied(study: Study, path: Path) -> Study:
    study.store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copytree(study.path, path)
    return Study.open(path)


def die_at(place: Place) -> None:
    """Has this process kill itself there."""
    module, _, qualified = place.function.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = qualified.split(".")
    for one in outer:
        owner = getattr(owner, one)
    function, calls = getattr(owner, name), 0

    def dying(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += not place.argument or args[1] == place.argument
        last = calls == place.nth and (not place.argument or args[1] == place.argument)
        if last and not place.done:
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = function(*args, **more)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    setattr(owner, name, dying)


if __name__ == "__main__":
    die_at(PLACES[sys.argv[2]])
    Worker(Study.open(Path(sys.argv[1]))).run(once=True)

"""The way of docs/howto-dpo.md, command by command, in small: picks, replays by DPO, an audit, a report, pairs."""

import contextlib
from pathlib import Path

import pandas as pd

from data.records import Pick
from loop.study import Study
from loop.worker import Worker
from tests.curate_app.command_line import curate
from tests.test_docs import DOCS, commands

PAGE = next(page for page in DOCS if page.name == "howto-dpo.md")
SERVED = ("schedule.picks=6", "pool.size=8", "pool.audit=4")


def answer(path: Path, picks: int) -> None:
    """Has a person answer slates of a study, between two looks of its worker."""
    study = Study.open(path)
    store = study.store
    with contextlib.closing(store):
        Worker(study).run(once=True)
        rater = store.add_rater("human", panel="test", panel_rater_id="ann")
        session = store.add_session("ann", rater, panel_session_id="ann")
        (t, _), purpose = store.latest_cut() or (0, 0), "audit" if study.sources else "curation"
        for _ in range(picks):
            slate = store.lease(session, (purpose,), t, 600)
            assert slate is not None
            store.record_pick(session, Pick(slate.id, "pick", slate.id % slate.k, rt_ms=900))
        Worker(study).run(once=True)


def test_from_nothing_to_a_result(tmp_path: Path, tiny_moons: tuple[str, ...], tiny_digits: tuple[str, ...]):
    tiny, ran = {"moons": tiny_moons, "digits": (*tiny_digits, *SERVED)}, set()
    for arguments in commands(PAGE):
        if "network.file=my-pipeline" in arguments:
            continue  # tests/model/test_diffusers_generator.py trains such pipelines
        verb, path = arguments[:2]
        ran.add(verb)
        if verb == "serve":
            answer(tmp_path / path, 4 if path == "studies/which" else 6)
            continue
        preset = arguments[arguments.index("--preset") + 1] if "--preset" in arguments else ""
        small = [word for setting in tiny.get(preset, ()) for word in ("--set", setting)]
        done = curate(*arguments, *small, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr[-2_000:])
    assert {"simulate", "replay", "new", "serve", "audit", "report", "export"} <= ran
    studies = tmp_path / "studies"
    laws: set[str] = set()
    for name, kind in ("by-dpo", "dpo"), ("by-luce-dpo", "luce_dpo"):
        with contextlib.closing((study := Study.open(studies / name)).store):
            assert study.config.learner.kind == kind and study.config.policy.is_pure
            laws.add(study.store.generations()[1].checkpoint_sha256)
    assert len(laws) == 2 and "by-luce-dpo" in (tmp_path / "comparison.html").read_text()
    for name in ("mine-by-luce-dpo", "mine-accumulated", "dpo"):
        with contextlib.closing((study := Study.open(studies / name)).store):
            trained = study.store.generations()[1]
            assert study.config.learner.kind == "luce_dpo" and trained.n_curated == 6
    assert (studies / "which" / "report.html").exists()
    (pairs,) = (tmp_path / "pairs").rglob("*.parquet")
    assert {"jpg_0", "jpg_1", "label_0"} <= set(pd.read_parquet(pairs).columns)

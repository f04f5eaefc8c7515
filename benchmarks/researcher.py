"""The researcher's page over many picks: what opening it and each refresh cost the server.

    python benchmarks/researcher.py --picks 1000000
    python benchmarks/researcher.py --study my-study

Processor time stands beside the time on the clock, which other processes on the machine lengthen. Target: under 2 s
from opening to the first numbers, with a million picks; the browser's own part is about a second.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crowd import add_images, add_picks

from curate_app.admin.counts import CrowdCounts, LatestEvidence
from curate_app.admin.panels import panels
from data.records import Generation
from loop.raters.journey import picks_progress
from loop.study import Study, configure


def main() -> None:
    """Makes or opens the study, and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picks", type=int, default=1_000_000, help="in the study that is made")
    parser.add_argument("--study", type=Path, help="an existing study, instead of a new one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="researcher-") as folder:
        study = Study.open(options.study) if options.study else make_study(Path(folder) / "study", options.picks)
        measure(study)
        study.store.close()


def make_study(path: Path, n: int) -> Study:
    """A study of one generation with the picks of a thousand people."""
    study = Study.create(path, configure("digits", ["schedule.picks=100000000"]))
    study.store.publish(Generation(0, None, "none", "00", 0, 0, "none"))
    add_picks(study, add_images(study), n)
    return study


def measure(study: Study) -> None:
    """Starts a page's refreshes as the app does, and goes on until all picks are counted."""
    print(f"{study.store.last_pick():,} picks")
    timed("when the app starts", lambda: picks_progress(study.store, study.config))
    crowd, evidence = CrowdCounts(study), LatestEvidence(study)
    timed("the page opens", lambda: panels(study, crowd, evidence()))
    latest, n = study.store.latest_cut() or (0, 0), 1
    while crowd(latest[0]).share < 1:
        n += 1
    print(f"all picks are counted after {n} refreshes")
    time.sleep(10)
    timed("a refresh, after a while", lambda: panels(study, crowd, evidence()))
    timed("a refresh, right after", lambda: panels(study, crowd, evidence()))


def timed(name: str, work: Callable[[], Any]) -> None:
    """Prints how long a work took, on the clock and of a processor."""
    clock, processor = time.monotonic(), time.process_time()
    work()
    clock, processor = time.monotonic() - clock, time.process_time() - processor
    print(f"{name:<28}{1000 * clock:8.0f} ms, {1000 * processor:8.0f} ms of a processor")


if __name__ == "__main__":
    main()

"""`curate simulate`: the loop with simulated Luce users, turn after turn, in batch."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from data.store import queries
from loop.generators import load_generator
from loop.round import latest_t, next_generation
from loop.setup import Plan, prepare_evaluator, prepare_first_generation
from loop.study import Study, only_worker
from loop.training_data import curated_count
from loop.users import SimulatedUsers
from loop.worker import Reporter
from model.compute import from_main, is_main
from model.interfaces import Report

TURN_PHASES = ("curating", "training", "publishing")


@contextmanager
def shown_on_pages(study: Study, report: Report, command: str, planned: Plan | None = None) -> Iterator[Report]:
    """Also tells `curate status` and the researcher's page how far it is, as a worker does; yields what to call.

    Nothing is written before there is progress: a study that turns out to be damaged is left as it is.

    Args:
        study: that is worked on.
        report: called as well.
        command: of `curate`, by which the pages name what works.
        planned: the preparation's plan.
    """
    heartbeat = Reporter(study, command)
    preparing = planned.overall(heartbeat) if planned else lambda _, done, total: heartbeat("preparing", done, total)

    def both(phase: str, done: int, total: int) -> None:
        report(phase, done, total)
        if phase in TURN_PHASES:
            heartbeat(phase, done, total)
        elif done:
            preparing(phase, done, total)

    try:
        yield both
    finally:
        if heartbeat.phase and is_main():
            heartbeat.end()


def simulate(
    study: Study,
    generations: int,
    report: Report,
    donor: Study | None = None,
    planned: Plan | None = None,
    command: str = "simulate",
) -> None:
    """Runs the study up to a number of generations after the pretrained one; it goes on where it was.

    What a turn draws and learns is derived from the study's seed and the turn's number alone, so an interrupted run
    ends with the same picks and weights as one that wasn't.

    Args:
        study: the study.
        generations: the last t.
        report: called with the phase and how far it is.
        donor: a study to copy generation 0 and the classifier from, if they are still to be made.
        planned: the preparation's plan, by which the pages say how far it is.
        command: of `curate`, by which the pages name what works.

    Raises:
        WorkerRunningError: another process works on this study.
        ValueError: people have picked in it, it is in a market, or the donor's pretraining is another.
    """

    def check() -> None:
        if queries.count_raters(study.store).get("human"):
            raise ValueError(f"People have picked in {study.path}; simulate in a study of its own.")
        study.check_goes_on()
        study.check_simulates()
        study.check_alone()

    from_main(check)
    shown = shown_on_pages(study, report, command, planned)
    with only_worker(study.path) if is_main() else nullcontext(), shown as report:
        report("preparing", 0, 1)
        evaluator = prepare_evaluator(study, report, donor)
        prepare_first_generation(study, evaluator, report, donor)
        users = SimulatedUsers(study, evaluator.scorer)
        latest = from_main(lambda: latest_t(study))
        generator = load_generator(study, latest)
        for t in range(latest, generations):
            report("curating", 0, curated_count(study.config, len(study.real), t + 1))
            turn = users.curate(generator, t, lambda done, total: report("curating", done, total))
            generator = next_generation(study, evaluator, generator, turn, report)

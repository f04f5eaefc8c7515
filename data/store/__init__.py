"""The study database: one class, `Store`, holds all SQL; the rooms are its tables.

connection  opening, pragmas, migrations, transactions
clock       leases, when the machine's clock is set
people      raters and sessions
journeys    a person's way through a session, panel ids, invitations
slates      the pool: bulk insertion, leases, retirement
checks      attention, practice and repeated slates: copies in another order
flags       flags on answers and sessions, and what they keep out of training
picks       recording an answer, reading answers back
counted     picks toward the next generation, kept up from pick to pick
figures     answers so far and free slates, kept up from pick to pick
generations publishing, metrics, images
evaluations the samples behind the metrics
judged      what the self-check reads
chosen      what `curate fit` reads
exported    what exports read
imported    what an imported log writes
replayed    another study's log in a replay
crowd       what the researcher's page counts
journal     events and the worker's status
"""

from data.store.checks import Checks
from data.store.chosen import Chosen
from data.store.counted import Counted
from data.store.crowd import Crowd
from data.store.evaluations import Evaluations
from data.store.exported import Exported
from data.store.figures import Figures
from data.store.flags import Flags
from data.store.generations import Generations
from data.store.imported import Imported
from data.store.journeys import Journeys
from data.store.judged import Judged
from data.store.replayed import Replayed

__all__ = ["Store"]


class Store(
    Generations,
    Evaluations,
    Checks,
    Counted,
    Figures,
    Journeys,
    Flags,
    Judged,
    Chosen,
    Exported,
    Imported,
    Replayed,
    Crowd,
):
    """All SQL of a study. Safe to share between threads (a connection each) and processes (WAL, immediate locks)."""

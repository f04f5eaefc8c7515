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

from data.store.generations import Evaluations, Generations
from data.store.picks import Counted, Figures, Flags
from data.store.queries import Chosen, Crowd, Exported, Judged
from data.store.sessions import Journeys
from data.store.slates import Checks
from data.store.transfer import Imported, Replayed

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

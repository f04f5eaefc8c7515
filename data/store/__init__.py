"""The study database: one class, `Store`, holds all SQL.

connection    opening, pragmas, migrations, transactions
group_commit  one transaction for all that wait at the same moment
sessions      raters, their sessions and their way through them; leases when the machine's clock is set
slates        the pool: bulk insertion, leases, retirement; copies of slates for checks
picks         recording an answer, reading answers back, flags, and live counts
generations   publishing, images, the samples behind the metrics; events and the worker's status
queries       what one consumer each reads: the self-check, the fits, exports, the researcher's page
transfer      what `curate import` and `curate replay` write
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

"""The study database. `Store` holds the commands; what only reads is in `queries`, as functions of a store.

connection   opening, pragmas, migrations; transactions, also one for all that wait at the same moment;
             the journal: events and statuses, and leases when the machine's clock is set
sessions     raters, their sessions and their way through them
slates       the pool: bulk insertion, leases, retirement, copies for checks; picks, their flags and exclusions
generations  publishing, images, the samples behind the metrics
transfer     what `curate import` and `curate replay` write
queries      counts, lists and joins, each for a consumer or two

A command class also looks up single records of its own by their keys, as its commands need that.
"""

from data.store.generations import Generations
from data.store.sessions import Sessions
from data.store.slates import Picks, Slates
from data.store.transfer import Transfer

__all__ = ["Store"]


class Store(Sessions, Slates, Picks, Generations, Transfer):
    """The commands of a study. Safe to share between threads (a connection each) and processes (WAL)."""

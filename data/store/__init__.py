"""The study database: one class, `Store`, holds all SQL; the rooms are its tables.

connection  opening, pragmas, migrations, transactions
people      raters and sessions
slates      the pool: bulk insertion, leases, retirement
picks       recording an answer, reading answers back
generations publishing, metrics, images
evaluations the samples behind the metrics
judged      what the self-check reads
journal     events and the worker's status
"""

from data.store.evaluations import Evaluations
from data.store.generations import Generations
from data.store.journal import Journal
from data.store.judged import Judged
from data.store.people import People
from data.store.picks import Picks
from data.store.slates import Slates

__all__ = ["Store"]


class Store(Generations, Evaluations, Slates, Picks, People, Judged, Journal):
    """All SQL of a study. Safe to share between threads (a connection each) and processes (WAL, immediate locks)."""

"""What the routes of one study work on."""

import asyncio
from asyncio import wrap_future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

from curate_app.rater.sessions import Sessions
from curate_app.rater.texts import JourneyTexts
from curate_app.server.failures import Health
from curate_app.server.limits import Whereabouts
from curate_app.server.signing import Signer
from data.errors import BusyDatabaseError
from data.secret_file import kept_secret
from data.store import Store
from loop.config import StudyConfig
from loop.crowd.journey import Place, place
from loop.study import Study

ANSWER_S = 10.0  # longer than works wait for the write lock: this is for a disk that doesn't answer
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Service:
    """A study's store, its configuration, its raters' sessions, what it says to them, and how the server is."""

    store: Store
    config: StudyConfig
    sessions: Sessions
    texts: JourneyTexts
    health: Health
    whereabouts: Whereabouts

    @classmethod
    def of(cls, study: Study, health: Health | None = None, whereabouts: Whereabouts | None = None) -> Self:
        """What serves a study.

        Raises:
            ValueError: a text of the journey can't be read, or the secrets file.
        """
        sessions = Sessions(study.store, study.config, Signer(kept_secret(study.path, "session_key")))
        texts = JourneyTexts.of(study.config, study.path)
        health, whereabouts = health or Health(study.path), whereabouts or Whereabouts()
        return cls(study.store, study.config, sessions, texts, health, whereabouts)

    def place(self, session_id: str) -> Place:
        """Where a session is now, with its slates; see `loop.crowd.journey.place`."""
        return place(self.store, self.config, session_id, lambda other: self.whereabouts.share(session_id, other))

    async def commit(self, work: Callable[[], T], then: Callable[[T], U]) -> U:
        """What `then` makes of `work`, which is committed by then; holds no thread meanwhile.

        Raises:
            BusyDatabaseError: the commit takes too long. `work` is done later or never; it has to bear being repeated.
        """
        committed = wrap_future(self.store.soon(work, then))
        committed.add_done_callback(lambda future: future.cancelled() or future.exception())  # seen, if no one waits
        try:
            return await asyncio.wait_for(asyncio.shield(committed), ANSWER_S)
        except TimeoutError:
            raise BusyDatabaseError("database is locked: the disk doesn't answer") from None

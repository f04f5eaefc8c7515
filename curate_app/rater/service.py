"""What the routes of one study work on."""

from dataclasses import dataclass
from typing import Self

from curate_app.rater.sessions import Sessions
from curate_app.rater.texts import JourneyTexts
from curate_app.server.signing import Signer
from data.secret_file import kept_secret
from data.store import Store
from loop.config import StudyConfig
from loop.study import Study


@dataclass(frozen=True)
class Service:
    """A study's store, its configuration, its raters' sessions, and what it says to them."""

    store: Store
    config: StudyConfig
    sessions: Sessions
    texts: JourneyTexts

    @classmethod
    def of(cls, study: Study) -> Self:
        """What serves a study.

        Raises:
            ValueError: a text of the journey can't be read, or the secrets file.
        """
        sessions = Sessions(study.store, study.config, Signer(kept_secret(study.path, "session_key")))
        return cls(study.store, study.config, sessions, JourneyTexts.of(study.config, study.path))

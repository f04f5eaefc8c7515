"""Who is asking: a rater's session, known by the panel's ids, a one-time token, or a signed HttpOnly cookie."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Cookie, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from curate_app.server.signing import Signer
from data.store import Store
from data.store.journeys import PanelIds
from loop.config import StudyConfig
from loop.crowd.journey import admits

COOKIE = "curate_session"
COOKIE_AGE_S = 30 * 24 * 3600
OWN_PANEL = "curate"  # simulated and proxy raters are its members
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
Text = Annotated[str, Field(max_length=200)]
Gate = Literal["known", "new", "preview", "uninvited"]


class PanelParameters(BaseModel):
    """What a panel's link carries; all of it may be missing (an open study)."""

    model_config = ConfigDict(extra="ignore")

    panel: Text | None = None
    rater_id: Text | None = None
    study_id: Text | None = None
    session_id: Text | None = None
    assignment_id: Text | None = None
    token: Text | None = None

    @field_validator("panel")
    @classmethod
    def _of_people(cls, panel: str | None) -> str | None:
        if panel == OWN_PANEL:
            raise ValueError(f"the panel '{OWN_PANEL}' is for simulated raters")
        return panel


@dataclass(frozen=True, slots=True)
class Arrival:
    """Someone who opens the page.

    Attributes:
        gate: 'known' (has a session), 'new', 'preview' (an MTurk worker who looks on) or 'uninvited'.
        ids: who the rater is to the panel; None in an open study.
        session_id: of a known rater.
    """

    gate: Gate
    ids: PanelIds | None = None
    session_id: str | None = None


@dataclass(frozen=True)
class Sessions:
    """The sessions of one study: found, opened, and told by their cookies."""

    store: Store
    config: StudyConfig
    signer: Signer

    def arrive(self, parameters: PanelParameters, cookie: str | None) -> Arrival:
        """Who opens the page: the panel's ids say it, else the cookie does. Stores nothing."""
        if self.config.panel.kind == "mturk" and parameters.assignment_id == PREVIEW:
            return Arrival("preview")
        ids = self._ids(parameters)
        if ids is not None:
            session_id = self.store.find_session(ids)
            return Arrival("known" if session_id else "new", ids, session_id)
        known = self.signer.opened(cookie)
        if known and self.store.has_session(known):
            return Arrival("known", session_id=known)
        return Arrival("new" if self.config.panel.kind == "open" else "uninvited")

    def admit(self, arrival: Arrival, user_agent: str | None, *, consented: bool) -> str | None:
        """Opens the session of someone new; None when the study has no place left.

        Returns:
            The session's id, 128 random bits; signed it is the cookie, and it stands nowhere else in a page.
        """

        def admit() -> str | None:
            known = arrival.ids and self.store.find_session(arrival.ids)  # another tab may have been first
            if known or not admits(self.store, self.config):
                return known
            made = secrets.token_urlsafe(16)
            return self.store.admit(made, arrival.ids, user_agent=(user_agent or "")[:400], consented=consented)

        return self.store.together(admit)

    def require(self, cookie: str | None) -> str:
        """The session of the cookie.

        Raises:
            HTTPException: 401 without a valid one; a forged one costs no look into the database.
        """
        session_id = self.signer.opened(cookie)
        if session_id is None or not self.store.has_session(session_id):
            raise HTTPException(401, "No session yet: POST /api/session first.")
        return session_id

    def remember(self, request: Request, response: Response, session_id: str) -> None:
        """Puts the session's signed cookie on an answer: out of scripts' reach, and over https only where there is."""
        response.set_cookie(
            COOKIE,
            self.signer.sign(session_id),
            max_age=COOKIE_AGE_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
            path="/",
        )

    def _ids(self, given: PanelParameters) -> PanelIds | None:
        """Who the rater is to the study's panel; None without all that it takes."""
        kind = self.config.panel.kind
        if kind == "link":
            token = given.token or ""
            return PanelIds("link", token) if self.store.is_invited(token) else None
        if not given.rater_id or (kind == "mturk" and not given.assignment_id):
            return None
        panel = (given.panel or "open") if kind == "open" else kind
        return PanelIds(panel, given.rater_id, given.study_id, given.session_id or given.assignment_id)


def session_name(session_id: str) -> str:
    """What a page may show of a session: a short hash, which opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]


SessionCookie = Annotated[str | None, Cookie(alias=COOKIE)]

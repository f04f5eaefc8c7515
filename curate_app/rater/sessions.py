"""Raters' sessions, known by a signed HttpOnly cookie, a one-time token, or the panel's session id.

A panel's id of a rater is known to others (the panel, other researchers), so it begins a session but never leads back
to one: that takes the cookie, or the id of the panel's own session, which only the rater's link carries.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Cookie, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from curate_app.web.security import COOKIE, SessionSigner
from data.store import Store
from data.store.sessions import PanelIds
from loop.config import StudyConfig
from loop.raters.journey import admits

COOKIE_AGE_S = 30 * 24 * 3600
NO_SESSION = "No session yet: POST /api/session first."
OWN_PANEL = "curate"  # simulated and proxy raters are its members
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%7B%7B|%7D%7D", re.IGNORECASE)
Text = Annotated[str, Field(max_length=200)]
Gate = Literal["known", "new", "preview", "uninvited", "incomplete", "elsewhere", "full"]
SessionCookie = Annotated[str | None, Cookie(alias=COOKIE)]


class PanelParameters(BaseModel):
    """The parameters of a panel's link; all may be missing (an open study)."""

    model_config = ConfigDict(extra="ignore")

    panel: Text | None = None
    rater_id: Text | None = None
    study_id: Text | None = None
    session_id: Text | None = None
    assignment_id: Text | None = None
    token: Text | None = None

    @field_validator("panel")
    @classmethod
    def refuse_own_panel(cls, panel: str | None) -> str | None:
        """The panel; a ValueError for the one that simulated raters belong to."""
        if panel == OWN_PANEL:
            raise ValueError(f"the panel '{OWN_PANEL}' is for simulated raters")
        return panel


@dataclass(frozen=True, slots=True)
class Arrival:
    """A browser that opens the page.

    Attributes:
        gate: 'known' (has a session), 'new', 'preview' (an MTurk worker who looks at the task before accepting it),
            'uninvited', 'incomplete' (a Prolific link without both ids, or with placeholders instead of ids),
            'elsewhere' (the rater of these ids has a session, and nothing shows that it is this browser's) or 'full'.
        ids: the rater's in the panel; in an open study whatever ids the link claims, if any.
        session_id: of a known rater.
    """

    gate: Gate
    ids: PanelIds | None = None
    session_id: str | None = None


@dataclass(frozen=True)
class Sessions:
    """The sessions of one study: opened, looked up, and tied to browsers by cookies."""

    store: Store
    config: StudyConfig
    signer: SessionSigner

    def arrive(self, parameters: PanelParameters, cookie: str | None) -> Arrival:
        """The arrival of a browser with a link and a cookie. Stores nothing."""
        kind = self.config.panel.kind
        if kind == "mturk" and parameters.assignment_id == PREVIEW:
            return Arrival("preview")
        known = self.signer.unsign(cookie)
        if known and not self.store.has_session(known):
            known = None
        ids = self.panel_ids(parameters)
        if ids is None:
            if known and self.may_belong_to(known, parameters.rater_id):
                return Arrival("known", session_id=known)
            if kind == "prolific" and (parameters.rater_id or parameters.session_id):
                return Arrival("incomplete")
            return Arrival("new" if kind == "open" else "uninvited")
        if kind == "open":
            earlier = self.store.panel_ids(known) if known else None
            if known and (earlier is None or (earlier.panel, earlier.rater_id) == (ids.panel, ids.rater_id)):
                return Arrival("known", ids, known)
        session_id = self.store.find_session(ids)
        if session_id is None:
            return Arrival("new", ids)
        # a link's token is secret, and an open study's claims are looked up by the panel's session id as well
        if session_id == known or kind in ("link", "open") or self.began_with(session_id, ids):
            return Arrival("known", ids, session_id)
        return Arrival("elsewhere")

    def panel_ids(self, parameters: PanelParameters) -> PanelIds | None:
        """The rater's ids in the study's panel; None if any that the panel needs is missing.

        A placeholder that nobody filled in is the same in all raters' links, so it counts as missing.
        """
        kind = self.config.panel.kind
        if kind == "link":
            token = parameters.token or ""
            return PanelIds("link", token) if self.store.is_invited(token) else None
        rater_id, session_id, assignment_id = (
            None if text is None or not text.strip() or PLACEHOLDER.search(text) else text
            for text in (parameters.rater_id, parameters.session_id, parameters.assignment_id)
        )
        needed = {"prolific": session_id, "mturk": assignment_id}
        if rater_id is None or needed.get(kind, rater_id) is None:
            return None
        panel = (parameters.panel or "open") if kind == "open" else kind
        return PanelIds(panel, rater_id, parameters.study_id, session_id or assignment_id, is_claim=kind == "open")

    def began_with(self, session_id: str, ids: PanelIds) -> bool:
        """True if the session began with the panel's session id that a link carries."""
        earlier = self.store.panel_ids(session_id)
        first, given = earlier.session_id if earlier else None, ids.session_id
        return bool(first and given) and secrets.compare_digest(str(first).encode(), str(given).encode())

    def may_belong_to(self, session_id: str, rater_id: str | None) -> bool:
        """True unless a link that lacks an id names another rater of the panel than the session's."""
        kind = self.config.panel.kind
        if kind in ("open", "link") or not rater_id:
            return True
        return self.store.find_session(PanelIds(kind, rater_id)) == session_id

    def admit(
        self, parameters: PanelParameters, cookie: str | None, user_agent: str | None, *, consented: bool
    ) -> Arrival:
        """Opens the session of a new rater, unless the study has no place left.

        Returns:
            As `arrive`, or 'known' with the new session's id: 128 random bits, of which nothing but the signed cookie
            leaves the server.
        """

        def admit() -> Arrival:
            arrival = self.arrive(parameters, cookie)  # another tab may have been first
            if arrival.gate != "new":
                return arrival
            if not admits(self.store, self.config):
                return Arrival("full")
            session_id = self.store.admit(
                secrets.token_urlsafe(16),
                arrival.ids,
                user_agent=(user_agent or "")[:400],
                consented=consented,
            )
            return Arrival("known", arrival.ids, session_id)

        return self.store.together(admit)

    def signed(self, cookie: str | None) -> str:
        """The session id in a cookie of this study's, of a session that may be gone; the database is not asked.

        Raises:
            HTTPException: 401 without such a cookie.
        """
        session_id = self.signer.unsign(cookie)
        if session_id is None:
            raise HTTPException(401, NO_SESSION)
        return session_id

    def require(self, session_id: str) -> None:
        """Checks that a session is in the database.

        Raises:
            HTTPException: 401 if it isn't.
        """
        if not self.store.has_session(session_id):
            raise HTTPException(401, NO_SESSION)

    def remember(self, request: Request, response: Response, session_id: str) -> None:
        """Sets the session's signed cookie: out of scripts' reach, and over https only where the request came so."""
        response.set_cookie(
            COOKIE,
            self.signer.sign(session_id),
            max_age=COOKIE_AGE_S,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
            path="/",
        )


def session_name(session_id: str) -> str:
    """A session's name for pages: a short hash, which opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]

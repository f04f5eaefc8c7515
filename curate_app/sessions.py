"""Who is asking: a session per rater, known by a signed HttpOnly cookie or by the panel's ids."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Cookie, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from curate_app.signing import Signer
from data.store import Store

COOKIE = "curate_session"
COOKIE_AGE_S = 30 * 24 * 3600
OWN_PANEL = "curate"  # simulated and proxy raters are its members
Text = Annotated[str, Field(max_length=200)]


class PanelParameters(BaseModel):
    """What a panel's link carries; all of it may be missing (an open study)."""

    model_config = ConfigDict(extra="ignore")

    panel: Text | None = None
    rater_id: Text | None = None
    study_id: Text | None = None
    session_id: Text | None = None

    @field_validator("panel")
    @classmethod
    def _of_people(cls, panel: str | None) -> str | None:
        if panel == OWN_PANEL:
            raise ValueError(f"the panel '{OWN_PANEL}' is for simulated raters")
        return panel


@dataclass(frozen=True)
class Sessions:
    """The sessions of one study: opened, and told by their cookies."""

    store: Store
    signer: Signer

    def open(self, parameters: PanelParameters, cookie: str | None, user_agent: str | None) -> str:
        """The session of the caller: the one of the panel's ids, else the cookie's, else a new one.

        Returns:
            The session's id, 128 random bits; signed it is the cookie, and it stands nowhere else in a page.
        """
        known = self.signer.opened(cookie)
        if parameters.rater_id is None and known and self.store.has_session(known):
            return known
        panel = (parameters.panel or "link") if parameters.rater_id is not None else None
        with self.store.write():
            rater_id = self.store.add_rater("human", panel=panel, panel_rater_id=parameters.rater_id)
            return self.store.add_session(
                secrets.token_urlsafe(16),
                rater_id,
                panel_study_id=parameters.study_id,
                panel_session_id=parameters.session_id if panel is None else parameters.session_id or "",
                user_agent=(user_agent or "")[:400],
            )

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


def session_name(session_id: str) -> str:
    """What a page may show of a session: a short hash, which opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]


SessionCookie = Annotated[str | None, Cookie(alias=COOKIE)]

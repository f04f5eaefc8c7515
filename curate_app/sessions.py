"""Who is asking: a session per rater, known by an HttpOnly cookie or by the panel's ids."""

import hashlib
import secrets
from typing import Annotated

from fastapi import Cookie, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from data.store import Store

COOKIE = "curate_session"
COOKIE_AGE_S = 30 * 24 * 3600
Text = Annotated[str, Field(max_length=200)]


class PanelParameters(BaseModel):
    """What a panel's link carries; all of it may be missing (an open study)."""

    model_config = ConfigDict(extra="ignore")

    panel: Text | None = None
    rater_id: Text | None = None
    study_id: Text | None = None
    session_id: Text | None = None


def open_session(store: Store, parameters: PanelParameters, cookie: str | None, user_agent: str | None) -> str:
    """The session of the caller: the one of the panel's ids, else the cookie's, else a new one.

    Returns:
        The session's id, 128 random bits; it is the cookie's value and stands nowhere else in a page.
    """
    if parameters.rater_id is None and cookie and store.has_session(cookie):
        return cookie
    panel = (parameters.panel or "link") if parameters.rater_id is not None else None
    with store.write():
        rater_id = store.add_rater("human", panel=panel, panel_rater_id=parameters.rater_id)
        return store.add_session(
            secrets.token_urlsafe(16),
            rater_id,
            panel_study_id=parameters.study_id,
            panel_session_id=parameters.session_id if panel is None else parameters.session_id or "",
            user_agent=(user_agent or "")[:400],
        )


def session_name(session_id: str) -> str:
    """What a page may show of a session: a short hash, which opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]


def require_session(store: Store, cookie: str | None) -> str:
    """The session of the cookie.

    Raises:
        HTTPException: 401 without a valid one.
    """
    if not cookie or not store.has_session(cookie):
        raise HTTPException(401, "No session yet: POST /api/session first.")
    return cookie


SessionCookie = Annotated[str | None, Cookie(alias=COOKIE)]

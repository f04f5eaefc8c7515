"""Raters' sessions, known by a signed HttpOnly cookie, a one-time token, or the panel's session id; and their state.

A panel's id of a rater is known to others (the panel, other researchers), so it begins a session but never leads back
to one: that takes the cookie, or the id of the panel's own session, which the rater's link alone carries.
"""

import asyncio
import hashlib
import re
import secrets
from asyncio import wrap_future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Cookie, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from curate_app.rater.page import JourneyTexts
from curate_app.web.failures import Health
from curate_app.web.limits import Addresses
from curate_app.web.signing import Signer
from data.errors import BusyDatabaseError
from data.records import Progress, Slate
from data.secret_file import kept_secret
from data.store import Store
from data.store.sessions import PanelIds
from loop.config import StudyConfig
from loop.raters.journey import (
    TRIES,
    Place,
    admits,
    completion,
    control_state,
    picks_progress,
    place,
    worker_status,
)
from loop.study import Study

COOKIE = "curate_session"
COOKIE_AGE_S = 30 * 24 * 3600
NO_SESSION = "No session yet: POST /api/session first."
OWN_PANEL = "curate"  # simulated and proxy raters are its members
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"
Text = Annotated[str, Field(max_length=200)]
Gate = Literal["known", "new", "preview", "uninvited", "incomplete", "elsewhere", "full"]
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{%|%\}|\$\{|%7B%7B|%7D%7D", re.IGNORECASE)
SessionCookie = Annotated[str | None, Cookie(alias=COOKIE)]
ANSWER_S = 10.0  # longer than works wait for the write lock: this is for a disk that doesn't answer
T = TypeVar("T")
U = TypeVar("U")
POLL_S = 1


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
    def _of_people(cls, panel: str | None) -> str | None:
        if panel == OWN_PANEL:
            raise ValueError(f"the panel '{OWN_PANEL}' is for simulated raters")
        return panel


@dataclass(frozen=True, slots=True)
class Arrival:
    """Someone who opens the page.

    Attributes:
        gate: 'known' (has a session), 'new', 'preview' (an MTurk worker who looks on), 'uninvited', 'incomplete' (a
            link of Prolific's without both ids, or with names in the place of ids), 'elsewhere' (the rater of these
            ids has a session, and nothing shows that it is this browser's) or 'full'.
        ids: who the rater is to the panel; in an open study what the link says of that, if anything.
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
        """The visitor who opens the page, by its link and its cookie. Stores nothing."""
        kind = self.config.panel.kind
        if kind == "mturk" and parameters.assignment_id == PREVIEW:
            return Arrival("preview")
        known = self.signer.opened(cookie)
        if known and not self.store.has_session(known):
            known = None
        ids = self._ids(parameters)
        if ids is None:
            if known and self._may_be_of(known, parameters.rater_id):
                return Arrival("known", session_id=known)
            if kind == "prolific" and (parameters.rater_id or parameters.session_id):
                return Arrival("incomplete")
            return Arrival("new" if kind == "open" else "uninvited")
        if kind == "open":
            theirs = self.store.panel_ids(known) if known else None
            if known and (theirs is None or (theirs.panel, theirs.rater_id) == (ids.panel, ids.rater_id)):
                return Arrival("known", ids, known)
        session_id = self.store.find_session(ids)
        if session_id is None:
            return Arrival("new", ids)
        # a link's token is secret, and an open study's claims are found by the panel's id of the sitting as well
        if session_id == known or kind in ("link", "open") or self._is_of(session_id, ids):
            return Arrival("known", ids, session_id)
        return Arrival("elsewhere")

    def admit(
        self, parameters: PanelParameters, cookie: str | None, user_agent: str | None, *, consented: bool
    ) -> Arrival:
        """Opens the session of someone new, unless the study has no place left.

        Returns:
            As `arrive`, or 'known' with the new session's id, 128 random bits; signed it is the cookie, and it stands
            nowhere else in a page.
        """

        def admit() -> Arrival:
            arrival = self.arrive(parameters, cookie)  # another tab may have been first
            if arrival.gate != "new":
                return arrival
            if not admits(self.store, self.config):
                return Arrival("full")
            made = self.store.admit(
                secrets.token_urlsafe(16),
                arrival.ids,
                user_agent=(user_agent or "")[:400],
                consented=consented,
            )
            return Arrival("known", arrival.ids, made)

        return self.store.together(admit)

    def signed(self, cookie: str | None) -> str:
        """The id that a cookie of this study's carries, of a session that may be gone; the database is not asked.

        Raises:
            HTTPException: 401 without such a cookie.
        """
        session_id = self.signer.opened(cookie)
        if session_id is None:
            raise HTTPException(401, NO_SESSION)
        return session_id

    def require(self, cookie: str | None) -> str:
        """The session of the cookie.

        Raises:
            HTTPException: 401 without a valid one.
        """
        session_id = self.signed(cookie)
        if not self.store.has_session(session_id):
            raise HTTPException(401, NO_SESSION)
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

    def _is_of(self, session_id: str, ids: PanelIds) -> bool:
        """True if a link carries the panel's id of the session in which the rater began."""
        theirs = self.store.panel_ids(session_id)
        began, given = theirs.session_id if theirs else None, ids.session_id
        return bool(began and given) and secrets.compare_digest(str(began).encode(), str(given).encode())

    def _may_be_of(self, session_id: str, rater_id: str | None) -> bool:
        """True if a link that lacks an id goes with the browser's session: it names no other rater of the panel."""
        kind = self.config.panel.kind
        if kind in ("open", "link") or not rater_id:
            return True
        return self.store.find_session(PanelIds(kind, rater_id)) == session_id

    def _ids(self, given: PanelParameters) -> PanelIds | None:
        """The rater's ids in the study's panel; None without all that it takes.

        What stands for an id in a link that nobody filled in is the same in all raters' links, so it is no id.
        """
        kind = self.config.panel.kind
        if kind == "link":
            token = given.token or ""
            return PanelIds("link", token) if self.store.is_invited(token) else None
        rater_id, session_id, assignment_id = map(_id, (given.rater_id, given.session_id, given.assignment_id))
        takes = {"prolific": session_id, "mturk": assignment_id}
        if rater_id is None or takes.get(kind, rater_id) is None:
            return None
        panel = (given.panel or "open") if kind == "open" else kind
        return PanelIds(panel, rater_id, given.study_id, session_id or assignment_id, is_claim=kind == "open")


def _id(text: str | None) -> str | None:
    """An id as a link carries it; None for a blank, and for a placeholder such as {{%PROLIFIC_PID%}}."""
    return None if text is None or not text.strip() or _PLACEHOLDER.search(text) else text


def session_name(session_id: str) -> str:
    """A session's name for pages: a short hash, which opens nothing."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Service:
    """A study's store, its configuration, its raters' sessions, what it says to them, and how the server is."""

    store: Store
    config: StudyConfig
    sessions: Sessions
    texts: JourneyTexts
    health: Health
    whereabouts: Addresses

    @classmethod
    def of(cls, study: Study, health: Health | None = None, whereabouts: Addresses | None = None) -> Self:
        """The service of a study.

        Raises:
            ValueError: a text of the journey can't be read, or the secrets file.
        """
        sessions = Sessions(study.store, study.config, Signer(kept_secret(study.path, "session_key")))
        texts = JourneyTexts.of(study.config, study.path)
        health, whereabouts = health or Health(study.path), whereabouts or Addresses()
        return cls(study.store, study.config, sessions, texts, health, whereabouts)

    def place(self, session_id: str) -> Place:
        """A session's present step, with its slates; see `loop.raters.journey.place`."""
        return place(self.store, self.config, session_id, lambda other: self.whereabouts.share(session_id, other))

    async def commit(self, work: Callable[[], T], then: Callable[[T], U]) -> U:
        """The result of `then` on that of `work`, which is committed by then; holds no thread meanwhile.

        Raises:
            BusyDatabaseError: the commit takes too long. `work` is done later or never; it has to bear being repeated.
        """
        committed = wrap_future(self.store.soon(work, then))
        committed.add_done_callback(lambda future: future.cancelled() or future.exception())  # seen, if no one waits
        try:
            return await asyncio.wait_for(asyncio.shield(committed), ANSWER_S)
        except TimeoutError:
            raise BusyDatabaseError("database is locked: the disk doesn't answer") from None


def session_state(service: Service, at: Place) -> dict[str, Any]:
    """The turn of a session at a place."""
    progress = picks_progress(service.store, service.config, at.journey.answered)
    told = {"state": at.state, "worker": worker_status(service.store), "progress": _progress(service, progress, at)}
    return {**told, **_shown(service, at)}


def turn_without(service: Service, state: str) -> dict[str, Any]:
    """The turn of someone who has no session: consent, declined, preview, uninvited, incomplete, elsewhere or full."""
    progress = picks_progress(service.store, service.config)
    told = {"state": state, "worker": worker_status(service.store), "progress": _progress(service, progress)}
    if state == "consent":
        return {**told, "html": service.texts.consent}
    if state == "preview":
        return {**told, "html": service.texts.consent or service.texts.instructions}
    if state == "declined":
        panel = service.config.panel
        return {**told, "html": service.texts.declined, "completion": panel.completion(panel.withdrew)}
    if state == "full":
        return {**told, "over": control_state(service.store).finished}
    return told


def _shown(service: Service, at: Place) -> dict[str, Any]:
    """The content of a state beside the progress."""
    texts, journey = service.texts, service.config.journey
    if at.state in ("picking", "practice"):
        practice = {"practice": {"done": at.journey.practised, "total": journey.practice}}
        return {**_slates(service, at.slates), **(practice if at.state == "practice" else {})}
    if at.state in ("waiting", "paused"):
        return {"retry_s": POLL_S}
    if at.state == "consent":
        return {"html": texts.consent}
    if at.state == "instructions":
        return {"html": texts.instructions, "practice": journey.practice}
    if at.state == "question":
        tries_left = TRIES - at.journey.tries
        return {"html": texts.question, "choices": list(journey.choices), "tries_left": tries_left}
    if at.state == "closing":
        return {"html": texts.closing}
    completed = at.state == "finished" or "finished" in at.journey.reached
    own = {"finished": texts.thanks, "failed": texts.failed, "withdrawn": "" if completed else texts.withdrawn}
    return {
        "html": own[at.state],
        "completed": completed,
        "completion": completion(service.config, at.journey, at.state),
    }


def _slates(service: Service, slates: tuple[Slate, ...]) -> dict[str, Any]:
    """The slate in view and `upcoming`, the one after it, for the page to load ahead."""
    current, *upcoming = [_slate(slate) for slate in slates]
    timeout_s = service.config.slates.timeout_s
    limit = {"timeout_s": timeout_s} if timeout_s else {}
    return {**current, "upcoming": upcoming[0] if upcoming else None, **limit}


def _slate(slate: Slate) -> dict[str, Any]:
    items = [
        {"position": item.position, "image": f"/img/{item.image_sha256}.png", "alt": f"Image {item.position + 1}"}
        for item in slate.items
    ]
    return {"slate_id": slate.id, "k": slate.k, "items": items}


def _progress(service: Service, progress: Progress, at: Place | None = None) -> dict[str, Any]:
    told = {"done": progress.done, "total": progress.total, "t": progress.t, "yours": progress.yours}
    picks = service.config.journey.picks
    return {**told, "mine": {"done": at.journey.answered, "total": picks}} if at and picks else told

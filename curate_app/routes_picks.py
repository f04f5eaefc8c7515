"""Slate and pick. A pick is committed, with the lease of the next slate, before it is answered."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from curate_app.journey_turns import turn_at, turn_of
from curate_app.service import Service
from curate_app.sessions import SessionCookie
from data.errors import PickRefusedError
from data.records import Outcome, Pick, StoredPick
from loop.journey import Place, place

REFUSALS = {"unknown": 404, "contradicts": 409, "lapsed": 410}


class PickBody(BaseModel):
    """The answer to a slate, as a page sends it."""

    model_config = ConfigDict(extra="forbid")

    slate_id: Annotated[int, Field(ge=1, lt=2**63)]
    outcome: Outcome
    position: Annotated[int, Field(ge=0, lt=10_000)] | None = None
    rt_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None
    input: Annotated[str, Field(max_length=40, pattern=r"^[a-z_-]*$")] | None = None
    viewport: Annotated[str, Field(max_length=40, pattern=r"^[0-9x@.]*$")] | None = None
    blurs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None

    def pick(self) -> Pick:
        """The record to store."""
        return Pick(**self.model_dump(exclude={"blurs"}), blur_count=self.blurs)


def add_picks(router: APIRouter, service: Service) -> None:
    """Adds GET /api/slate and POST /api/pick."""
    sessions = service.sessions

    @router.get("/api/slate")
    def slate(response: Response, cookie: SessionCookie = None) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        return turn_of(service, sessions.require(cookie))

    @router.post("/api/pick")
    def pick(body: PickBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.require(cookie)
        if body.outcome == "timeout" and not service.config.slates.timeout_s:
            raise _field_error("outcome", "this study has no time limit (slates.timeout_s), so nothing times out")
        try:
            stored, at = _record(service, session_id, body.pick())
        except PickRefusedError as error:
            raise HTTPException(REFUSALS[error.reason], str(error)) from None
        except ValueError as error:
            raise _field_error("position", str(error)) from None
        turn = turn_at(service, at)
        told = {"saved": True, "pick_id": stored.id, "duplicate": stored.duplicate}
        return {**told, "next": turn, "progress": turn["progress"]}


def _record(service: Service, session_id: str, pick: Pick) -> tuple[StoredPick, Place]:
    """Stores an answer and finds the session's next place, in one commit."""
    store, config = service.store, service.config
    return store.together(lambda: (store.record_pick(session_id, pick), place(store, config, session_id)))


def _field_error(name: str, message: str) -> HTTPException:
    return HTTPException(422, [{"loc": ["body", name], "msg": message}])

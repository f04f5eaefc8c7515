"""Slate and pick. A pick is committed, with the lease of the next slate, before it is answered."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from curate_app.rater.service import Service
from curate_app.rater.sessions import SessionCookie
from curate_app.rater.turns import turn_at
from data.errors import PickRefusedError
from data.records import Outcome, Pick, StoredPick
from loop.crowd.journey import Place

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
    """Adds GET /api/slate and POST /api/pick; neither holds a thread while it waits for the commit."""
    store, config, sessions = service.store, service.config, service.sessions

    @router.get("/api/slate")
    async def slate(response: Response, cookie: SessionCookie = None) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        sessions.signed(cookie)  # who has none doesn't get in line for the database
        return await service.commit(lambda: service.place(sessions.require(cookie)), lambda at: turn_at(service, at))

    @router.post("/api/pick")
    async def pick(body: PickBody, cookie: SessionCookie = None) -> dict[str, Any]:
        sessions.signed(cookie)
        if body.outcome == "timeout" and not config.slates.timeout_s:
            raise _field_error("outcome", "this study has no time limit (slates.timeout_s), so nothing times out")

        def record() -> tuple[StoredPick, Place]:
            session_id = sessions.require(cookie)
            return store.record_pick(session_id, body.pick()), service.place(session_id)

        try:
            return await service.commit(record, lambda found: _told(service, *found))
        except PickRefusedError as error:
            raise HTTPException(REFUSALS[error.reason], str(error)) from None
        except ValueError as error:
            raise _field_error("position", str(error)) from None


def _told(service: Service, stored: StoredPick, at: Place) -> dict[str, Any]:
    turn = turn_at(service, at)
    return {
        "saved": True,
        "pick_id": stored.id,
        "duplicate": stored.duplicate,
        "next": turn,
        "progress": turn["progress"],
    }


def _field_error(name: str, message: str) -> HTTPException:
    return HTTPException(422, [{"loc": ["body", name], "msg": message}])

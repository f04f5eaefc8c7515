"""The JSON routes of the rater's page: session, slate, pick, image. A pick is committed before it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from curate_app.movement import movement
from curate_app.sessions import PanelParameters, SessionCookie, Sessions, session_name
from data.errors import PickRefusedError
from data.records import Outcome, Pick, Progress, Slate, StoredPick
from data.store import Store
from loop.config import StudyConfig
from loop.serving import next_slates, picks_progress, worker_status

REFUSALS = {"unknown": 404, "contradicts": 409, "lapsed": 410}


class PickBody(BaseModel):
    """The answer to a slate, as a page sends it."""

    model_config = ConfigDict(extra="forbid")

    slate_id: Annotated[int, Field(ge=1, lt=2**63)]
    outcome: Outcome
    position: Annotated[int, Field(ge=0, lt=10_000)] | None = None
    rt_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None
    input: Annotated[str, Field(max_length=40)] | None = None
    viewport: Annotated[str, Field(max_length=40)] | None = None


@dataclass(frozen=True)
class Service:
    """What the routes work on."""

    store: Store
    config: StudyConfig
    sessions: Sessions


def build_routes(service: Service) -> APIRouter:
    """The routes of one study. Plain functions: FastAPI runs them in threads, each with its own connection."""
    router = APIRouter()
    store, config, sessions = service.store, service.config, service.sessions

    @router.post("/api/session")
    def session(
        request: Request, response: Response, cookie: SessionCookie = None, body: PanelParameters | None = None
    ) -> dict[str, Any]:
        session_id = sessions.open(body or PanelParameters(), cookie, request.headers.get("user-agent"))
        sessions.remember(request, response, session_id)
        progress = picks_progress(store, config, session_id)
        return {"session": session_name(session_id), "state": "picking", "progress": _progress(progress)}

    @router.get("/api/slate")
    def slate(response: Response, cookie: SessionCookie = None) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        session_id = sessions.require(cookie)
        return _turn(service, session_id, next_slates(store, config, session_id))

    @router.post("/api/pick")
    def pick(body: PickBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.require(cookie)
        given = Pick(**body.model_dump())

        def answer() -> tuple[StoredPick, list[Slate]]:  # one commit for the pick and the next slate's lease
            return store.record_pick(session_id, given), next_slates(store, config, session_id)

        try:
            stored, slates = store.together(answer)
        except PickRefusedError as error:
            raise HTTPException(REFUSALS[error.reason], str(error)) from None
        except ValueError as error:
            raise HTTPException(422, [{"loc": ["body", "position"], "msg": str(error)}]) from None
        turn = _turn(service, session_id, slates)
        return {
            "saved": True,
            "pick_id": stored.id,
            "duplicate": stored.duplicate,
            "next": turn,
            "progress": turn["progress"],
        }

    @router.post("/api/withdraw")
    def withdraw(cookie: SessionCookie = None) -> dict[str, Any]:
        store.withdraw(sessions.require(cookie))
        return {"withdrawn": True}

    @router.get("/api/generations")
    def generations(response: Response) -> dict[str, Any]:
        if not config.app.reveal:
            raise HTTPException(404, "This study does not show how the generator moves.")
        response.headers["Cache-Control"] = "no-store"
        return movement(store.generations())

    @router.get("/healthz")
    def healthz() -> dict[str, Any]:
        latest = store.latest_cut()
        return {"ok": True, "t": latest and latest[0], "worker": worker_status(store)["phase"]}

    return router


def _turn(service: Service, session_id: str, slates: Sequence[Slate]) -> dict[str, Any]:
    """What the page shows now, and `upcoming`: the slate after it, for the page to load ahead."""
    progress = _progress(picks_progress(service.store, service.config, session_id))
    worker = worker_status(service.store)
    if not slates:
        return {"state": "waiting", "worker": worker, "progress": progress, "retry_s": 1}
    current, *upcoming = [_slate(slate) for slate in slates]
    return {**current, "upcoming": upcoming[0] if upcoming else None, "worker": worker, "progress": progress}


def _slate(slate: Slate) -> dict[str, Any]:
    items = [
        {"position": item.position, "image": f"/img/{item.image_sha256}.png", "alt": f"Image {item.position + 1}"}
        for item in slate.items
    ]
    return {"state": "picking", "slate_id": slate.id, "t": slate.t, "k": slate.k, "items": items}


def _progress(progress: Progress) -> dict[str, int]:
    return {"done": progress.done, "total": progress.total, "t": progress.t, "yours": progress.yours}

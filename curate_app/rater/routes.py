"""The JSON routes of the rater's page. Those that write hold no thread until the commit."""

import asyncio
import json
import sqlite3
from asyncio import wrap_future
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from curate_app.rater.page import movement
from curate_app.rater.sessions import (
    Arrival,
    PanelParameters,
    Service,
    SessionCookie,
    session_name,
    session_state,
    turn_without,
)
from data.errors import PickRefusedError
from data.records import Outcome, Pick, StoredPick
from data.store import queries
from data.store.connection import PATIENCE_S
from loop.raters.journey import OutOfOrderError, Place, Step, admits, control_state, take_step, withdraw, worker_status

PROBE_S = 0.25
REFUSALS = {"unknown": 404, "contradicts": 409, "lapsed": 410}


def add_facts(router: APIRouter, service: Service) -> None:
    """Adds GET /api/generations and /healthz."""
    store, config = service.store, service.config

    @router.get("/api/generations")
    def generations(response: Response) -> dict[str, Any]:
        if not config.app.reveal:
            raise HTTPException(404, "This study does not show how the generator moves.")
        response.headers["Cache-Control"] = "no-store"
        return movement(store.generations())

    # what watches a server often asks for the head alone
    @router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    async def healthz(response: Response) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        facts: dict[str, Any] = {"t": None, "worker": None}
        serves, health = True, service.health
        try:
            probe = wrap_future(store.soon(lambda: None, lambda _: None))
            probe.add_done_callback(lambda future: future.cancelled() or future.exception())
            facts, serves = await run_in_threadpool(state)
            await asyncio.wait_for(asyncio.shield(probe), PROBE_S)
        except TimeoutError:
            pass  # a moment's wait is no trouble yet
        except (sqlite3.Error, OSError) as error:
            health.note(error)
        troubles: list[str] = [*health.faults(), *(["locked"] if store.blocked_s >= PATIENCE_S else [])]
        if not serves and (health.worker_failing or facts["worker"] == "absent"):
            troubles.append("no_slates")
        ok = not troubles
        if health.worker_failing:
            troubles.append("worker_failing")  # raters are served all the same, while there are slates
        if not ok:
            response.status_code = 503
        return {"ok": ok, **facts, **({"troubles": troubles} if troubles else {})}

    def state() -> tuple[dict[str, Any], bool]:
        """The state of generation and worker, and whether raters find slates or need none."""
        latest = store.latest_cut()
        serves = control_state(store).stopped or (latest is not None and queries.has_free_slate(store, latest[0]))
        return {"t": latest and latest[0], "worker": worker_status(store)["phase"]}, serves


class ConsentBody(PanelParameters):
    """A rater's word on the consent, with the panel's ids: until now nothing was stored."""

    agreed: bool


class StepBody(BaseModel):
    """A step that is done."""

    model_config = ConfigDict(extra="forbid")

    step: Step
    answer: Annotated[str, Field(max_length=5_000)] | None = None


def add_journey(router: APIRouter, service: Service) -> None:
    """Adds POST /api/session, /api/consent, /api/step and /api/withdraw; none holds a thread until the commit."""
    sessions, store, config = service.sessions, service.store, service.config

    @router.post("/api/session")
    async def session(
        request: Request, response: Response, cookie: SessionCookie = None, body: PanelParameters | None = None
    ) -> dict[str, Any]:
        arrival = await run_in_threadpool(sessions.arrive, body or PanelParameters(), cookie)
        if arrival.gate == "new" and config.journey.consent:
            return await run_in_threadpool(lambda: _no_session(service, "consent" if admits(store, config) else "full"))
        return await _enter(service, arrival, body or PanelParameters(), cookie, request, response)

    @router.post("/api/consent")
    async def consent(
        request: Request, response: Response, body: ConsentBody, cookie: SessionCookie = None
    ) -> dict[str, Any]:
        arrival = await run_in_threadpool(sessions.arrive, body, cookie)
        if arrival.gate == "new" and not body.agreed:
            if not config.journey.consent:
                raise HTTPException(409, "This study asks for no consent.")
            return await service.commit(
                lambda: store.log("rater", "declined"), lambda _: _no_session(service, "declined")
            )
        return await _enter(service, arrival, body, cookie, request, response)

    @router.post("/api/step")
    async def step(body: StepBody, cookie: SessionCookie = None) -> dict[str, Any]:
        sessions.signed(cookie)

        def take() -> Place:
            session_id = sessions.require(cookie)
            take_step(store, config, session_id, body.step, body.answer)
            return service.place(session_id)

        try:
            return await service.commit(take, lambda at: session_state(service, at))
        except OutOfOrderError as error:
            raise HTTPException(409, str(error)) from None
        except ValueError as error:
            raise HTTPException(422, [{"loc": ["body", "answer"], "msg": str(error)}]) from None

    @router.post("/api/withdraw")
    async def leave(cookie: SessionCookie = None) -> dict[str, Any]:
        sessions.signed(cookie)

        def leave() -> Place:
            session_id = sessions.require(cookie)
            withdraw(store, config, session_id)
            return service.place(session_id)

        return await service.commit(leave, lambda at: session_state(service, at))


async def _enter(
    service: Service,
    arrival: Arrival,
    parameters: PanelParameters,
    cookie: str | None,
    request: Request,
    response: Response,
) -> dict[str, Any]:
    """Lets someone in: to the session there is, or to a new one."""
    if arrival.gate not in ("known", "new"):
        return await run_in_threadpool(_no_session, service, arrival.gate)
    agent, consented = request.headers.get("user-agent"), bool(service.config.journey.consent)

    def enter() -> tuple[Arrival, Place | None]:
        entered = arrival
        if arrival.gate == "new":
            entered = service.sessions.admit(parameters, cookie, agent, consented=consented)
        if entered.session_id is None:
            return entered, None
        if request.client:
            service.whereabouts.saw(entered.session_id, request.client.host)
        return entered, service.place(entered.session_id)

    def told(entered: tuple[Arrival, Place | None]) -> tuple[str | None, dict[str, Any]]:
        arrived, at = entered
        if arrived.session_id is None or at is None:
            return None, _no_session(service, arrived.gate)
        return arrived.session_id, {"session": session_name(arrived.session_id), **session_state(service, at)}

    session_id, turn = await service.commit(enter, told)
    if session_id:
        service.sessions.remember(request, response, session_id)
    return turn


def _no_session(service: Service, state: str) -> dict[str, Any]:
    return {"session": None, **turn_without(service, state)}


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
        return await service.commit(
            lambda: service.place(sessions.require(cookie)), lambda at: session_state(service, at)
        )

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
    turn = session_state(service, at)
    return {
        "saved": True,
        "pick_id": stored.id,
        "duplicate": stored.duplicate,
        "next": turn,
        "progress": turn["progress"],
    }


def _field_error(name: str, message: str) -> HTTPException:
    return HTTPException(422, [{"loc": ["body", name], "msg": message}])


class AwaitedRoute(APIRoute):
    """Tells what is wrong with a request without repeating it: not every text or number can be written as JSON."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler, with malformed requests answered here."""
        handle = super().get_route_handler()

        async def awaited(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                detail = [{"loc": list(found["loc"]), "msg": found["msg"]} for found in error.errors()]
                return Response(json.dumps({"detail": detail}), 422, media_type="application/json")

        return awaited


def build_routes(service: Service) -> APIRouter:
    """The routes of one study."""
    router = APIRouter(route_class=AwaitedRoute)
    for add in (add_journey, add_picks, add_facts):
        add(router, service)
    return router

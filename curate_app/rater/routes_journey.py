"""The steps around the picks: arriving, consenting, instructions, question, closing, withdrawing."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from curate_app.rater.service import Service
from curate_app.rater.sessions import Arrival, PanelParameters, SessionCookie, session_name
from curate_app.rater.turns import turn_at, turn_without
from loop.crowd.journey import OutOfOrderError, Place, Step, admits, take_step, withdraw


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
            return await service.commit(take, lambda at: turn_at(service, at))
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

        return await service.commit(leave, lambda at: turn_at(service, at))


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
        return arrived.session_id, {"session": session_name(arrived.session_id), **turn_at(service, at)}

    session_id, turn = await service.commit(enter, told)
    if session_id:
        service.sessions.remember(request, response, session_id)
    return turn


def _no_session(service: Service, state: str) -> dict[str, Any]:
    return {"session": None, **turn_without(service, state)}

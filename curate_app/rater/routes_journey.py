"""The steps around the picks: arriving, consenting, instructions, question, closing, withdrawing."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from curate_app.rater.service import Service
from curate_app.rater.sessions import Arrival, PanelParameters, SessionCookie, session_name
from curate_app.rater.turns import turn_of, turn_without
from loop.crowd.journey import OutOfOrderError, Step, admits, take_step, withdraw


class ConsentBody(PanelParameters):
    """A rater's word on the consent, with the panel's ids: until now nothing was stored."""

    agreed: bool


class StepBody(BaseModel):
    """A step that is done."""

    model_config = ConfigDict(extra="forbid")

    step: Step
    answer: Annotated[str, Field(max_length=5_000)] | None = None


def add_journey(router: APIRouter, service: Service) -> None:
    """Adds POST /api/session, /api/consent, /api/step and /api/withdraw."""
    sessions, store, config = service.sessions, service.store, service.config

    @router.post("/api/session")
    def session(
        request: Request, response: Response, cookie: SessionCookie = None, body: PanelParameters | None = None
    ) -> dict[str, Any]:
        arrival = sessions.arrive(body or PanelParameters(), cookie)
        if arrival.gate == "new" and config.journey.consent:
            return _no_session(service, "consent" if admits(store, config) else "full")
        return _enter(service, arrival, request, response)

    @router.post("/api/consent")
    def consent(
        request: Request, response: Response, body: ConsentBody, cookie: SessionCookie = None
    ) -> dict[str, Any]:
        arrival = sessions.arrive(body, cookie)
        if arrival.gate == "new" and not body.agreed:
            if not config.journey.consent:
                raise HTTPException(409, "This study asks for no consent.")
            store.together(lambda: store.log("rater", "declined"))
            return _no_session(service, "declined")
        return _enter(service, arrival, request, response)

    @router.post("/api/step")
    def step(body: StepBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.require(cookie)
        try:
            store.together(lambda: take_step(store, config, session_id, body.step, body.answer))
        except OutOfOrderError as error:
            raise HTTPException(409, str(error)) from None
        except ValueError as error:
            raise HTTPException(422, [{"loc": ["body", "answer"], "msg": str(error)}]) from None
        return turn_of(service, session_id)

    @router.post("/api/withdraw")
    def leave(cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.require(cookie)
        store.together(lambda: withdraw(store, config, session_id))
        return turn_of(service, session_id)


def _enter(service: Service, arrival: Arrival, request: Request, response: Response) -> dict[str, Any]:
    """Lets someone in: to the session there is, or to a new one."""
    if arrival.gate in ("preview", "uninvited"):
        return _no_session(service, arrival.gate)
    session_id = arrival.session_id
    if session_id is None:
        agent, consented = request.headers.get("user-agent"), bool(service.config.journey.consent)
        session_id = service.sessions.admit(arrival, agent, consented=consented)
    if session_id is None:
        return _no_session(service, "full")
    service.sessions.remember(request, response, session_id)
    return {"session": session_name(session_id), **turn_of(service, session_id)}


def _no_session(service: Service, state: str) -> dict[str, Any]:
    return {"session": None, **turn_without(service, state)}

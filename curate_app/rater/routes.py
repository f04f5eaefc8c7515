"""The JSON routes of the rater's page, and the states that they answer with.

Routes that write hold no thread until the commit.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Lock
from typing import Annotated, Any, Self, TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from curate_app.plots.way import way_picture
from curate_app.rater.page import JourneyTexts, languages, movement
from curate_app.rater.sessions import Arrival, PanelParameters, SessionCookie, Sessions, session_name
from curate_app.web.security import Addresses, SessionSigner
from data.errors import BusyDatabaseError, PickRefusedError
from data.records import Outcome, Pick, Slate, StoredPick
from data.secret_file import kept_secret
from data.store import Store
from loop.analysis.movement import Movements
from loop.analysis.taste import Taste, read_taste, study_traits
from loop.config import StudyConfig
from loop.raters.journey import (
    TRIES,
    OutOfOrderError,
    Place,
    Step,
    WrongJudgementError,
    admits,
    allows_tie,
    asks_worst,
    check_judgement,
    completion,
    control_state,
    picks_progress,
    place,
    take_step,
    undo,
    withdraw,
    worker_status,
)
from loop.study import Study

ANSWER_S = 10.0  # longer than works wait for the write lock: this is for a disk that doesn't answer
POLL_S = 1
REFUSALS = {"unknown": 404, "contradicts": 409, "lapsed": 410, "final": 409, "late": 410}
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Service:
    """A study as its raters meet it.

    Attributes:
        store: the study's.
        config: the study's.
        sessions: of its raters.
        texts: of their journey.
        whereabouts: networks of the sessions.
    """

    store: Store
    config: StudyConfig
    sessions: Sessions
    texts: JourneyTexts
    whereabouts: Addresses

    @classmethod
    def of(cls, study: Study, whereabouts: Addresses | None = None) -> Self:
        """The service of a study.

        Raises:
            ValueError: a text of the journey can't be read, or the secrets file.
        """
        signer = SessionSigner(kept_secret(study.path, "session_key"))
        sessions, texts = Sessions(study.store, study.config, signer), JourneyTexts.of(study.config, study.path)
        return cls(study.store, study.config, sessions, texts, whereabouts or Addresses())

    def place(self, session_id: str) -> Place:
        """A session's present step, with its slates; see `loop.raters.journey.place`."""
        return place(self.store, self.config, session_id, lambda other: self.whereabouts.share(session_id, other))

    async def commit(self, work: Callable[[], T], then: Callable[[T], U]) -> U:
        """The result of `then` on that of `work`, which is committed first; holds no thread meanwhile.

        Raises:
            BusyDatabaseError: the commit takes too long. `work` is done later or never; it must bear being repeated.
        """
        committed = asyncio.wrap_future(self.store.soon(work, then))
        committed.add_done_callback(lambda future: future.cancelled() or future.exception())  # seen, if no one waits
        try:
            return await asyncio.wait_for(asyncio.shield(committed), ANSWER_S)
        except TimeoutError:
            raise BusyDatabaseError("database is locked: the disk doesn't answer") from None


def session_state(service: Service, at: Place) -> dict[str, Any]:
    """The state of a session at a place: the common fields, and what the page shows there."""
    texts, journey, fields = service.texts, service.config.journey, common_fields(service, at.state, at)
    if at.state in ("picking", "practice"):
        current, *upcoming = (slate_fields(slate) | judgement_fields(service.config, slate.k) for slate in at.slates)
        fields |= {**current, "upcoming": upcoming[0] if upcoming else None}  # for the page to load ahead
        if timeout_s := service.config.slates.timeout_s:
            fields["timeout_s"] = timeout_s
        if at.state == "picking" and service.config.slates.undo_s:
            fields["undo_s"] = service.config.slates.undo_s
        if at.state == "practice":
            fields["practice"] = {"done": at.journey.practised, "total": journey.practice}
        return fields
    if at.state in ("waiting", "paused"):
        return {**fields, "retry_s": POLL_S}
    if at.state == "consent":
        return {**fields, "html": texts.consent}
    if at.state == "instructions":
        return {**fields, "html": texts.instructions, "practice": journey.practice}
    if at.state == "question":
        tries_left = TRIES - at.journey.tries
        return {**fields, "html": texts.question, "choices": list(journey.choices), "tries_left": tries_left}
    if at.state == "closing":
        return {**fields, "html": texts.closing}
    completed = at.state == "finished" or "finished" in at.journey.reached
    html = {"finished": texts.thanks, "failed": texts.failed, "withdrawn": "" if completed else texts.withdrawn}
    end = completion(service.config, at.journey, at.state)
    return {**fields, "html": html[at.state], "completed": completed, "completion": end}


def state_without_session(service: Service, state: str) -> dict[str, Any]:
    """The state of a visitor without a session: one of the gates of `Arrival`, 'consent' or 'declined'."""
    fields = {"session": None, **common_fields(service, state)}
    if state == "consent":
        return {**fields, "html": service.texts.consent}
    if state == "preview":
        return {**fields, "html": service.texts.consent or service.texts.instructions}
    if state == "declined":
        panel = service.config.panel
        return {**fields, "html": service.texts.declined, "completion": panel.completion(panel.withdrew)}
    if state == "full":
        return {**fields, "over": control_state(service.store).finished}
    return fields


def common_fields(service: Service, state: str, at: Place | None = None) -> dict[str, Any]:
    """The fields of all states: `state`, `worker`, and `progress` to the next generation and, in a session, its own."""
    progress = picks_progress(service.store, service.config, at.journey.answered if at else 0)
    counts: dict[str, Any] = {"done": progress.done, "total": progress.total, "t": progress.t, "yours": progress.yours}
    if at and (picks := service.config.journey.picks):
        counts["mine"] = {"done": at.journey.answered, "total": picks}
    worker = worker_status(service.store)
    return {"state": state, "worker": {key: worker[key] for key in ("phase", "done", "left_s")}, "progress": counts}


def slate_fields(slate: Slate) -> dict[str, Any]:
    """A slate as the page gets it: nothing in it tells what the slate is for, or which generation drew its images."""
    items = [
        {"position": item.position, "text": item.text}
        if item.text is not None
        else {"position": item.position, "image": f"/img/{item.image_sha256}.png", "alt": f"Image {item.position + 1}"}
        for item in slate.items
    ]
    condition = {"condition": slate.condition} if slate.condition else {}
    return {"slate_id": slate.id, "k": slate.k, **condition, "items": items, "attempt": slate.attempt}


def judgement_fields(config: StudyConfig, k: int) -> dict[str, bool]:
    """The judgements that a slate of K asks for beside its best: `worst` and `tie`, each only where it is true."""
    asked = {"worst": asks_worst(config.slates, k), "tie": allows_tie(config.slates, k)}
    return {name: True for name, wanted in asked.items() if wanted}


class ConsentBody(PanelParameters):
    """A rater's answer to the consent, with the panel's ids, since nothing was stored before it."""

    agreed: bool


class StepBody(BaseModel):
    """A step that is done."""

    model_config = ConfigDict(extra="forbid")

    step: Step
    answer: Annotated[str, Field(max_length=5_000)] | None = None


class PickBody(BaseModel):
    """The answer to a slate, as a page sends it."""

    model_config = ConfigDict(extra="forbid")

    slate_id: Annotated[int, Field(ge=1, lt=2**63)]
    outcome: Outcome
    position: Annotated[int, Field(ge=0, lt=10_000)] | None = None
    worst: Annotated[int, Field(ge=0, lt=10_000)] | None = None
    rt_ms: Annotated[int, Field(ge=0, le=86_400_000)] | None = None
    input: Annotated[str, Field(max_length=40, pattern=r"^[a-z_-]*$")] | None = None
    viewport: Annotated[str, Field(max_length=40, pattern=r"^[0-9x@.]*$")] | None = None
    blurs: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None

    def pick(self) -> Pick:
        """The record to store."""
        return Pick(**self.model_dump(exclude={"blurs"}), blur_count=self.blurs)


class UndoBody(BaseModel):
    """The answer that a rater takes back: the session's last, or the `attempt`-th (from 1) to a slate."""

    model_config = ConfigDict(extra="forbid")

    slate_id: Annotated[int, Field(ge=1, lt=2**63)]
    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class TerseRoute(APIRoute):
    """A route that says what is wrong with a request without repeating it: not every value can be written as JSON."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler, with malformed requests answered here."""
        handle = super().get_route_handler()

        async def handle_tersely(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                detail = [{"loc": list(problem["loc"]), "msg": problem["msg"]} for problem in error.errors()]
                return Response(json.dumps({"detail": detail}), 422, media_type="application/json")

        return handle_tersely


def field_error(name: str, message: str) -> HTTPException:
    """422 that names a field of the body, in the form of FastAPI's own."""
    return HTTPException(422, [{"loc": ["body", name], "msg": message}])


def build_routes(service: Service) -> APIRouter:
    """The routes of one study."""
    router = APIRouter(route_class=TerseRoute)
    add_journey(router, service)
    add_picks(router, service)
    if service.config.app.reveal:
        add_reveal(router, service)
    return router


def add_reveal(router: APIRouter, service: Service) -> None:
    """Adds GET /api/generations, /api/way.png and /api/taste, for studies that show raters what becomes of picks."""
    store, config = service.store, service.config
    movements = Movements(store, config.data.family.factors if config.data.family else ())
    pictures: dict[tuple[Any, str], bytes | None] = {}  # of the latest generation, by language
    drawing = Lock()

    @router.get("/api/generations")
    def generations(response: Response) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        return movement(store.generations(), movements)

    @router.get("/api/way.png")
    def way(lang: str = "en") -> Response:
        texts = languages()
        language = lang if lang in texts else "en"
        key = store.latest_cut(), language
        with drawing:  # one after the other: whoever comes next finds it drawn
            if key not in pictures:
                for old in [old for old in pictures if old[0] != key[0]]:
                    del pictures[old]
                pictures[key] = way_picture(store, movements, config.app.title, texts[language])
            png = pictures[key]
        if png is None:
            raise HTTPException(404, "There is no generation to show yet.")
        headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="curate.png"'}
        return Response(png, media_type="image/png", headers=headers)

    @router.get("/api/taste")
    def own_taste(response: Response, cookie: SessionCookie = None) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        session_id, traits = service.sessions.signed(cookie), study_traits(store, config)
        return asdict(read_taste(store, traits, session_id) if traits else Taste(0, (), 0, 0, 0.0))


def add_journey(router: APIRouter, service: Service) -> None:
    """Adds POST /api/session, /api/consent, /api/step and /api/withdraw; none holds a thread until the commit."""
    sessions, store, config = service.sessions, service.store, service.config

    @router.post("/api/session")
    async def session(
        request: Request, response: Response, cookie: SessionCookie = None, body: PanelParameters | None = None
    ) -> dict[str, Any]:
        parameters = body or PanelParameters()
        arrival = await run_in_threadpool(sessions.arrive, parameters, cookie)
        if arrival.gate == "new" and config.journey.consent:
            return await run_in_threadpool(
                lambda: state_without_session(service, "consent" if admits(store, config) else "full")
            )
        return await enter(service, arrival, parameters, cookie, request, response)

    @router.post("/api/consent")
    async def consent(
        request: Request, response: Response, body: ConsentBody, cookie: SessionCookie = None
    ) -> dict[str, Any]:
        arrival = await run_in_threadpool(sessions.arrive, body, cookie)
        if arrival.gate == "new" and not body.agreed:
            if not config.journey.consent:
                raise HTTPException(409, "This study asks for no consent.")
            return await service.commit(
                lambda: store.log("rater", "declined"), lambda _: state_without_session(service, "declined")
            )
        return await enter(service, arrival, body, cookie, request, response)

    @router.post("/api/step")
    async def step(body: StepBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.signed(cookie)

        def take() -> Place:
            sessions.require(session_id)
            take_step(store, config, session_id, body.step, body.answer)
            return service.place(session_id)

        try:
            return await service.commit(take, lambda at: session_state(service, at))
        except OutOfOrderError as error:
            raise HTTPException(409, str(error)) from None
        except ValueError as error:
            raise field_error("answer", str(error)) from None

    @router.post("/api/withdraw")
    async def leave(cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.signed(cookie)

        def leave() -> Place:
            sessions.require(session_id)
            withdraw(store, config, session_id)
            return service.place(session_id)

        return await service.commit(leave, lambda at: session_state(service, at))


async def enter(
    service: Service,
    arrival: Arrival,
    parameters: PanelParameters,
    cookie: str | None,
    request: Request,
    response: Response,
) -> dict[str, Any]:
    """Lets a rater into the session there is, or into a new one, and sets its cookie; gives the state it is at.

    Those who may not come in get the state of their arrival's gate.
    """
    if arrival.gate not in ("known", "new"):
        return await run_in_threadpool(state_without_session, service, arrival.gate)
    agent, consented = request.headers.get("user-agent"), bool(service.config.journey.consent)

    def admit() -> tuple[Arrival, Place | None]:
        entered = arrival
        if arrival.gate == "new":
            entered = service.sessions.admit(parameters, cookie, agent, consented=consented)
        if entered.session_id is None:
            return entered, None
        if request.client:
            service.whereabouts.saw(entered.session_id, request.client.host)
        return entered, service.place(entered.session_id)

    def describe(admitted: tuple[Arrival, Place | None]) -> tuple[str | None, dict[str, Any]]:
        entered, at = admitted
        if entered.session_id is None or at is None:
            return None, state_without_session(service, entered.gate)
        return entered.session_id, {"session": session_name(entered.session_id), **session_state(service, at)}

    session_id, state = await service.commit(admit, describe)
    if session_id:
        service.sessions.remember(request, response, session_id)
    return state


def add_picks(router: APIRouter, service: Service) -> None:
    """Adds GET /api/slate, POST /api/pick and POST /api/undo; none holds a thread while it waits for the commit."""
    store, config, sessions = service.store, service.config, service.sessions

    @router.get("/api/slate")
    async def slate(response: Response, cookie: SessionCookie = None) -> dict[str, Any]:
        response.headers["Cache-Control"] = "no-store"
        session_id = sessions.signed(cookie)  # without a cookie nobody gets in line for the database

        def look_up() -> Place:
            sessions.require(session_id)
            return service.place(session_id)

        return await service.commit(look_up, lambda at: session_state(service, at))

    @router.post("/api/pick")
    async def pick(body: PickBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.signed(cookie)
        if body.outcome == "timeout" and not config.slates.timeout_s:
            raise field_error("outcome", "this study has no time limit (slates.timeout_s), so nothing times out")

        def check(pick: Pick, k: int) -> None:
            check_judgement(config.slates, pick, k)

        def record() -> tuple[StoredPick, Place]:
            sessions.require(session_id)
            return store.record_pick(session_id, body.pick(), check), service.place(session_id)

        try:
            return await service.commit(record, lambda recorded: receipt("saved", *recorded))
        except PickRefusedError as error:
            raise HTTPException(REFUSALS[error.reason], str(error)) from None
        except WrongJudgementError as error:
            raise field_error(error.field, str(error)) from None
        except ValueError as error:
            raise field_error("worst" if str(error).startswith("worst") else "position", str(error)) from None

    @router.post("/api/undo")
    async def take_back(body: UndoBody, cookie: SessionCookie = None) -> dict[str, Any]:
        session_id = sessions.signed(cookie)
        if not config.slates.undo_s:
            raise HTTPException(404, "In this study answers can't be taken back.")

        def mark() -> tuple[StoredPick, Place]:
            sessions.require(session_id)
            return undo(store, config, session_id, body.slate_id, body.attempt), service.place(session_id)

        try:
            return await service.commit(mark, lambda marked: receipt("undone", *marked))
        except PickRefusedError as error:
            raise HTTPException(REFUSALS[error.reason], str(error)) from None

    def receipt(word: str, stored: StoredPick, at: Place) -> dict[str, Any]:
        state = session_state(service, at)
        about = {word: True, "pick_id": stored.id, "duplicate": stored.duplicate}
        return {**about, "next": state, "progress": state["progress"]}

"""Routes that tell how the study goes: the generations, where they are shown, and whether the server is well."""

import asyncio
import sqlite3
from asyncio import wrap_future
from typing import Any

from fastapi import APIRouter, HTTPException, Response
from starlette.concurrency import run_in_threadpool

from curate_app.rater.movement import movement
from curate_app.rater.service import Service
from data.store.sharing import PATIENCE_S
from loop.crowd.controls import control_state
from loop.crowd.serving import worker_status

PROBE_S = 0.25


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
        """What the database knows of generation and worker, and whether raters find slates or need none."""
        latest = store.latest_cut()
        serves = control_state(store).stopped or (latest is not None and store.has_free_slate(latest[0]))
        return {"t": latest and latest[0], "worker": worker_status(store)["phase"]}, serves

"""Routes that tell how the study goes: the generations, where they are shown, and whether the server is well."""

from typing import Any

from fastapi import APIRouter, HTTPException, Response

from curate_app.rater.movement import movement
from curate_app.rater.service import Service
from loop.crowd.serving import worker_status


def add_facts(router: APIRouter, service: Service) -> None:
    """Adds GET /api/generations and /healthz."""
    store, config = service.store, service.config

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

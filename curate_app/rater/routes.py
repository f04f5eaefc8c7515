"""The JSON routes of the rater's page, in three parts. Those that write hold no thread until the commit.

routes_journey  session, consent, step, withdraw
routes_picks    slate and pick
routes_facts    generations and healthz
"""

import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from curate_app.rater.routes_facts import add_facts
from curate_app.rater.routes_journey import add_journey
from curate_app.rater.routes_picks import add_picks
from curate_app.rater.service import Service


class CalmRoute(APIRoute):
    """Tells what is wrong with a request without repeating it: not every text or number can be written as JSON."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler, with malformed requests answered here."""
        handle = super().get_route_handler()

        async def calmly(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                detail = [{"loc": list(found["loc"]), "msg": found["msg"]} for found in error.errors()]
                return Response(json.dumps({"detail": detail}), 422, media_type="application/json")

        return calmly


def build_routes(service: Service) -> APIRouter:
    """The routes of one study."""
    router = APIRouter(route_class=CalmRoute)
    for add in (add_journey, add_picks, add_facts):
        add(router, service)
    return router

"""Raters for the tests of the journey: clients of the routes alone, and a study with every step."""

from collections.abc import Callable
from typing import Any

import fastapi
from fastapi.testclient import TestClient

from curate_app.rater.routes import Service, build_routes
from curate_app.web.monitoring import Health, build_health_routes
from data.records import NewSlate, Sample
from loop.study import Study

STEPS = (
    "journey.consent=## Taking part\n\nYou may *stop* at any time.", "journey.instructions=Pick the **best** one.",
    "journey.practice=2", "journey.question=What do you pick?", 'journey.choices=["The best","The first","Any"]',
    "journey.answer=The best", "journey.picks=3", "journey.closing=Anything to tell us?", "journey.thanks=Thank you.",
)  # fmt: skip
CODES = ("panel.complete=DONE", "panel.failed=FAILED", "panel.withdrew=LEFT")
ANN = {"rater_id": "5f0c0ffee", "study_id": "study-1", "session_id": "submission-1"}


def with_practice(study: Study) -> Study:
    """Adds templates of practice slates, which a worker would have made."""
    k = study.config.curation.k
    assert isinstance(k, int)
    images = [row["image_sha256"] for row in study.store.rows("SELECT image_sha256 FROM sample LIMIT ?", [k])]
    samples = [Sample(0, seed, image_sha256=sha256) for seed, sha256 in enumerate(images)]
    study.store.add_slates(NewSlate(0, "practice", k, n, samples) for n in range(8))
    return study


class Rater:
    """A browser, as far as the routes can tell."""

    def __init__(self, study: Study, client: TestClient | None = None):
        self.study = study
        self.client = client or TestClient(app_of(study))

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        """The answer to a request that has to go well."""
        response = self.client.post(f"/api/{route}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, route: str, **body: Any) -> int:
        """The status of a request that must not go well."""
        response = self.client.post(f"/api/{route}", json=body)
        assert 400 <= response.status_code < 500, response.text
        return response.status_code

    def turn(self) -> dict[str, Any]:
        response = self.client.get("/api/slate")
        assert response.status_code == 200, response.text
        return response.json()

    def pick(self, turn: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Answers the slate of a turn; gives the whole answer."""
        return self.post("pick", **{"slate_id": turn["slate_id"], "outcome": "pick", "position": 1, **more})

    def pick_until(self, state: str, turn: dict[str, Any]) -> dict[str, Any]:
        """Answers slates until the turn is at another state."""
        while turn["state"] != state:
            turn = self.pick(turn)["next"]
        return turn

    def begin(self, **ids: str) -> dict[str, Any]:
        """Arrives and agrees."""
        self.post("session", **ids)
        return self.post("consent", agreed=True, **ids)


def app_of(study: Study, health: Health | None = None) -> fastapi.FastAPI:
    """The routes without Gradio's pages, which take a second to build."""
    app = fastapi.FastAPI()
    app.include_router(build_routes(Service.of(study)))
    app.include_router(build_health_routes(study.store, health or Health(study.path)))
    return app


def rows(study: Study) -> dict[str, int]:
    """The number of rows of each table of people, and the events."""
    tables = ("rater", "session", "identity", "pick", "answer", "event")
    return {table: study.store.value(f"SELECT count(*) FROM {table}") for table in tables}


def new_rows(study: Study, act: Callable[[], object]) -> dict[str, int]:
    """The tables that grew while `act` ran, and by how much."""
    before = rows(study)
    act()
    return {table: n - before[table] for table, n in rows(study).items() if n != before[table]}

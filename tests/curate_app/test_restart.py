"""A server that is killed while raters answer: nothing acknowledged is missing or doubled, everyone goes on in place.

Run as a script, this file is that server: it serves a study's routes on a listening socket that it is given.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn

from loop.study import Study
from tests.curate_app.journeys import app_of

ROOT = Path(__file__).parents[2]
KILLS = 2


class Server:
    """A process that can be killed and started again; who asks meanwhile waits in the socket's queue."""

    def __init__(self, study: Study):
        self.study = study
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.start()

    def start(self) -> None:
        descriptor = self.listening.fileno()
        command = [sys.executable, "-m", "tests.curate_app.test_restart", str(self.study.path), str(descriptor)]
        self.process = subprocess.Popen(command, cwd=ROOT, pass_fds=[descriptor])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def serve(path: str, descriptor: int) -> None:
    """Serves the routes of a study until it is killed."""
    app = app_of(Study.open(Path(path)))
    uvicorn.Server(uvicorn.Config(app, fd=descriptor, log_level="error", access_log=False)).run()


@pytest.fixture
def server(make_study) -> Iterator[Server]:
    """A server of a study of twenty picks."""
    started = Server(make_study("journey.picks=20", "schedule.picks=1000", "panel.kind=prolific"))
    yield started
    started.kill()
    started.listening.close()


class Patient:
    """A rater whose page sends a pick again until it is acknowledged."""

    def __init__(self, server: Server, name: str):
        self.server, self.client = server, httpx.Client(base_url=server.url, timeout=60)
        self.acknowledged: dict[int, tuple[int, int]] = {}
        self.turn = self.ask("session", rater_id=name, session_id=f"submission of {name}")

    def ask(self, route: str, **body: object) -> dict:
        while True:
            try:
                return self.client.post(f"/api/{route}", json=body).raise_for_status().json()
            except httpx.TransportError:  # the server was killed meanwhile
                continue

    def pick(self) -> None:
        slate, position = self.turn["slate_id"], len(self.acknowledged) % 4
        saved = self.ask("pick", slate_id=slate, outcome="pick", position=position)
        self.acknowledged[slate] = (saved["pick_id"], position)
        self.turn = saved["next"]


def test_kill_9_costs_nobody_a_pick_or_the_place(server: Server, publish_generation):
    publish_generation(server.study, 1, slates=80)
    with ThreadPoolExecutor(4) as pool:
        raters = list(pool.map(lambda name: Patient(server, name), "abcd"))
        for _ in range(KILLS):
            under_way = [pool.submit(lambda rater=rater: [rater.pick() for _ in range(5)]) for rater in raters[1:]]
            raters[0].pick()
            server.kill()
            server.start()
            for one in under_way:
                one.result(timeout=120)
        before = [rater.turn["slate_id"] for rater in raters]
        server.kill()
        server.start()
        elsewhere = list(pool.map(lambda name: Patient(server, name), "abcd"))
    assert [rater.turn["slate_id"] for rater in elsewhere] == before
    stored = server.study.store.rows("SELECT slate_id, id, position FROM pick")
    kept = {row["slate_id"]: (row["id"], row["position"]) for row in stored}
    assert kept == {slate: given for rater in raters for slate, given in rater.acknowledged.items()}
    assert len(kept) == KILLS * (3 * 5 + 1)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))

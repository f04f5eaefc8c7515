"""The researcher's downloads: behind the login, the same as the command line's, and one report at a time."""

import subprocess
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from curate_app.admin import page as admin_exports
from curate_app.commands.export import SALT
from curate_app.report.files import MARK
from curate_app.web.app import build_app
from data.choice_log import Source, export
from data.choice_log.formats import write_long_csv
from data.schema import NAMES
from data.secret_file import kept_secret
from loop.simulate import simulate
from loop.study import Study, configure

CHOICES, REPORT = "/admin/export/choices.csv", "/admin/export/report.html"
WAY = "/admin/export/way.png"
HERE = "http://127.0.0.1"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory, tiny_moons: tuple[str, ...]):
    """A moons study of one simulated generation, to be looked at only."""
    study = Study.create(tmp_path_factory.mktemp("exports") / "study", configure("moons", tiny_moons))
    simulate(study, 1, lambda phase, done, total: None)
    yield study
    study.store.close()


@pytest.fixture(scope="module")
def client(simulated: Study) -> TestClient:
    return TestClient(build_app(simulated, admin_open=True, password=None), base_url=HERE)


def test_nothing_is_exported_to_strangers(simulated: Study):
    closed = TestClient(build_app(simulated, admin_open=False, password="open sesame"), base_url=HERE)
    for path in (CHOICES, REPORT, WAY):
        answer = closed.get(path)
        assert answer.status_code == 401 and "choice_id" not in answer.text
    closed.post("/admin/login", data={"password": "open sesame"})
    assert closed.get(CHOICES).text.startswith("choice_id,")


def test_the_choice_log_is_that_of_curate_export(simulated: Study, client: TestClient, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(export, "PAGE", 70)
    source = Source(simulated.store, "study", kept_secret(simulated.path, SALT))
    n = write_long_csv(source, tmp_path / "log.csv").rows
    answer = client.get(CHOICES)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="choices.csv"'
    assert answer.content == (tmp_path / "log.csv").read_bytes() and n > 140


def test_a_study_without_picks_has_a_log_of_a_head_only(study: Study):
    assert list(export.csv_pages(study.store, "study")) == [",".join(NAMES) + "\r\n"]


def test_the_report_is_a_whole_one_and_leaves_no_trace(simulated: Study, client: TestClient):
    before = set(simulated.path.rglob("*"))
    answer = client.get(REPORT)
    assert answer.status_code == 200 and MARK in answer.text and "<svg" in answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="report.html"'
    assert set(simulated.path.rglob("*")) == before


def test_one_report_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    meanwhile = []

    def slow(path: Path) -> bytes:
        meanwhile.append(client.get(REPORT))
        return b"<html>"

    monkeypatch.setattr(admin_exports, "report_of", slow)
    assert client.get(REPORT).status_code == 200
    assert meanwhile[0].status_code == 409 and "try again" in meanwhile[0].text


def test_a_report_that_fails_says_what_to_do(client: TestClient, simulated: Study, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path) -> bytes:
        raise subprocess.CalledProcessError(1, "curate", stderr="Error: no room on the disk.\n")

    monkeypatch.setattr(admin_exports, "report_of", fail)
    for _ in range(2):  # and the next one may try again
        answer = client.get(REPORT)
        assert answer.status_code == 409
        assert "no room on the disk." in answer.text and f"curate report {simulated.path}" in answer.text

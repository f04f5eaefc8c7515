"""`curate invite`: links that work once, printed or written once, of which the study keeps hashes alone."""

import csv
import io
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curate_app.cli import app
from loop.study import Study
from tests.curate_app.journeys import Rater


@pytest.fixture
def linked(make_study) -> Study:
    """A study of one-time links."""
    return make_study("panel.kind=link")


def invite(study: Study, *arguments: object) -> str:
    result = CliRunner().invoke(app, ["invite", str(study.path), *map(str, arguments)])
    if isinstance(result.exception, ValueError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def links(text: str) -> list[str]:
    return [row["link"] for row in csv.DictReader(io.StringIO(text))]


def test_every_printed_link_lets_one_person_in(linked: Study):
    made = links(invite(linked, "--n", 3, "--base-url", "https://picks.example.org/"))
    assert len(set(made)) == 3 and all(link.startswith("https://picks.example.org/?token=") for link in made)
    sessions = {Rater(linked).post("session", token=link.partition("token=")[2])["session"] for link in made}
    assert len(sessions) == 3 and None not in sessions


def test_the_study_keeps_no_token(linked: Study):
    tokens = [link.partition("token=")[2] for link in links(invite(linked, "--n", 5))]
    kept = b"".join(file.read_bytes() for file in linked.path.glob("study.db*"))
    assert linked.store.value("SELECT count(*) FROM invite") == 5
    assert not any(token.encode() in kept for token in tokens)
    assert linked.store.events(kinds=("invited",))[0]["detail"] == {"n": 5}


def test_a_file_of_links_is_its_owners_alone_and_never_replaced(linked: Study, tmp_path: Path):
    out = tmp_path / "links.csv"
    invite(linked, "--n", 2, "--out", out)
    assert len(links(out.read_text())) == 2 and stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(ValueError, match="there already"):
        invite(linked, "--n", 2, "--out", out)
    with pytest.raises(ValueError, match="no folder"):
        invite(linked, "--n", 2, "--out", tmp_path / "nowhere" / "links.csv")
    assert linked.store.value("SELECT count(*) FROM invite") == 2


def test_what_cannot_work_is_refused(linked: Study, study: Study):
    with pytest.raises(ValueError, match="--base-url"):
        invite(linked, "--n", 1, "--base-url", "picks.example.org")
    with pytest.raises(ValueError, match=r'panel\.kind is "open"'):
        invite(study, "--n", 1)
    assert linked.store.value("SELECT count(*) FROM invite") == 0

"""Cookies that can't be made up, the file that holds their key, and sessions that outlive the server."""

import stat
import string
import tomllib
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from curate_app.processes import admin_password
from curate_app.web.app import build_app
from curate_app.web.security import SessionSigner
from data.secret_file import kept_secret
from loop.study import Study

SIGNER = SessionSigner("a key of sixteen or more")
ID = "0123456789abcdef-_0123"


def client_of(study: Study, base: str = "http://testserver") -> TestClient:
    return TestClient(build_app(study, admin_open=True, password=None), base_url=base)


def test_what_was_signed_opens_again():
    assert SIGNER.unsign(SIGNER.sign(ID)) == ID
    assert SessionSigner("a key of sixteen or more").unsign(SIGNER.sign(ID)) == ID


@given(st.integers(0, 65), st.characters(codec="utf-8"))
def test_a_cookie_with_any_character_changed_is_refused(place: int, character: str):
    signed = SIGNER.sign(ID)
    changed = signed[:place] + character + signed[place + 1 :]
    assert changed == signed or SIGNER.unsign(changed) is None


def test_another_spelling_of_the_same_signature_is_refused():
    """Base 64 can write one signature in several ways, and readers of it pass over what they don't know."""
    signed = SIGNER.sign(ID)
    spelled = [signed[:-1] + last for last in string.ascii_letters + string.digits + "-_" if last != signed[-1]]
    spelled += [signed + more for more in ("=", "==", "!", ".", "\u00e9", " ")]
    spelled += [signed.replace("_", "/"), signed.replace("-", "+"), f"{ID}.!{signed[len(ID) + 1 :]}"]
    assert not [cookie for cookie in spelled if cookie != signed and SIGNER.unsign(cookie)]


@given(st.one_of(st.none(), st.text(), st.from_regex(r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}", fullmatch=True)))
def test_made_up_cookies_are_refused(cookie: str | None):
    assert SIGNER.unsign(cookie) is None


def test_another_studys_signature_is_refused():
    assert SessionSigner("some other key, as long").unsign(SIGNER.sign(ID)) is None


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="16 characters"):
        SessionSigner("short")


def test_a_secret_is_made_once_and_is_the_owners_alone(tmp_path: Path):
    made = kept_secret(tmp_path, "session_key")
    assert kept_secret(tmp_path, "session_key") == made
    assert kept_secret(tmp_path, "other") != made
    assert kept_secret(tmp_path, "session_key") == made
    assert len(made) >= 40
    assert stat.S_IMODE((tmp_path / "secrets.toml").stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_closed(tmp_path: Path):
    file = tmp_path / "secrets.toml"
    file.write_text('session_key = "kept as it is, all of it"\n')
    file.chmod(0o644)
    assert kept_secret(tmp_path, "session_key") == "kept as it is, all of it"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["not toml at all", 'session_key = ""', "session_key = 7", "\xff"])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, text: str):
    (tmp_path / "secrets.toml").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"secrets\.toml"):
        kept_secret(tmp_path, "session_key")
    assert (tmp_path / "secrets.toml").read_text(encoding="latin-1") == text


def test_threads_and_processes_agree_on_new_secrets(tmp_path: Path):
    names = ["a", "b", "c"] * 8
    with get_context("spawn").Pool(3) as pool, ThreadPoolExecutor(4) as threads:
        elsewhere = pool.starmap_async(kept_secret, [(tmp_path, name) for name in names])
        here = list(threads.map(lambda name: kept_secret(tmp_path, name), names))
        assert elsewhere.get(60) == here
    assert tomllib.loads((tmp_path / "secrets.toml").read_text()) == dict(zip(names, here, strict=True))


def test_the_researchers_password_keeps_its_place_beside_the_key(tmp_path: Path):
    key = kept_secret(tmp_path, "session_key")
    password = admin_password(tmp_path, "", "0.0.0.0")
    assert password and password == admin_password(tmp_path, "", "0.0.0.0")
    assert kept_secret(tmp_path, "session_key") == key != password
    assert admin_password(tmp_path, "", "127.0.0.1") is None


def test_a_session_outlives_the_server(study: Study):
    client = client_of(study)
    client.post("/api/session")
    turn = client.get("/api/slate").json()
    again = client_of(study)
    again.cookies.set("curate_session", client.cookies["curate_session"])
    assert again.get("/api/slate").json() == turn
    again.post("/api/session")
    assert study.store.value("SELECT count(*) FROM session") == 1


def test_a_forged_cookie_is_refused_without_a_look_into_the_database(study: Study, monkeypatch: pytest.MonkeyPatch):
    client = client_of(study)
    client.post("/api/session")
    (session_id,) = [row["id"] for row in study.store.rows("SELECT id FROM session")]

    def looked(_self: object, session_id: str) -> bool:
        raise AssertionError(f"looked for {session_id}")

    monkeypatch.setattr(type(study.store), "has_session", looked)
    signed = client.cookies["curate_session"]
    for forged in (session_id, f"{session_id}.", signed[:-1], signed + "A", signed.swapcase(), "' OR 1=1 --"):
        stranger = client_of(study)
        answer = stranger.get("/api/slate", headers={"cookie": f'curate_session="{forged}"'})
        assert answer.status_code == 401


def test_a_forged_cookie_gives_a_session_of_ones_own(study: Study):
    client = client_of(study)
    client.post("/api/session", headers={"cookie": "curate_session=AAAAAAAAAAAAAAAAAAAAAA." + "A" * 43})
    assert not client.cookies["curate_session"].startswith("AAAA")


@pytest.mark.parametrize(("base", "secure"), [("http://testserver", False), ("https://testserver", True)])
def test_behind_https_the_cookie_goes_over_https_only(study: Study, base: str, secure: bool):
    header = client_of(study, base).post("/api/session").headers["set-cookie"]
    assert ("secure" in header.lower()) is secure
    assert "HttpOnly" in header and "SameSite=lax" in header


def test_nobody_joins_the_simulated_raters(study: Study):
    name = study.store.bulk_session("sim", "someone")
    before = study.store.value("SELECT count(*) FROM session")
    answer = client_of(study).post("/api/session", json={"panel": "curate", "rater_id": "someone"})
    assert answer.status_code == 422
    assert study.store.value("SELECT count(*) FROM session") == before and name

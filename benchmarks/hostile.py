"""Attacks on studies that are really served, on this machine alone; exit code 1 when one of them finds something.

    python -m benchmarks.hostile                    # or: make hostile
    python -m benchmarks.hostile --requests 2000    # a short one

A finding is a status of 5xx other than an honest 503 or 507, something stored that should not be, someone else's data
in an answer, a traceback in the server's log, or a refusal that did not come. What needs a browser, a broken disk, a
stopped clock or a killed worker is in the suite; its tests are the last attack. docs/security.md says what against.
"""

import argparse
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from loop.study import Study, configure
from tests.curate_app.attacks import Attacker
from tests.curate_app.conftest import publish
from tests.curate_app.journeys import ANN, CODES, STEPS, with_practice
from tests.curate_app.test_hostile import UNLIMITED, bombard

PASSWORD = "open sesame"
HONEST = (503, 507)
SUITE = (
    "curate_app/test_takeover.py", "curate_app/test_admin_auth.py", "curate_app/test_rights.py",
    "curate_app/test_deadlines.py", "curate_app/test_admin_hostile.py", "curate_app/test_blindness.py",
    "curate_app/test_failures.py", "curate_app/test_processes.py", "data/test_clock.py",
    "data/choice_log/test_tables.py",
    "loop/test_leases.py",
)  # fmt: skip
CLOSED = (
    "/admin/", "/admin", "/admin/config", "/admin/export/choices.csv", "/admin/export/report.html", "/admin//config",
    "/admin/gradio_api/info", "/admin/gradio_api/queue/data", "/admin/%2e%2e/admin/config", "/Admin/config",
    "//admin/config", "/openapi.json", "/admin/openapi.json", "/docs", "/gradio_api/openapi.json", "/monitoring",
    "/gradio_api/file=study.toml", "/static/..%2f..%2fsecrets.toml", "/study.db", "/secrets.toml", "/user", "/token",
)  # fmt: skip
RAW = (
    b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET http://evil/ HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 200_000 + b"\r\n\r\n",
    b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nabcde",
    b"POST /api/session HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /static/x HTTP/1.1\r\nHost: a\r\nRange: bytes=" + b"9" * 5_000 + b"-\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [\r\nCookie: " + b"curate_session=\xff;" * 90 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
)  # fmt: skip


class Served:
    """A study behind `curate serve`, in a process of its own.

    Attributes:
        study: opened by this process as well, to look at what was stored.
        url: where it is served.
    """

    def __init__(self, folder: Path, *settings: str):
        self.study = Study.create(folder, configure("digits", [f"app.password={PASSWORD}", *settings]))
        publish(self.study, 0)
        publish(self.study, 1, slates=400)
        with_practice(self.study)
        self.study.store.follow_clock()  # as the first lease would, which adds a row
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}", folder.with_suffix(".log")
        command = [sys.executable, "-m", "curate_app", "serve", str(folder), "--port", str(port), "--no-worker"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try:
                requests.get(f"{self.url}/healthz", timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.1)
        raise RuntimeError(f"The server does not answer: {self.log.read_text()}")

    def stop(self) -> list[str]:
        """Ends the server; what its log tells of faults."""
        self.process.terminate()
        self.process.wait(timeout=30)
        self.study.store.close()
        return re.findall(r"^\w+(?:\.\w+)*(?:Error|Exception)\b.*$|^Traceback.*$", self.log.read_text(), re.MULTILINE)


@contextmanager
def serving(folder: Path, findings: dict[str, list[str]], *settings: str) -> Iterator[Served]:
    """A served study, with the faults in its log among the findings."""
    served = Served(folder, *settings)
    try:
        yield served
    finally:
        findings.setdefault("the server's log", []).extend(served.stop())


def wrong_statuses(counts: Counter[int], *allowed: int) -> list[str]:
    """The statuses among counted ones that are not allowed, in words."""
    return [f"{n} answers {status}" for status, n in counts.items() if status not in allowed]


def guess_passwords(served: Served) -> tuple[int, list[str]]:
    """Basic and login passwords from 'addresses' that a header makes up."""
    counts: Counter[int] = Counter()
    for n in range(60):
        headers = {"X-Forwarded-For": f"203.0.113.{n}", "X-Real-IP": f"2001:db8::{n}"}
        basic = requests.get(f"{served.url}/metrics", auth=("x", f"guess {n}"), headers=headers, timeout=60)
        form = {"password": f"guess {n}"}
        login = requests.post(f"{served.url}/admin/login", form, headers=headers, timeout=60, allow_redirects=False)
        counts.update((basic.status_code, login.status_code))
    findings = wrong_statuses(counts, 401, 429)
    right = requests.post(f"{served.url}/admin/login", {"password": PASSWORD}, timeout=60, allow_redirects=False)
    findings += [f"{counts[401]} guesses looked at"] * (counts[401] > 10) + ["no lock"] * (right.status_code != 429)
    return 121, findings


def try_closed_paths(served: Served) -> tuple[int, list[str]]:
    """Paths that nobody may read without the password, and answers that another site's script may not read."""
    findings = []
    for path in CLOSED:
        headers = {"Origin": "http://evil.example", "Cookie": "curate_admin=guess"}
        answer = requests.get(served.url + path, headers=headers, timeout=60, allow_redirects=False)
        if answer.status_code not in (303, 401, 403, 404) or PASSWORD in answer.text:
            findings.append(f"{path}: {answer.status_code}")
    for path in ("/", "/config", "/theme.css", "/api/slate", "/healthz"):
        answer = requests.get(served.url + path, headers={"Origin": "http://evil.example"}, timeout=60)
        findings += [f"{path}: {name}" for name in answer.headers if name.lower().startswith("access-control")]
    return len(CLOSED) + 5, findings


def take_over(served: Served) -> tuple[int, list[str]]:
    """Sessions under another rater's id: of a rater at work, and of one who finished."""
    ann, n, findings = requests.Session(), 0, []
    turn = ann.post(f"{served.url}/api/consent", json={"agreed": True, **ANN}, timeout=60).json()
    before = served.study.store.value("SELECT count(*) FROM session")
    for session_id in (None, "", "guess", ANN["session_id"].upper(), f"{ANN['session_id']} ", "%"):
        for route in ("session", "consent"):
            thief = requests.Session()
            body = {**ANN, "session_id": session_id, **({"agreed": True} if route == "consent" else {})}
            reply = thief.post(f"{served.url}/api/{route}", json=body, timeout=60)
            leave = thief.post(f"{served.url}/api/withdraw", json={}, timeout=60)
            n += 2
            if reply.json().get("session") or "slate_id" in reply.json() or thief.cookies or leave.status_code != 401:
                findings.append(f"{route} with session_id {session_id!r} let in")
    findings += ["sessions stored"] * (served.study.store.value("SELECT count(*) FROM session") != before)
    again = ann.get(f"{served.url}/api/slate", timeout=60).json()
    findings += ["the rater's own place is lost"] * (again.get("state") != turn.get("state"))
    return n, findings


def flood_with_sessions(served: Served) -> tuple[int, list[str]]:
    """New sessions from one address as fast as they go, while one who is in picks on."""
    ann, began = requests.Session(), time.monotonic()
    turn = ann.post(f"{served.url}/api/session", json={"rater_id": "in", "session_id": "in"}, timeout=60).json()
    before = served.study.store.value("SELECT count(*) FROM session")

    def arrive(n: int) -> int:
        body = {"agreed": True, "rater_id": f"flood-{n}", "session_id": str(n)}
        return requests.post(f"{served.url}/api/{('session', 'consent')[n % 2]}", json=body, timeout=60).status_code

    findings, counts = [], Counter[int]()
    with ThreadPoolExecutor(8) as threads:
        floods = [threads.submit(arrive, n) for n in range(1_500)]
        for _ in range(25):
            body = {"slate_id": turn.get("slate_id", 1), "outcome": "pick", "position": 0}
            answer = ann.post(f"{served.url}/api/pick", json=body, timeout=60)
            if answer.status_code != 200 or answer.json()["next"]["state"] != "picking":
                findings.append(f"who was in got {answer.status_code}: {answer.text[:120]}")
                break
            turn = answer.json()["next"]
        counts.update(flood.result() for flood in floods)
    app = served.study.config.app
    most = app.requests_per_address * (2.5 + time.monotonic() - began) / 20
    opened = served.study.store.value("SELECT count(*) FROM session") - before
    findings += [f"{opened} sessions opened, {most:.0f} allowed"] * (opened > most) + wrong_statuses(counts, 200, 429)
    held = served.study.store.value("SELECT count(*) FROM slate WHERE lease_until IS NOT NULL")
    findings += [f"{held} slates held by one address"] * (held > app.leases_per_address + 2)
    return 1_526, findings


def send_slowly(served: Served) -> tuple[int, list[str]]:
    """Three hundred requests that never end; the server has to answer others, and to close these."""
    place, findings = (urlsplit(served.url).hostname, urlsplit(served.url).port), []
    held = [socket.create_connection(place) for _ in range(300)]
    for number, connection in enumerate(held):
        part = b"" if number % 2 else b"Content-Length: 9\r\nContent-Type: application/json\r\n\r\n{"
        connection.sendall(b"POST /api/session HTTP/1.1\r\nHost: localhost\r\n" + part)
    answer = requests.get(f"{served.url}/healthz", timeout=20)
    findings += [f"/healthz: {answer.status_code}"] * (not answer.ok)
    until = time.monotonic() + 40
    for connection in held:
        connection.settimeout(max(0.1, until - time.monotonic()))
        try:
            connection.recv(1)
        except TimeoutError:
            findings.append("a request that never ends is held for 40 s")
            break
        except OSError:
            pass
    for connection in held:
        connection.close()
    return 301, findings


def send_raw_bytes(served: Served) -> tuple[int, list[str]]:
    """Bytes that no HTTP library would send."""
    place, findings = (urlsplit(served.url).hostname, urlsplit(served.url).port), []
    for raw in RAW:
        with socket.create_connection(place) as connection:
            connection.settimeout(30)
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(4096)
            except OSError:  # closed before all was sent
                continue
        status = re.match(rb"HTTP/1\.1 (\d{3})", answer)
        if status and int(status[1]) >= 500 and int(status[1]) not in HONEST:
            findings.append(f"{raw[:60]!r}: {status[1].decode()}")
    return len(RAW), findings


def look_at_rights(served: Served) -> tuple[int, list[str]]:
    """Files of a served study that others on the machine could read, and the password in them."""
    files = [served.study.path, *served.study.path.glob("study.*"), *served.study.path.glob("secrets.toml")]
    findings = [f"{file.name} is open to others" for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077]
    findings += [f"the password stands in {file.name}" for file in files[1:] if PASSWORD.encode() in file.read_bytes()]
    return 0, findings


def run_suite(files: tuple[str, ...]) -> tuple[int, list[str]]:
    """The suite's own attacks: browser, disk, clock, killed processes."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *(f"tests/{file}" for file in files)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return 0, [] if ran.returncode == 0 else ran.stdout.splitlines()[-3:]


def main() -> None:
    """Serves two studies, attacks them, prints a table of the attacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50_000, help="of the bombardment with made-up requests")
    parser.add_argument("--no-suite", action="store_true", help="leave the suite's attacks out")
    options = parser.parse_args()
    by_attack: dict[str, list[str]] = {}

    def attack(name: str, act: Callable[[], tuple[int, list[str]]]) -> None:
        began = time.monotonic()
        try:
            n, findings = act()
        except (AssertionError, requests.RequestException) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            n, findings = 0, [f"{type(error).__name__}: {str(error)[:300]} ({where.name}: {where.line})"]
        by_attack.setdefault(name, []).extend(findings)
        sent = f"{n:,} requests" if n else ""
        print(f"{name:<46}{sent:>16}{time.monotonic() - began:>8.0f} s   {len(findings) or 'no'} findings", flush=True)

    def bombardment(served: Served) -> tuple[int, list[str]]:
        attacker = Attacker(served.study, served.url)
        bombard(served.study, attacker, options.requests)
        return attacker.sent, []

    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        with serving(Path(folder) / "prolific", by_attack, "panel.kind=prolific", "schedule.picks=100000") as served:
            attack("files that others can read", lambda: look_at_rights(served))
            attack("sessions under another rater's id", lambda: take_over(served))
            attack("paths behind the password, other origins", lambda: try_closed_paths(served))
            attack("bytes that are no HTTP", lambda: send_raw_bytes(served))
            attack("a flood of new sessions", lambda: flood_with_sessions(served))
            attack("guessed passwords, forged addresses", lambda: guess_passwords(served))
            attack("requests that never end", lambda: send_slowly(served))
        with serving(Path(folder) / "open", by_attack, *UNLIMITED, *STEPS, *CODES) as served:
            attack("made-up, broken and misordered requests", lambda: bombardment(served))
    attack("the server's log", lambda: (0, []))
    if not options.no_suite:
        attack("the suite's attacks", lambda: run_suite(SUITE))
    for name, findings in by_attack.items():
        for finding in findings:
            print(f"  {name}: {finding}")
    sys.exit(any(by_attack.values()))


if __name__ == "__main__":
    main()

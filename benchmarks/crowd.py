"""A crowd against a real server and a real worker: picks a second, latencies, memory, and every pick accounted for.

    python benchmarks/crowd.py --raters 300 --seconds 300             # the worker idle
    python benchmarks/crowd.py --raters 300 --seconds 300 --training  # while a generation trains
    python benchmarks/crowd.py --raters 300 --seconds 300 --kill 10   # and the server is killed ten times
    python benchmarks/crowd.py --raters 300 --seconds 300 --kill 10 --kill-worker 3 --lock 60

The study is made in a temporary folder: digits, generation 0 from the starter, and enough slates of perturbed real
digits that the pool never runs dry (drawing 300 slates a second is a GPU's work). Clients, server and worker share
the machine's cores. Disturbances fall into the middle three fifths of a run, so its ends are quiet; latencies are told
apart by what went on when the request was sent. Targets with two cores: 285 picks/s of 300, p95 under 100 ms when quiet
and 250 ms while training.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
from crowd_clients import SETTLE_S, Tally, crowd

from data.datasets import digits
from data.images import encode_png
from data.records import NewSlate, Sample
from data.store import queries
from loop.study import Study, configure

IMAGES = 20_000
UP_S = 5.0  # that a server runs at the least before it is killed again
CURATE = [sys.executable, "-m", "curate_app"]


def main() -> None:
    """Makes a study, sends the crowd, prints what it saw; exit code 1 when a pick is missing, doubled or changed."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        study = Study.open(options.study) if options.study else make_study(Path(folder) / "study", options)
        before = study.store.last_pick()
        server = Server(study.path, worker=not options.no_worker)
        tally = Tally()
        try:
            server.start()
            if options.training:
                start_training(study)
            threading.Thread(target=server.watch, daemon=True).start()
            for disturb in (
                lambda: server.kill_often(options.kill, options.seconds, tally),
                lambda: server.kill_worker_often(options.kill_worker, options.seconds, tally),
                lambda: hold_lock(study.path / "study.db", options.lock, options.seconds, tally),
            ):
                threading.Thread(target=disturb, daemon=True).start()
            asyncio.run(crowd("127.0.0.1", server.port, options.raters, options.seconds, tally, vars(options)))
            metrics = server.metrics()
        finally:
            server.stop()
        print_times(tally, options)
        print_server(server, metrics, len(tally.acknowledged))
        faults = compare(study, tally, before, stuck(tally, options))
        study.store.close()
    sys.exit(bool(faults))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--period", type=float, default=1.0, help="seconds between one rater's picks")
    parser.add_argument("--ramp", type=float, default=5.0, help="seconds over which they arrive")
    parser.add_argument("--reload", type=float, default=0.005, help="reloads of the page for each pick")
    parser.add_argument("--undo", type=float, default=0.03, help="share of answers that are taken back")
    parser.add_argument("--drop", type=float, default=0.002, help="share of raters that leave each second")
    parser.add_argument("--kill", type=int, default=0, help="kill -9 the server so often")
    parser.add_argument("--kill-worker", type=int, default=0, help="kill -9 the worker so often")
    parser.add_argument("--lock", type=float, default=0, help="seconds for which another program locks the database")
    parser.add_argument("--training", action="store_true", help="a generation trains meanwhile")
    parser.add_argument("--picks", type=int, default=0, help="picks in the study before it begins")
    parser.add_argument("--study", type=Path, help="an existing study, instead of a new one")
    parser.add_argument("--no-worker", action="store_true", help="the server alone, with an existing study")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_study(path: Path, options: argparse.Namespace) -> Study:
    """A digits study with generation 0, slates for the whole run, and as many picks as asked for."""
    wanted = int(1.2 * options.raters * (options.seconds / options.period + 4)) + 2_000
    settings = ["train.finetune_steps=1000000", "schedule.picks=100000000", "pool.size=96", "pool.audit=48"]
    study = Study.create(path, configure("digits", settings))
    run = [*CURATE, "worker", str(path), "--once"]
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    names = add_images(study)
    add_slates(study, names, "audit" if options.training else "curation", wanted)
    if options.picks:
        add_picks(study, names, options.picks)
    print(f"study: {wanted:,} free slates, {options.picks:,} picks, made in {time.monotonic() - began:.0f} s")
    return study


def add_images(study: Study) -> list[str]:
    """Distinct images: real digits, perturbed."""
    rng, real = np.random.default_rng(0), digits().x
    noisy = real[rng.integers(len(real), size=IMAGES)].astype(int)
    noisy += rng.integers(0, 32, noisy.shape)
    pngs = [encode_png(pixels) for pixels in noisy.clip(0, 255).astype(np.uint8)]
    study.store.add_images(pngs)
    return [sha256 for sha256, _ in pngs]


def add_slates(study: Study, names: list[str], purpose: str, n: int, sessions: list[str] | None = None) -> list[int]:
    """Slates of four: free, or answered by the sessions in turn."""
    rng, ids = np.random.default_rng(n), []
    for start in range(0, n, 50_000):
        size = min(50_000, n - start)
        which = rng.integers(len(names), size=(size, 4))
        slates = (
            NewSlate(0, purpose, 4, start + i, [Sample(0, 4 * i + j, 0.5, 1, names[m]) for j, m in enumerate(row)])
            for i, row in enumerate(which.tolist())
        )
        owners = [sessions[i % len(sessions)] for i in range(size)] if sessions else None
        ids += study.store.add_slates(slates, picked_by=owners)
    return ids


def add_picks(study: Study, names: list[str], n: int) -> None:
    """Picks that a thousand people gave before."""
    store = study.store
    sessions = [
        store.add_session(f"before-{i}", store.add_rater("human", panel="past", panel_rater_id=str(i)))
        for i in range(1_000)
    ]
    ids = add_slates(study, names, "curation", n, sessions)
    store.add_picks((slate, sessions[i % 50_000 % 1_000], i % 4, {}) for i, slate in enumerate(ids))


def start_training(study: Study) -> None:
    """Asks for a generation, and waits until it trains."""
    store = study.store
    if queries.count_curation_picks(store, after=0) == 0:
        pngs = [encode_png(pixels) for pixels in digits().x[:4]]
        store.add_images(pngs)
        samples = [Sample(0, 10**6 + j, 0.5, 1, sha256) for j, (sha256, _) in enumerate(pngs)]
        session = store.bulk_session("sim", "starter")
        (slate,) = store.add_slates([NewSlate(0, "curation", 4, 0, samples)], picked_by=[session])
        store.add_picks([(slate, session, 0, {})])
    store.log("researcher", "retrain_requested")
    until = time.monotonic() + 120
    while store.status("worker").get("phase") != "training":
        if time.monotonic() > until:
            raise SystemExit("the worker didn't begin to train")
        time.sleep(0.2)


def moments(n: int, seconds: float) -> list[float]:
    """When n disturbances begin: evenly in the middle three fifths of the run."""
    return [seconds * (0.2 + 0.6 * (i + 0.5) / n) for i in range(n)]


def hold_lock(database: Path, seconds: float, run_s: float, tally: Tally) -> None:
    """Locks the database against writing in the middle of the run, as a program that forgot to commit does."""
    if not seconds:
        return
    time.sleep(max(0.0, (run_s - seconds) / 2))
    with tally.disturbed("locked"):
        other = sqlite3.connect(database, timeout=30, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        other.execute("ROLLBACK")
        other.close()


def stuck(tally: Tally, options: argparse.Namespace) -> list[str]:
    """Seats whose rater didn't go on: nothing acknowledged in the last seconds of the run."""
    since = time.monotonic() - SETTLE_S - 5
    if options.seconds < 2 * SETTLE_S:
        return []
    return [f"rater {seat} did not go on" for seat in range(options.raters) if tally.last_saved.get(seat, 0.0) < since]


class Server:
    """`curate serve` as a process, watched and killed."""

    def __init__(self, study: Path, *, worker: bool = True):
        self.study = study
        self.worker = worker
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen | None = None
        self.memory: list[tuple[float, float, float]] = []
        self.down: list[float] = []
        self.worker_deaths = 0
        self.leaving = False

    def start(self) -> None:
        """Starts it and waits until it answers."""
        run = [*CURATE, "serve", str(self.study), "--port", str(self.port), *([] if self.worker else ["--no-worker"])]
        self.process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
        while True:
            try:
                self._get("/healthz")
                return
            except urllib.error.HTTPError:  # it answers, and says that not all is well
                return
            except OSError:
                time.sleep(0.1)

    def watch(self) -> None:
        """Notes memory and processor time once a second."""
        began = time.monotonic()
        while not self.leaving:
            try:
                assert self.process
                status = Path(f"/proc/{self.process.pid}/status").read_text()
                stat = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                resident = int(status.split("VmRSS:")[1].split()[0]) / 1024
                ticks = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
                self.memory.append((time.monotonic() - began, resident, ticks))
            except (OSError, IndexError):
                pass
            time.sleep(1)

    def kill_often(self, n: int, seconds: float, tally: Tally) -> None:
        """Kills it (-9) n times, and starts it again at once; less often where its start takes too long for that."""
        began = time.monotonic()
        for moment in moments(n, seconds):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            if time.monotonic() - began > 0.8 * seconds:
                return
            tally.disturbances.append(name := "server killed")
            assert self.process
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            killed = time.monotonic()
            self.start()
            self.down.append(time.monotonic() - killed)
            time.sleep(UP_S)
            threading.Timer(SETTLE_S - UP_S, tally.disturbances.remove, [name]).start()

    def kill_worker_often(self, n: int, seconds: float, tally: Tally) -> None:
        """Kills the worker (-9) n times, between the server's deaths; the server starts it again."""
        began = time.monotonic()
        for moment in moments(n, seconds):
            time.sleep(max(0.0, began + moment + 0.02 * seconds - time.monotonic()))
            threading.Thread(target=self.kill_worker, args=(tally,), daemon=True).start()

    def kill_worker(self, tally: Tally) -> None:
        """Kills the worker as soon as there is one."""
        with tally.disturbed("worker killed"):
            for _ in range(300):
                for pid in self.children():
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                        self.worker_deaths += 1
                        return
                time.sleep(0.1)

    def children(self) -> list[int]:
        """The processes that the server has started: its worker."""
        pids = []
        if self.process:
            for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
                with suppress(OSError):
                    pids += [int(pid) for pid in file.read_text().split()]
        return pids

    def metrics(self) -> str:
        """The text of /metrics at the end; empty where the server doesn't answer."""
        try:
            return self._get("/metrics")
        except OSError:
            return ""

    def stop(self) -> None:
        """Ends it as Ctrl-C would."""
        self.leaving = True
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=30)

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read().decode()


def print_times(tally: Tally, options: argparse.Namespace) -> None:
    """Prints the clients' picks, latencies and errors."""
    seconds = sorted(tally.by_second)
    settled = seconds[int(options.ramp) + 1 : -1] or seconds
    rate = np.mean([tally.by_second[s] for s in range(settled[0], settled[-1] + 1)]) if settled else 0.0
    print(f"{options.raters} raters, {options.seconds:.0f} s{', training' if options.training else ''}")
    given = f"picks acknowledged {len(tally.acknowledged):,}, {len(tally.undone):,} more taken back"
    print(f"{given}; {rate:.1f} picks/s after the arrivals")
    for (phase, name), times in sorted(tally.times.items()):
        p50, p95, p99 = np.percentile(1000 * np.array(times), [50, 95, 99])
        print(f"  {phase:<14}{name:<8}{len(times):>9,}   p50 {p50:7.1f}   p95 {p95:7.1f}   p99 {p99:7.1f} ms")
    print(f"errors: {dict(tally.errors) or 'none'}; waited for a slate {tally.waits} times")
    print(f"longest wait for an acknowledgement: {tally.longest_s:.1f} s")


def print_server(server: Server, metrics: str, picks: int) -> None:
    """Prints the server's memory, processor time, deaths and own metrics."""
    if server.memory:
        shown = server.memory[:: max(1, len(server.memory) // 10)]
        print("server memory (MiB):", " ".join(f"{mib:.0f}" for _, mib, _ in shown))
        if not server.down:
            (t0, _, cpu0), (t1, _, cpu1) = server.memory[0], server.memory[-1]
            cpu = cpu1 - cpu0
            print(f"server processor: {cpu / max(t1 - t0, 1):.2f} cores, {1000 * cpu / picks:.2f} ms a pick")
    print(f"clients' processor: {1000 * time.process_time() / picks:.2f} ms a pick")
    if server.down:
        print(f"killed {len(server.down)} times; back after {max(server.down):.1f} s at the most")
    if server.worker_deaths:
        print(f"worker killed {server.worker_deaths} times")
    for line in metrics.splitlines():
        if line.startswith("curate_request_seconds_sum") or line.startswith("curate_request_seconds_count"):
            print(" ", line)


def compare(study: Study, tally: Tally, before: int, stuck: list[str]) -> list[str]:
    """Every acknowledged pick against the database: stored once, as it was given; and nobody stuck or failed bare.

    What was taken back is stored too, marked; nothing else is.
    """
    stored: dict[int, tuple[int, str, int | None]] = {}
    undone: dict[int, tuple[str, int | None]] = {}
    faults = [*tally.doubled, *stuck]
    faults += [f"{n} x {error}" for error, n in tally.errors.items() if error.endswith(": 500")]
    rows = study.store.rows(
        """SELECT pick.id, slate_id, outcome, position, undone_at, leased_to IS session_id AS own FROM pick
        JOIN slate ON slate.id = slate_id JOIN session ON session.id = session_id JOIN rater ON rater.id = rater_id
        WHERE pick.id > ? AND kind = 'human'""",
        [before],
    )
    for row in rows:
        if not row["own"] and row["undone_at"] is None:
            faults.append(f"slate {row['slate_id']} was answered by someone else")
        if row["undone_at"] is not None:
            undone[row["id"]] = (row["outcome"], row["position"])
            if row["slate_id"] not in tally.taken_back:
                faults.append(f"pick {row['id']} is marked as taken back, and nobody asked for that")
            continue
        if row["slate_id"] in stored:
            faults.append(f"slate {row['slate_id']} is answered twice")
        stored[row["slate_id"]] = (row["id"], row["outcome"], row["position"])
    for slate, given in tally.acknowledged.items():
        if stored.get(slate) != given:
            faults.append(f"slate {slate}: acknowledged {given}, stored {stored.get(slate)}")
    for pick_id, given in tally.undone.items():
        if undone.get(pick_id) != given:
            faults.append(f"pick {pick_id}: acknowledged as taken back {given}, stored {undone.get(pick_id)}")
    strangers = stored.keys() - tally.sent
    faults += [f"slate {slate} has a pick that nobody sent" for slate in strangers]
    unheard = len(stored.keys() - tally.acknowledged.keys())
    given = len(tally.acknowledged) + len(tally.undone)
    print(json.dumps({"acknowledged": given, "of_these_taken_back": len(tally.undone),
                      "stored": len(stored) + len(undone), "of_these_marked": len(undone),
                      "stored_but_unheard": unheard, "faults": len(faults)}))  # fmt: skip
    for fault in faults[:20]:
        print("FAULT", fault)
    return faults


if __name__ == "__main__":
    main()

"""Simulated browsers for crowd.py: bare HTTP/1.1 over asyncio, light enough that hundreds fit beside the server.

Each does what the page does: a cookie, a slate, its images fetched once by content (the upcoming slate's ahead), a
pick after a while, the same pick again until it is acknowledged, a poll now and then, sometimes an undo, a reload or a
departure.
"""

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

GIVE_UP_S = 20.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
POLL_S = 12.0
WAITING_S = 1.5
OUTAGE_S = 2.0  # behind a rater's own clock from which it isn't caught up with
ANSWERS = (("pick", 0.97), ("none", 0.03))
QUIET = "quiet"
SETTLE_S = 20.0  # after a disturbance, until the last client has asked again and caught up


class Refused(Exception):  # noqa: N818
    """The server answered, and not with 200."""

    def __init__(self, status: int):
        super().__init__(f"HTTP {status}")
        self.status = status


class Wire(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self):
        self.transport: asyncio.Transport | None = None
        self.buffer = b""
        self.answer: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the way out."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Collects an answer until it is whole."""
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end]
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        if self.answer and not self.answer.done():
            self.answer.set_result((int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells who waits that no answer will come."""
        self.transport = None
        if self.answer and not self.answer.done():
            self.answer.set_exception(ConnectionError("closed"))

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer; ConnectionError when there is none in time."""
        if self.transport is None:
            raise ConnectionError("closed")
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        timer = loop.call_later(GIVE_UP_S, self.close)
        self.transport.write(request)
        try:
            return await self.answer
        finally:
            timer.cancel()

    def close(self) -> None:
        """Drops the connection."""
        if self.transport:
            self.transport.abort()


@dataclass
class Tally:
    """The picks, latencies and errors of all clients."""

    acknowledged: dict[int, tuple[int, str, int | None]] = field(default_factory=dict)  # slate: pick, outcome, position
    doubled: list[str] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)
    undone: dict[int, tuple[str, int | None]] = field(default_factory=dict)  # by pick: outcome, position
    taken_back: set[int] = field(default_factory=set)  # slates whose answer was asked back, heard or not
    times: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))  # by phase and call
    errors: Counter[str] = field(default_factory=Counter)
    waits: int = 0
    longest_s: float = 0.0  # from a pick to its acknowledgement
    by_second: Counter[int] = field(default_factory=Counter)
    last_saved: dict[int, float] = field(default_factory=dict)  # by seat
    disturbances: list[str] = field(default_factory=list)

    @property
    def phase(self) -> str:
        """The disturbance that began last and isn't over, or 'quiet'."""
        under_way = [*self.disturbances]
        return under_way[-1] if under_way else QUIET

    @contextmanager
    def disturbed(self, name: str) -> Iterator[None]:
        """A disturbance; what is asked in it and until all have settled counts under its name."""
        self.disturbances.append(name)
        try:
            yield
            time.sleep(SETTLE_S)
        finally:
            self.disturbances.remove(name)

    def saved(self, seat: int, pick: dict, answer: dict) -> None:
        """Notes an acknowledged pick; two different words about one slate are a fault."""
        self.last_saved[seat] = time.monotonic()
        now = (answer["pick_id"], pick["outcome"], pick.get("position"))
        before = self.acknowledged.setdefault(pick["slate_id"], now)
        if before != now:
            self.doubled.append(f"slate {pick['slate_id']}: {before} and {now}")
        self.by_second[int(time.monotonic())] += 1

    def unsaved(self, slate_id: int, answer: dict) -> None:
        """Notes an acknowledged undo; it must be of the answer that was acknowledged."""
        pick_id, *given = self.acknowledged.pop(slate_id)
        self.undone[pick_id] = (given[0], given[1])
        if answer["pick_id"] != pick_id:
            self.doubled.append(f"slate {slate_id}: pick {answer['pick_id']} was taken back instead of {pick_id}")


class Client:
    """One rater's browser."""

    def __init__(self, host: str, port: int, tally: Tally, rng: random.Random, options: dict, seat: int):
        self.host, self.port, self.tally, self.rng, self.seat = host, port, tally, rng, seat
        self.period, self.reload, self.undo_share = options["period"], options["reload"], options["undo"]
        self.cookie = b""
        self.wires: dict[str, Wire] = {}
        self.cached: set[str] = set()
        self.turn: dict = {}
        self.next_poll = time.monotonic() + POLL_S * rng.random()

    async def visit(self, until: float) -> None:
        """Opens the page and picks until it is over."""
        loading: asyncio.Task | None = None
        try:
            await self.open()
            due = time.monotonic() + self.period * self.rng.random()
            while time.monotonic() < until:
                if self.turn.get("state") != "picking":
                    await self.wait()
                    continue
                if loading:
                    await loading
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due = self.next_due(due)
                await self.pick()
                loading = asyncio.create_task(self.load())
                if self.rng.random() < self.reload:
                    await loading
                    self.close()
                    await self.open()
                elif time.monotonic() > self.next_poll:
                    self.next_poll = time.monotonic() + POLL_S
                    self.turn = await self.persist("slate", "GET", "/api/slate")
        finally:
            if loading:
                loading.cancel()
            self.close()

    def next_due(self, due: float) -> float:
        """When the next pick is due: on the rater's own clock, so that a slow answer isn't spared the next request.

        After an outage raters go on at their own pace; nobody picks ten times a second to make up for a minute lost.
        """
        now, following = time.monotonic(), due + self.period
        if now - following > OUTAGE_S:
            return now + self.period * self.rng.random()
        return max(following, now + 0.1)

    async def open(self) -> None:
        """Does what a load or a reload of the page does."""
        await self.persist("page", "GET", "/", parse=False)
        await self.persist("session", "POST", "/api/session", {})
        self.turn = await self.persist("slate", "GET", "/api/slate")
        await self.load()

    async def wait(self) -> None:
        """The page has nothing to show; it asks again."""
        self.tally.waits += 1
        await asyncio.sleep(WAITING_S)
        self.turn = await self.persist("slate", "GET", "/api/slate")
        await self.load()

    async def pick(self) -> None:
        """Answers the slate in view and follows what the server says next."""
        outcome = self.rng.choices([name for name, _ in ANSWERS], [share for _, share in ANSWERS])[0]
        pick = {"slate_id": self.turn["slate_id"], "outcome": outcome, "rt_ms": 700, "input": "mouse"}
        pick["attempt"] = self.turn.get("attempt", 1)
        if outcome == "pick":
            pick["position"] = self.rng.randrange(self.turn["k"])
        self.tally.sent.add(pick["slate_id"])
        began = time.monotonic()
        try:
            answer = await self.persist("pick", "POST", "/api/pick", pick)
        except Refused as refused:
            self.tally.errors[f"pick refused: {refused.status}"] += 1
            self.turn = await self.persist("slate", "GET", "/api/slate")
            return
        self.tally.longest_s = max(self.tally.longest_s, time.monotonic() - began)
        self.tally.saved(self.seat, pick, answer)
        self.turn = answer["next"]
        if self.rng.random() < self.undo_share:
            await self.undo(pick)

    async def undo(self, pick: dict) -> None:
        """Takes the answer back; its slate comes next, to be answered anew."""
        self.tally.taken_back.add(pick["slate_id"])
        body = {"slate_id": pick["slate_id"], "attempt": pick["attempt"]}
        try:
            answer = await self.persist("undo", "POST", "/api/undo", body)
        except Refused as refused:  # too late, or it trains: the answer stands
            self.tally.errors[f"undo refused: {refused.status}"] += 1
            return
        self.tally.unsaved(pick["slate_id"], answer)
        self.turn = answer["next"]

    async def load(self) -> None:
        """Fetches the images of the slate in view and of the one after it, those not seen before."""
        for slate in (self.turn, self.turn.get("upcoming")):
            for item in (slate or {}).get("items", ()):
                if item["image"] not in self.cached:
                    await self.persist("image", "GET", item["image"], parse=False, wire="image")
                    self.cached.add(item["image"])

    async def persist(self, name: str, method: str, path: str, body=None, *, parse=True, wire="api"):
        """As the page does: again after a while when the network fails or the server can't."""
        wait = FIRST_WAIT_S
        while True:
            try:
                return await self.call(name, method, path, body, parse, wire)
            except (OSError, Refused) as error:
                status = getattr(error, "status", 0)
                cause = str(status) if status else "connection"
                if status and status < 500 and status != 429:
                    raise
                self.tally.errors[f"{name}: {cause}"] += 1
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT_S)

    async def call(self, name: str, method: str, path: str, body, parse: bool, wire: str):
        """One request; its time counts under `name`."""
        data = b"" if body is None else json.dumps(body).encode()
        headers = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n".encode()
        if self.cookie:
            headers += b"Cookie: " + self.cookie + b"\r\n"
        if body is not None:
            headers += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(data)
        phase, began = self.tally.phase, time.perf_counter()
        status, head, answer = await (await self.wire(wire)).ask(headers + b"\r\n" + data)
        if status != 200:
            raise Refused(status)
        self.tally.times[phase, name].append(time.perf_counter() - began)
        if name == "session":
            at = head.lower().find(b"set-cookie: curate_session=")
            self.cookie = head[at + 12 :].split(b";", 1)[0]
        return json.loads(answer) if parse else None

    async def wire(self, name: str) -> Wire:
        """The connection of that name, opened anew when it is gone."""
        known = self.wires.get(name)
        if known is None or known.transport is None:
            loop = asyncio.get_running_loop()
            _, known = await asyncio.wait_for(loop.create_connection(Wire, self.host, self.port), GIVE_UP_S)
            self.wires[name] = known
        return known

    def close(self) -> None:
        """Drops all connections, as a closed tab does."""
        for wire in self.wires.values():
            wire.close()
        self.wires.clear()


async def crowd(host: str, port: int, n: int, seconds: float, tally: Tally, options: dict) -> None:
    """So many clients for some seconds; they arrive over a while, and who leaves is replaced by someone new."""
    start = time.monotonic()
    until = start + seconds

    async def seat(number: int) -> None:
        rng = random.Random(options["seed"] * 100_003 + number)
        await asyncio.sleep(options["ramp"] * number / n)
        while time.monotonic() < until:
            client = Client(host, port, tally, rng, options, number)
            stay = rng.expovariate(options["drop"]) if options["drop"] else seconds
            await client.visit(min(until, time.monotonic() + stay))

    await asyncio.gather(*(seat(number) for number in range(n)))

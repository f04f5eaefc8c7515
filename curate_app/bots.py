"""Simulated raters who go through a served study's pages over HTTP, as a browser does: a dress rehearsal for a crowd.

A bot knows what it likes (a taste: weights on named numbers of the samples), lapses now and then, tires, and does every
step of the journey. The server can't tell it from a person but by its user agent and its id.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import numpy as np

from loop.config import StudyConfig
from loop.user_types import luce_rule, tie_rule

AGENT = "curate-crowd (a simulated rater)"
SPREAD = 0.4  # of the logarithm of the seconds over a slate
ARRIVALS_S = 5.0  # in which all come, at the most
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
GIVE_UP_S = 20.0
LONGEST_SILENCE_S = 120.0  # without a slate or an answer, after which a bot leaves
ENDS = ("finished", "failed", "withdrawn", "declined", "full", "uninvited", "incomplete", "elsewhere", "preview")


@dataclass(frozen=True, slots=True)
class Habits:
    """The manner in which every bot picks.

    Attributes:
        picks: slates that it answers before it leaves.
        seconds: median time over a slate; the times are log-normal.
        lapse: share of its picks made at random at the start.
        fatigue: added to the lapse by the last slate, in proportion to the slates answered.
    """

    picks: int
    seconds: float = 2.0
    lapse: float = 0.0
    fatigue: float = 0.0

    @property
    def expected_s(self) -> float:
        """Seconds from the first arrival to the last answer, where the server is quick and never out of slates."""
        return self.picks * self.seconds * math.exp(SPREAD**2 / 2) + min(ARRIVALS_S, 3 * self.seconds)

    def lapse_at(self, answered: int) -> float:
        """Probability that the next pick is made at random."""
        return min(1.0, self.lapse + self.fatigue * answered / max(1, self.picks - 1))


@dataclass
class Rehearsal:
    """The bots' record of what happened.

    Attributes:
        acknowledged: outcome, position and worst of every answer that the server said it has, by slate.
        lapses: probability with which each of these was given at random, by slate.
        seconds: from a request to its answer, by kind of request.
        faults: requests that failed, by kind and reason; all of them were sent again.
        waits: times a bot found no slate.
        ends: how the bots' visits ended, by state.
        elapsed: seconds in all.
    """

    acknowledged: dict[int, tuple[str, int | None, int | None]] = field(default_factory=dict)
    lapses: dict[int, float] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    waits: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    elapsed: float = 0.0


class Bot:
    """One simulated rater.

    Args:
        client: HTTP, with the study's address; its cookies are the bot's own.
        config: the study's, for the answer to its question.
        utility: of an image, by its content's hash, or of a text.
        habits: of all bots.
        rehearsal: where it writes what happened.
        number: which bot it is; its randomness follows from it and the seed.
        seed: of the rehearsal.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        config: StudyConfig,
        utility: Callable[[str], float],
        habits: Habits,
        rehearsal: Rehearsal,
        number: int,
        seed: int,
    ):
        self.client, self.config, self.utility = client, config, utility
        self.habits, self.rehearsal, self.number = habits, rehearsal, number
        self.rng = np.random.default_rng([seed, number])
        self.seen: set[str] = set()
        self.answered = 0

    async def visit(self) -> None:
        """Opens the page and goes through the study, until it is over or the bot has picked enough."""
        await self.request("page", "GET", "/", parse=False)
        state = await self.request("session", "POST", "/api/session", self.parameters())
        heard = time.monotonic()
        while state["state"] not in ENDS and self.answered < self.habits.picks:
            if state["state"] in ("waiting", "paused"):
                if time.monotonic() - heard > LONGEST_SILENCE_S:
                    break
                self.rehearsal.waits += 1
                await asyncio.sleep(min(float(state.get("retry_s", 2.0)), 2.0))
                state = await self.request("slate", "GET", "/api/slate")
                continue
            state, heard = await self.step(state), time.monotonic()
        self.rehearsal.ends[state["state"] if state["state"] in ENDS else "left"] += 1

    def parameters(self) -> dict[str, Any]:
        """The ids with which a panel sends its raters."""
        panel = self.config.panel.kind
        if panel not in ("prolific", "mturk"):
            return {}
        ids = {"rater_id": f"bot{self.number:021d}", "study_id": "rehearsal", "session_id": f"visit{self.number:019d}"}
        return {"panel": panel, **ids, **({"assignment_id": ids["session_id"]} if panel == "mturk" else {})}

    async def step(self, state: dict[str, Any]) -> dict[str, Any]:
        """Does what the page asks for next, and gives the state after it."""
        match state["state"]:
            case "consent":
                return await self.request("step", "POST", "/api/consent", {**self.parameters(), "agreed": True})
            case "instructions" | "closing" as step:
                return await self.request("step", "POST", "/api/step", {"step": step})
            case "question":
                answer = {"step": "question", "answer": self.config.journey.answer}
                return await self.request("step", "POST", "/api/step", answer)
            case "practice" | "picking" as kind:
                return await self.pick(state, counts=kind == "picking")
            case other:
                raise ValueError(f"the study is at '{other}', a state that bots don't know")

    async def pick(self, state: dict[str, Any], *, counts: bool) -> dict[str, Any]:
        """Looks at a slate and answers it."""
        for item in state["items"]:
            if "image" in item and item["image"] not in self.seen:
                await self.request("image", "GET", item["image"], parse=False)
                self.seen.add(item["image"])
        took = float(self.habits.seconds * np.exp(SPREAD * self.rng.standard_normal()))
        await asyncio.sleep(took)
        judgement = self.judge(state)
        body = {"slate_id": state["slate_id"], **judgement, "rt_ms": round(1000 * took)}
        answer = await self.request("pick", "POST", "/api/pick", {**body, "input": "mouse"})
        if "next" not in answer:  # the slate had lapsed; the server hands out another
            return await self.request("slate", "GET", "/api/slate")
        parts = (judgement["outcome"], judgement.get("position"), judgement.get("worst"))
        self.rehearsal.acknowledged[state["slate_id"]] = parts
        self.rehearsal.lapses[state["slate_id"]] = self.habits.lapse_at(self.answered)
        self.answered += counts
        return answer["next"]

    def judge(self, state: dict[str, Any]) -> dict[str, Any]:
        """The answer to a slate, but for lapses by Luce's rule and its kin: the best, with the worst, or a tie."""
        names = [
            item["text"] if "text" in item else item.get("image", "").removeprefix("/img/").removesuffix(".png")
            for item in state["items"]
        ]
        utilities = np.array([[self.utility(name) if name else 0.0 for name in names]])
        lapse = self.habits.lapse_at(self.answered)
        if state.get("tie"):
            choice, tied = replace(tie_rule(self.config), lapse=lapse, position_bias=()).draw(utilities, self.rng)
            return {"outcome": "tie"} if tied[0] else {"outcome": "pick", "position": int(choice.picked[0])}
        rule = replace(luce_rule(self.config), k=len(names), lapse=lapse, position_bias=())
        best = rule.draw(utilities, self.rng).picked
        answer = {"outcome": "pick", "position": int(best[0])}
        if state.get("worst"):
            answer["worst"] = int(rule.draw_worst(utilities, best, self.rng).picked[0])
        return answer

    async def request(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, parse: bool = True
    ) -> dict[str, Any]:
        """One request; again after a while where the network or the server fails, as the page does.

        Raises:
            ValueError: the server refuses it, with its reason.
        """
        wait = FIRST_WAIT_S
        while True:
            began = time.perf_counter()
            try:
                answer = await self.client.request(method, path, json=body)
                fault = str(answer.status_code) if answer.status_code >= 500 or answer.status_code == 429 else ""
            except httpx.HTTPError as error:
                answer, fault = None, type(error).__name__
            if answer is not None and not fault:
                self.rehearsal.seconds.setdefault(kind, []).append(time.perf_counter() - began)
                if kind == "pick" and answer.status_code in (404, 409, 410):
                    self.rehearsal.faults[f"pick refused: {answer.status_code}"] += 1
                    return {}
                if answer.status_code != 200:
                    raise ValueError(f"{path} was refused with {answer.status_code}: {answer.text[:200]}")
                return answer.json() if parse else {}
            self.rehearsal.faults[f"{kind}: {fault}"] += 1
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)


async def rehearse(
    url: str,
    config: StudyConfig,
    raters: int,
    habits: Habits,
    utility: Callable[[str], float],
    seed: int,
    on_pick: Callable[[int], None],
    rehearsal: Rehearsal,
) -> None:
    """Sends the bots, who come within the time of a few slates, and waits until all have left.

    Args:
        url: of the served study.
        config: its settings.
        raters: number of bots.
        habits: of all of them.
        utility: of an image, by its content's hash, or of a text.
        seed: of everything random.
        on_pick: called each half second with the answers so far.
        rehearsal: where what happens is written, also where it is interrupted.

    Raises:
        ValueError: there is no server at the address, or it refuses a request.
    """
    began = time.monotonic()
    rng = np.random.default_rng([seed, raters])
    delays = rng.uniform(0, min(ARRIVALS_S, 3 * habits.seconds), raters)

    async def send(number: int) -> None:
        await asyncio.sleep(float(delays[number]))
        async with httpx.AsyncClient(
            base_url=url, timeout=GIVE_UP_S, headers={"User-Agent": AGENT}, follow_redirects=True
        ) as client:
            await Bot(client, config, utility, habits, rehearsal, number, seed).visit()

    async def watch() -> None:
        while True:
            on_pick(len(rehearsal.acknowledged))
            await asyncio.sleep(0.5)

    try:
        httpx.get(f"{url}/healthz", timeout=GIVE_UP_S)
    except httpx.HTTPError as error:
        raise ValueError(f"Nothing answers at {url} ({error}); serve the study first, or say --url.") from None
    watching = asyncio.create_task(watch())
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(raters):
                group.create_task(send(number))
    except* ValueError as errors:
        raise errors.exceptions[0] from None
    finally:
        watching.cancel()
        rehearsal.elapsed = time.monotonic() - began

"""Who picks: people, simulated Luce users, and the proxy fitted to people's picks; all behind one interface."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import numpy as np

from data.store import Store
from loop.crowd.quality import refresh
from loop.mixing import curated_count
from loop.picking import DrawnPicks, draw_picks, sim_sessions, store_picks
from loop.scoring import Scorer, needed_features
from loop.study import Study
from loop.tensors import to_tensor
from loop.turn import Turn, keep_turn, kept_turn, latest_cut, open_requests, stored_pixels
from loop.utilities import Utilities, fit
from model.distributed import from_main, is_main
from model.interfaces import Generator, OnStep

CHUNK = 2_500  # slates of a simulated run that are drawn, picked from and committed together
PROXY_CHUNK = 250  # fewer, so that people's picks never wait long for the database


class Curator(Protocol):
    """Gets the picks for the next generation."""

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Has everything picked that generation t + 1 needs from generator t; what is there already stands."""
        ...


class SimulatedUsers:
    """Luce users with the study's own reward, in bulk: Algorithm 1 as it stands."""

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer
        self.n = curated_count(study.config, len(study.real))

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Picks chunk by chunk; each is a transaction."""
        store, config = self.study.store, self.study.config
        sessions = from_main(lambda: sim_sessions(store, config))
        done = from_main(lambda: store.count_session_picks(sessions, t))

        def drawn(n: int, chunk: int) -> DrawnPicks:
            return draw_picks(config, self.scorer, generator, t, n, "sim", chunk)

        _pick_in_chunks(store, sessions, drawn, range(done, self.n, CHUNK), self.n, on_step)
        return from_main(lambda: Turn(t + 1, latest_cut(self.study), store.last_pick(), self.n))


class People:
    """The picks that people (and simulated users whom a researcher let in) left in the store since the last cut.

    With `curation.extend = proxy`, a user fitted to all of them so far picks as many more as the mix needs.
    """

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer
        self.n = curated_count(study.config, len(study.real))

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Settles the turn first, then has the proxy pick chunk by chunk; each is a transaction."""
        turn = from_main(lambda: kept_turn(self.study, t + 1) or self._begin(t))
        if not turn.n_proxy:
            return turn
        store = self.study.store
        utilities = from_main(lambda: fit_utilities(self.study, self.scorer, turn.cut, turn.t))
        about = f"fit to {utilities.n_picks} picks"
        session = from_main(lambda: store.bulk_session("proxy", utilities.sha256, type_=about))
        done = from_main(lambda: store.count_session_picks([session], t))

        def drawn(n: int, chunk: int) -> DrawnPicks:
            return draw_picks(self.study.config, self.scorer, generator, t, n, "proxy", chunk, utilities)

        _pick_in_chunks(store, [session], drawn, range(done, turn.n_proxy, PROXY_CHUNK), turn.n_proxy, on_step)
        fitted = {"sha256": utilities.sha256, "picks": utilities.n_picks, "log_likelihood": utilities.log_likelihood}
        return replace(turn, fit=fitted, proxy_session=session)

    def _begin(self, t: int) -> Turn:
        store, extend = self.study.store, self.study.config.curation.extend
        request = max((event["id"] for event in open_requests(self.study)), default=0)
        with store.write():
            after, cut, quality = latest_cut(self.study), store.last_pick(), self.study.config.quality
            refresh(store, quality)
            since = after if extend == "none" else 0
            excluded = store.exclude(t + 1, since, cut, quality.rule) if quality.excludes else {}
            found = store.count_curation_picks(after=after, without=t + 1)
            turn = Turn(
                t=t + 1,
                after=0 if extend == "accumulate" else after,
                cut=cut,
                asked=self.n,
                n_proxy=max(0, self.n - found) if extend == "proxy" else 0,
                request=request,
                excluded=excluded,
            )
            keep_turn(self.study, turn)
            store.log("worker", "turn_started", t=t + 1, picks=found, n_proxy=turn.n_proxy, excluded=excluded)
        return turn


def _pick_in_chunks(
    store: Store,
    sessions: list[str],
    draw: Callable[[int, int], DrawnPicks],
    starts: range,
    total: int,
    on_step: OnStep | None,
) -> None:
    """Draws chunk after chunk; while one is drawn, a thread encodes and stores the one before, so no device waits.

    Args:
        store: the study's.
        sessions: under which is picked, by type of user.
        draw: from a number of slates and the chunk's number.
        starts: picks that are there already when each chunk begins.
        total: picks wanted.
        on_step: called with the picks that are stored, and the total.
    """

    def stored(done: int, pending: Future[None]) -> None:
        pending.result()
        if on_step:
            on_step(done, total)

    with ThreadPoolExecutor(1) as beside:
        waiting: list[tuple[int, Future[None]]] = []
        for done in starts:
            n = min(starts.step, total - done)
            drawn = draw(n, done // starts.step)
            while waiting:
                stored(*waiting.pop())
            if is_main():
                waiting.append((done + n, beside.submit(store_picks, store, sessions, drawn)))
            elif on_step:
                on_step(done + n, total)
        while waiting:
            stored(*waiting.pop())


def fit_utilities(study: Study, scorer: Scorer, until: int, t: int = 0) -> Utilities:
    """The utilities behind all picks of people (and let-in simulated users) up to a pick id, of every generation.

    What the rule on flags keeps out of generation t is left out.
    """
    picks = list(study.store.curation_picks(until=until, without=t))
    shown: dict[int, list[str]] = {}
    for item in study.store.slate_samples([pick["slate_id"] for pick in picks]):
        shown.setdefault(item["slate_id"], []).append(item["image_sha256"])
    names = sorted({name for names in shown.values() for name in names})
    place = {name: i for i, name in enumerate(names)}
    images = to_tensor(np.stack([stored_pixels(study, name) for name in names]))
    features = needed_features(scorer.score(images).features)
    stacked = np.stack([features[[place[name] for name in shown[pick["slate_id"]]]] for pick in picks])
    return fit(stacked, np.array([pick["position"] for pick in picks]), study.config.curation.ridge)

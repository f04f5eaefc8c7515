"""Who picks: people, simulated Luce users, and the proxy fitted to people's picks; all behind one interface.

A curator writes what it picks into the store and settles a *cut*, the highest pick id that the next generation uses.
What trains is then read back from the store, so that it is what was stored; a killed worker goes on from the cut.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from data.images import decode_png
from data.records import NewSlate
from data.store import Store
from loop.config import StudyConfig
from loop.mixing import curated_count
from loop.scoring import Scorer
from loop.slates import STREAMS, Stream, draw_scored, records, slates_of
from loop.study import Study
from loop.tensors import to_tensor
from loop.utilities import Utilities, fit
from model import luce
from model.interfaces import Generator, OnStep
from model.noise import derive_seed, derive_seeds

CHUNK = 2_500  # slates that are drawn, picked from and committed together
PROXY_CHUNK = 250  # slates between two reports of progress
SIM_NAME = "simulated Luce users"
PROXY_NAME = "proxy of the picks"


@dataclass(frozen=True, slots=True)
class Turn:
    """What the turn to generation t was decided to train on; kept as the study's status 'turn' until it is published.

    Attributes:
        t: the generation to come.
        after: picks with a higher id than this ...
        cut: ... and at most this are its curated set.
        asked: curated samples that the mix calls for.
        fit: of the proxy: hash of the utilities, how many picks they rest on, mean log-likelihood; empty without.
        request: id of the last 'retrain_requested' event that this turn answers; 0 for none.
    """

    t: int
    after: int
    cut: int
    asked: int
    fit: dict[str, Any] = field(default_factory=dict)
    request: int = 0


@dataclass(frozen=True, slots=True)
class Curated:
    """The curated set: (n, *shape) samples, and how many each kind of rater picked."""

    x: torch.Tensor
    counts: dict[str, int]


class Curator(Protocol):
    """Gets the picks for the next generation."""

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Has everything picked that generation t + 1 needs from generator t, and settles the cut."""
        ...


class SimulatedUsers:
    """Luce users with the study's own reward, in bulk: Algorithm 1 as it stands."""

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer
        self.n = curated_count(study.config.curation.picks, study.config.mix.lam, len(study.real))

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Picks chunk by chunk; each is a transaction, and those that are there already stand."""
        store = self.study.store
        session = store.bulk_session("sim", SIM_NAME)
        done = store.count_session_picks(session, t)
        while done < self.n:
            n = min(CHUNK, self.n - done)
            drawn = draw_picks(self.study.config, self.scorer, generator, t, n, "sim", done // CHUNK)
            store_picks(store, session, drawn)
            done += n
            if on_step:
                on_step(done, self.n)
        after = latest_cut(self.study)
        return Turn(t + 1, after, store.last_pick(), self.n)


class People:
    """Picks that people (and simulated users whom a researcher let in) left in the store since the last cut."""

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer
        self.n = curated_count(study.config.curation.picks, study.config.mix.lam, len(study.real))

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Takes the picks as they are; with `extend = proxy` has a fitted user pick as many more as the mix needs."""
        store, config = self.study.store, self.study.config
        after = 0 if config.curation.extend == "accumulate" else latest_cut(self.study)
        request = max((event["id"] for event in open_requests(self.study)), default=0)
        if config.curation.extend != "proxy":
            turn = Turn(t + 1, after, store.last_pick(), self.n, request=request)
            keep_turn(self.study, turn)
            return turn
        utilities = fit_utilities(self.study, self.scorer)
        missing = max(0, self.n - store.count_curation_picks(after=after))
        drawn: list[DrawnPicks] = []
        for chunk, start in enumerate(range(0, missing, PROXY_CHUNK)):
            n = min(PROXY_CHUNK, missing - start)
            drawn.append(draw_picks(config, self.scorer, generator, t, n, "proxy", chunk, utilities))
            if on_step:
                on_step(start + n, missing)
        fitted = {"sha256": utilities.sha256, "picks": utilities.n_picks, "log_likelihood": utilities.log_likelihood}
        with store.write():  # the proxy's picks and the cut come together: a killed turn leaves neither or both
            session = store.bulk_session("proxy", PROXY_NAME)
            for part in drawn:
                store_picks(store, session, part)
            turn = Turn(t + 1, after, store.last_pick(), self.n, fitted, request)
            store.log("worker", "proxy_picked", t=t, n=missing, **fitted)
            keep_turn(self.study, turn)
        return turn


@dataclass(frozen=True, slots=True)
class DrawnPicks:
    """Slates with the position that a simulated user picked in each, not stored yet."""

    slates: list[NewSlate]
    positions: list[int]
    images: list[tuple[str, bytes]]


def draw_picks(
    config: StudyConfig,
    scorer: Scorer,
    generator: Generator,
    t: int,
    n: int,
    stream: Stream,
    chunk: int,
    utilities: Utilities | None = None,
) -> DrawnPicks:
    """Has a simulated user pick from n fresh slates of generation t.

    Args:
        config: whose K and seed count.
        scorer: gives the rewards, and the features for the utilities.
        generator: of generation t.
        t: its number.
        n: slates.
        stream: keeps the seeds of different uses apart.
        chunk: which part of the use this is; the same chunk gives the same picks.
        utilities: what the user likes; without them the study's reward.
    """
    rng = np.random.default_rng(derive_seed(config.seed, t, STREAMS[stream], chunk, 2))
    k = config.curation.k
    per_pick = config.curation.inf_pool if k == "inf" else int(k)
    seeds = derive_seeds(n * per_pick, config.seed, t, STREAMS[stream], chunk, 1)
    drawn = draw_scored(generator, scorer, t, seeds)
    liking = drawn.scores.reward if utilities is None else utilities(_features(drawn.scores.features))
    if k == "inf":
        winners, positions = luce.pick_from_all(liking, n, rng), np.zeros(n, dtype=np.int64)
    else:
        positions = luce.pick(liking.reshape(n, per_pick), rng)
        winners = np.arange(n) * per_pick + positions
    rows, images = records(drawn, seen=np.unique(winners).tolist())
    slate_seeds = rng.integers(2**63, size=n).tolist()
    if k == "inf":
        slates = [NewSlate(t, "curation", None, seed, [rows[i]]) for seed, i in zip(slate_seeds, winners, strict=True)]
    else:
        slates = list(slates_of(rows, per_pick, t, "curation", slate_seeds))
    return DrawnPicks(slates, positions.tolist(), images)


def store_picks(store: Store, session: str, drawn: DrawnPicks) -> None:
    """Stores slates, items and picks of a simulated user in one transaction."""
    with store.write():
        store.add_images(drawn.images)
        ids = store.add_slates(drawn.slates, picked_by=session)
        store.add_picks(session, list(zip(ids, drawn.positions, strict=True)))


def read_curated(study: Study, turn: Turn) -> Curated:
    """The curated set of a turn, from the store.

    Raises:
        ValueError: there are no picks in it.
    """
    picks = list(study.store.curation_picks(after=turn.after, until=turn.cut, kinds=("human", "sim", "proxy")))
    if not picks:
        raise ValueError("There are no picks to train on yet.")
    counts = {kind: sum(pick["kind"] == kind for pick in picks) for kind in ("human", "sim", "proxy")}
    if study.real.is_images:
        x = to_tensor(np.stack([_pixels(study, pick["image_sha256"]) for pick in picks]))
    else:
        x = torch.tensor([json.loads(pick["point_json"]) for pick in picks], dtype=torch.float32)
    return Curated(x, counts)


def fit_utilities(study: Study, scorer: Scorer) -> Utilities:
    """The utilities behind all picks of people (and let-in simulated users) so far, of whatever generation."""
    picks = list(study.store.curation_picks())
    shown: dict[int, list[str]] = {}
    for item in study.store.slate_samples([pick["slate_id"] for pick in picks]):
        shown.setdefault(item["slate_id"], []).append(item["image_sha256"])
    names = sorted({name for names in shown.values() for name in names})
    place = {name: i for i, name in enumerate(names)}
    features = _features(scorer.score(to_tensor(np.stack([_pixels(study, name) for name in names]))).features)
    stacked = np.stack([features[[place[name] for name in shown[pick["slate_id"]]]] for pick in picks])
    return fit(stacked, np.array([pick["position"] for pick in picks]), study.config.curation.ridge)


def keep_turn(study: Study, turn: Turn) -> None:
    """Remembers the turn until its generation is published."""
    study.store.set_status("turn", **asdict(turn))


def kept_turn(study: Study, t: int) -> Turn | None:
    """The turn to generation t, if one was decided before the worker stopped."""
    kept = study.store.status("turn")
    kept.pop("at", None)
    return Turn(**kept) if kept.get("t") == t else None


def open_requests(study: Study) -> list[dict]:
    """The researcher's requests to retrain that no turn answers yet."""
    return study.store.events(kinds=("retrain_requested",), after=study.store.status("turn").get("request", 0))


def latest_cut(study: Study) -> int:
    """The highest pick id that has been used."""
    latest = study.store.latest_cut()
    return latest[1] if latest else 0


def _pixels(study: Study, sha256: str) -> np.ndarray:
    png = study.store.image(sha256)
    if png is None:
        raise ValueError(f"image {sha256} is missing from {study.store.path}; run `curate check`")
    return decode_png(png)


def _features(features: np.ndarray | None) -> np.ndarray:
    if features is None:
        raise ValueError("curation.extend = 'proxy' is for images; points have no classifier features")
    return features

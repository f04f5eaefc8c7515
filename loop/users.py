"""Simulated Luce users, people, and the proxy fitted to people's picks: all who pick, behind one interface."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from data.measurements import Turn
from data.records import NewSlate, Sample, tied_position
from data.store import Store, queries
from loop.conditions import StudyConditions
from loop.config import StudyConfig
from loop.learners import Utilities, fit_utilities
from loop.raters.quality import refresh
from loop.round import latest_cut, open_requests, store_turn, stored_turn
from loop.scoring import Scorer, needed_features
from loop.slates import STREAMS, Asked, Drawn, Stream, draw_scored, records, slates_of
from loop.study import Study
from loop.training_data import curated_count
from loop.user_types import are_alike, luce_rule, tie_rule, user_types
from model.compute import from_main, is_main
from model.interfaces import Generator, OnStep
from model.sampling import derive_seed, derive_seeds

SIM_NAME = "simulated Luce users"
CHUNK = 2_500  # slates of a simulated run that are drawn, picked from and committed together
PROXY_CHUNK = 250  # fewer, so that people's picks never wait long for the database


@dataclass(frozen=True, slots=True)
class Choices:
    """The picks from n slates, and the types of users who made them.

    Attributes:
        winners: (n,) indices of the picked samples among all of them.
        positions: (n,) picked.
        types: (n,) which type of user picked, an index into `loop.user_types.user_types`.
        lapsed: (n,) whether the pick (or that of the worst) was made at random.
        worst: (n,) positions picked as the worst; None where the study doesn't ask for them.
        tied: (n,) whether both of the pair were as good; None where the study knows no ties.
    """

    winners: np.ndarray
    positions: np.ndarray
    types: np.ndarray
    lapsed: np.ndarray
    worst: np.ndarray | None = None
    tied: np.ndarray | None = None

    def with_ties_broken(self, slate_seeds: Sequence[int]) -> Self:
        """The same picks, where of a tie that one is the winner which trains; see `tied_position`."""
        if self.tied is None:
            return self
        positions = np.where(self.tied, [tied_position(seed) for seed in slate_seeds], self.positions)
        return replace(self, positions=positions, winners=self.winners - self.positions + positions)


@dataclass(frozen=True)
class DrawnPicks:
    """Fresh samples with what simulated users picked of them, not stored yet.

    Attributes:
        drawn: the samples of n slates.
        choices: n picks.
        k: samples in a slate; None where users pick from all of them (K = inf).
        judged: (types, samples) rewards by which types of users judge; None where all judge by the study's.
        slate_seeds: n of them.
        names: of the slates' conditions.
        all_images: whether the images of samples that nobody picked are stored too.
    """

    drawn: Drawn
    choices: Choices
    k: int | None
    judged: np.ndarray | None
    slate_seeds: Sequence[int]
    all_images: bool = False
    names: Sequence[str | None] = ()

    def records(self) -> tuple[list[NewSlate], list[tuple[str, bytes]]]:
        """The slates, and (sha256, png) of the images that are stored; encoding them takes a while."""
        choices, seen = self.choices, None if self.all_images else np.unique(self.choices.winners).tolist()
        if self.drawn.x.ndim == 2:  # a point says everything; nobody looks at its picture
            seen = []
        operative = None
        if self.judged is not None and self.k:
            operative = self.judged[np.repeat(choices.types, self.k), np.arange(len(self.drawn))]
        rows, images = records(self.drawn, operative, seen)
        if self.k:
            return list(slates_of(rows, self.k, self.drawn.t, "curation", self.slate_seeds, self.names)), images
        return single_slates(rows, choices, self.judged, self.drawn.t, self.slate_seeds, self.names), images


def draw_picks(
    config: StudyConfig,
    scorer: Scorer,
    generator: Generator,
    t: int,
    n: int,
    stream: Stream,
    chunk: int,
    utilities: Utilities | None = None,
    *,
    all_images: bool = False,
    conditions: StudyConditions | None = None,
) -> DrawnPicks:
    """Has a simulated user pick from n fresh slates of generation t.

    Args:
        config: the study's; its K and seed count.
        scorer: gives the rewards, and the features for the utilities.
        generator: of generation t.
        t: its number.
        n: slates.
        stream: keeps the seeds of different uses apart.
        chunk: which part of the use this is; the same chunk gives the same picks.
        utilities: what the user likes; without them the study's reward.
        all_images: stores the images of all samples, not of the picked ones alone; a later fit needs them.
        conditions: the study's; None for none.
    """
    rng = np.random.default_rng(derive_seed(config.seed, t, STREAMS[stream], chunk, 2))
    k = config.curation.k
    per_pick = config.curation.inf_pool if k == "inf" else int(k)
    seeds = derive_seeds(n * per_pick, config.seed, t, STREAMS[stream], chunk, 1)
    slate_seeds = [] if conditions is None else rng.integers(2**63, size=n).tolist()
    asked = Asked.of(conditions, slate_seeds)
    drawn = draw_scored(generator, scorer, t, seeds, asked.of_samples(per_pick))
    if utilities is None:
        rewards, rule = drawn.scores.operative, config
    else:
        rewards, rule = utilities(needed_features(drawn.scores.features))[None], plain(config)
    if asked.numbers is None or k != "inf":
        choices = choose(rewards, n, rule, rng)
    else:
        choices = choose_within(rewards, asked.numbers, drawn.conditions, rule, rng)
    alike = utilities is not None or are_alike(config)
    slate_seeds = slate_seeds or rng.integers(2**63, size=n).tolist()
    return DrawnPicks(
        drawn=drawn,
        choices=choices.with_ties_broken(slate_seeds),
        k=None if k == "inf" else per_pick,
        judged=None if alike else drawn.scores.operative,
        slate_seeds=slate_seeds,
        all_images=all_images,
        names=asked.names or [None] * n,
    )


def choose(rewards: np.ndarray, n: int, config: StudyConfig, rng: np.random.Generator) -> Choices:
    """Has n users pick: by Luce's rule over the rewards of their type and the bias of positions, but for lapses.

    Args:
        rewards: (types, m) of all samples; K consecutive ones are a slate, or at K = inf all of them.
        n: picks.
        config: the study's; its K, types, lapses, bias, worst picks and ties count.
        rng: the source of randomness.
    """
    rule, types = luce_rule(config), np.zeros(n, dtype=np.int64)
    if len(rewards) > 1:
        types = rng.choice(len(rewards), size=n, p=[type_.share for type_ in user_types(config)])
    if rule.k == "inf":
        choice = rule.draw_from_all(rewards, types, rng)
        return Choices(choice.picked, np.zeros(n, dtype=np.int64), types, choice.lapsed)
    in_slates = rewards.reshape(len(rewards), n, rule.k)[types, np.arange(n)]
    worst = tied = None
    if config.slates.ties:
        choice, tied = tie_rule(config).draw(in_slates, rng)
    else:
        choice = rule.draw(in_slates, rng)
    lapsed = choice.lapsed
    if config.slates.kind == "best_worst":
        disliked = rule.draw_worst(in_slates, choice.picked, rng)
        worst, lapsed = disliked.picked, lapsed | disliked.lapsed
    return Choices(np.arange(n) * rule.k + choice.picked, choice.picked, types, lapsed, worst, tied)


def choose_within(
    rewards: np.ndarray, asked: np.ndarray, conditions: np.ndarray | None, config: StudyConfig, rng: np.random.Generator
) -> Choices:
    """Has users pick from all samples of a condition (K = inf), condition by condition.

    Args:
        rewards: (types, m) of all samples.
        asked: (n,) conditions of the picks.
        conditions: (m,) of the samples.
        config: as of `choose`.
        rng: the source of randomness.
    """
    n = len(asked)
    winners, types, lapsed = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    for condition in np.unique(asked):
        picks, samples = np.flatnonzero(asked == condition), np.flatnonzero(conditions == condition)
        own = choose(rewards[:, samples], len(picks), config, rng)
        winners[picks], types[picks], lapsed[picks] = samples[own.winners], own.types, own.lapsed
    return Choices(winners, np.zeros(n, dtype=np.int64), types, lapsed)


def plain(config: StudyConfig) -> StudyConfig:
    """The same study with users who are alike, never lapse, favour no position and pick the best: the proxy is one."""
    curation = config.curation.model_copy(update={"lapse": 0.0, "position_bias": (), "adversarial": 0.0})
    slates = config.slates.model_copy(update={"kind": "best", "ties": False})
    return config.model_copy(update={"curation": curation, "slates": slates, "population": ()})


def sim_sessions(store: Store, config: StudyConfig) -> list[str]:
    """The sessions under which simulated users pick, one for each of their types."""
    return [
        store.bulk_session("sim", f"{SIM_NAME}: {type_.name}" if type_.name else SIM_NAME, type_=type_.name or None)
        for type_ in user_types(config)
    ]


def store_picks(store: Store, sessions: list[str], drawn: DrawnPicks) -> None:
    """Stores slates, items and picks of simulated users in one transaction; a session for each of their types."""
    choices, (slates, images) = drawn.choices, drawn.records()
    owners = [sessions[type_] for type_ in choices.types]
    with store.write():
        store.add_images(images)
        ids = store.add_slates(slates, picked_by=owners)
        flags = ({"lapse": True} if lapsed else {} for lapsed in choices.lapsed)
        positions = choices.positions.tolist()
        if choices.tied is not None:
            positions = [None if tied else position for position, tied in zip(positions, choices.tied, strict=True)]
        worst = None if choices.worst is None else choices.worst.tolist()
        store.add_picks(zip(ids, owners, positions, flags, strict=True), worst)


def single_slates(
    rows: Sequence[Sample], choices: Choices, judged: np.ndarray | None, t: int, seeds: Sequence[int],
    names: Sequence[str | None],
) -> list[NewSlate]:  # fmt: skip
    """The slates of K = inf: each holds the picked sample alone; several users may have picked the same.

    Args:
        rows: all samples that were to be had.
        choices: n picks.
        judged: (types, samples) rewards by which types of users judge; None where all judge by the study's.
        t: the generation.
        seeds: n of the slates.
        names: n of their conditions.
    """
    picked = [rows[i] for i in choices.winners]
    if judged is not None:
        liked = judged[choices.types, choices.winners].tolist()
        picked = [replace(row, operative_reward=value) for row, value in zip(picked, liked, strict=True)]
    facts = zip(seeds, picked, names, strict=True)
    return [NewSlate(t, "curation", None, seed, [row], condition=name) for seed, row, name in facts]


class SimulatedUsers:
    """Luce users with the study's own reward, in bulk: Algorithm 1 as it stands."""

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Picks chunk by chunk; each is a transaction."""
        store, config = self.study.store, self.study.config
        sessions, whole = from_main(lambda: sim_sessions(store, config)), config.learner.kind != "curate"
        scorer = self.scorer.with_taste(from_main(lambda: store.generations()[t].measurements.taste))
        done = from_main(lambda: queries.count_answers_of_generation(store, sessions, t))
        asked = curated_count(config, len(self.study.real), t + 1)

        def drawn(n: int, chunk: int) -> DrawnPicks:
            options = {"all_images": whole, "conditions": self.study.conditions}
            return draw_picks(config, scorer, generator, t, n, "sim", chunk, **options)

        pick_in_chunks(store, sessions, drawn, range(done, asked, CHUNK), asked, on_step)
        return from_main(lambda: Turn(t=t + 1, after=latest_cut(self.study), cut=store.last_pick(), asked=asked))


class People:
    """The picks that people (and simulated users whom a researcher let in) left in the store since the last cut.

    With `curation.extend = proxy`, a user fitted to all of them so far picks as many more as the mix needs.
    """

    def __init__(self, study: Study, scorer: Scorer):
        self.study, self.scorer = study, scorer

    def curate(self, generator: Generator, t: int, on_step: OnStep | None = None) -> Turn:
        """Settles the turn first, then has the proxy pick chunk by chunk; each is a transaction."""
        turn = from_main(lambda: stored_turn(self.study, t + 1) or self.settle(t))
        if not turn.n_proxy:
            return turn
        store = self.study.store
        utilities = from_main(lambda: fit_utilities(self.study, self.scorer, turn.cut, turn.t))
        about = f"fit to {utilities.n_picks} picks"
        session = from_main(lambda: store.bulk_session("proxy", utilities.sha256, type_=about))
        done = from_main(lambda: queries.count_answers_of_generation(store, [session], t))

        def drawn(n: int, chunk: int) -> DrawnPicks:
            settings = self.study.config, self.scorer, generator, t, n
            return draw_picks(*settings, "proxy", chunk, utilities, conditions=self.study.conditions)

        pick_in_chunks(store, [session], drawn, range(done, turn.n_proxy, PROXY_CHUNK), turn.n_proxy, on_step)
        return turn.model_copy(update={"fit": utilities.record, "proxy_session": session})

    def settle(self, t: int) -> Turn:
        """Settles the turn to generation t + 1: the picks that are in train it, but for those that flags keep out."""
        store, extend = self.study.store, self.study.config.curation.extend
        request = max((event["id"] for event in open_requests(self.study)), default=0)
        asked = curated_count(self.study.config, len(self.study.real), t + 1)
        with store.write():
            after, cut, quality = latest_cut(self.study), store.last_pick(), self.study.config.quality
            refresh(store, quality)
            since = after if extend == "none" else 0
            excluded = store.exclude(t + 1, since, cut, quality.rule) if quality.excludes else {}
            picks = queries.count_curation_picks(store, after=after, without=t + 1)
            turn = Turn(
                t=t + 1,
                after=0 if extend == "accumulate" else after,
                cut=cut,
                asked=asked,
                n_proxy=max(0, asked - picks) if extend == "proxy" else 0,
                request=request,
                excluded=excluded,
            )
            store_turn(self.study, turn)
            store.log("worker", "turn_started", t=t + 1, picks=picks, n_proxy=turn.n_proxy, excluded=excluded)
        return turn


def pick_in_chunks(
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

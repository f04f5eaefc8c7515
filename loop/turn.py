"""A turn of the loop: which picks train the next generation, settled before anything is trained and kept on disk.

What trains is read back from the store, so that it is what was stored; a killed worker goes on from the kept turn.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from data.images import decode_png
from loop.study import Study
from loop.tensors import to_bytes


@dataclass(frozen=True, slots=True)
class Turn:
    """What the turn to generation t was decided to train on; kept as the study's status 'turn'.

    Attributes:
        t: the generation to come.
        after: curation picks of people and simulated users with a higher id than this ...
        cut: ... and at most this are its curated set, ...
        n_proxy: ... with this many picks that the proxy makes of generation t - 1.
        asked: curated samples that the mix calls for.
        fit: of the proxy: sha256 of the utilities (its rater's name), how many picks they rest on, their mean
            log-likelihood; empty without.
        proxy_session: under which the proxy picked.
        request: id of the last 'retrain_requested' event that this turn answers; 0 for none.
        excluded: picks that the declared rule on flags keeps out of this turn, by flag.
    """

    t: int
    after: int
    cut: int
    asked: int
    n_proxy: int = 0
    fit: dict[str, Any] = field(default_factory=dict)
    proxy_session: str | None = None
    request: int = 0
    excluded: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Curated:
    """The curated set: (n, *shape) samples, images as uint8 pixels, their (n,) rewards, and picks by kind of rater."""

    x: torch.Tensor
    rewards: np.ndarray
    counts: dict[str, int]


def read_curated(study: Study, turn: Turn) -> Curated:
    """The curated set of a turn, from the store.

    Raises:
        ValueError: there are no picks in it, or the proxy's are not as many as the turn says.
    """
    picks = list(study.store.curation_picks(after=turn.after, until=turn.cut, without=turn.t))
    if turn.n_proxy:
        picks += study.store.curation_picks(session_id=turn.proxy_session, kinds=("proxy",))
    counts = {kind: sum(pick["kind"] == kind for pick in picks) for kind in ("human", "sim", "proxy")}
    if not picks:
        raise ValueError("There are no picks to train on yet.")
    if counts["proxy"] != turn.n_proxy:
        raise ValueError(f"The turn to generation {turn.t} asked for {turn.n_proxy} proxy picks; {counts} are stored.")
    rewards = np.array([pick["reward"] for pick in picks])
    if study.real.is_images:
        x = to_bytes(np.stack([stored_pixels(study, pick["image_sha256"]) for pick in picks]))
    else:
        x = torch.tensor([json.loads(pick["point_json"]) for pick in picks], dtype=torch.float32)
    return Curated(x, rewards, counts)


def earlier_sets(study: Study, t: int) -> list[Curated]:
    """The curated sets that trained the generations before t, oldest first, read back as they were.

    Raises:
        ValueError: a generation made by an older version of curate doesn't say what trained it.
    """
    found = []
    for generation in study.store.generations():
        if 0 < generation.t < t:
            if "turn" not in generation.metrics:
                raise ValueError(
                    f"Generation {generation.t} doesn't say which picks trained it (an older version made it), so a "
                    "policy that accumulates can't go on from here; make a new study."
                )
            found.append(read_curated(study, Turn(**generation.metrics["turn"])))
    return found


def stored_pixels(study: Study, sha256: str) -> np.ndarray:
    """The pixels of a stored image.

    Raises:
        ValueError: it is missing.
    """
    png = study.store.image(sha256)
    if png is None:
        raise ValueError(f"image {sha256} is missing from {study.store.path}; run `curate check`")
    return decode_png(png)


def keep_turn(study: Study, turn: Turn) -> None:
    """Remembers the turn until its generation is published."""
    study.store.set_status("turn", **asdict(turn))


def kept_turn(study: Study, t: int) -> Turn | None:
    """The turn to generation t that a stopped worker had settled, unless all its raters have withdrawn since."""
    kept = study.store.status("turn")
    kept.pop("at", None)
    if kept.get("t") != t:
        return None
    turn = Turn(**kept)
    left = study.store.count_curation_picks(after=turn.after, until=turn.cut, without=turn.t)
    return turn if left else None


def open_requests(study: Study) -> list[dict]:
    """The researcher's requests to retrain that no turn answers yet."""
    return study.store.events(kinds=("retrain_requested",), after=study.store.status("turn").get("request", 0))


def latest_t(study: Study) -> int:
    """The number of the latest generation, of which there is at least one."""
    latest = study.store.latest_cut()
    assert latest is not None
    return latest[0]


def latest_cut(study: Study) -> int:
    """The highest pick id that has been used."""
    latest = study.store.latest_cut()
    return latest[1] if latest else 0

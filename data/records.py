"""The rows of a study, as typed records: one word per thing, the same in code, tables, pages and docs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from data.measurements import Measurements

Purpose = Literal["curation", "audit", "attention", "practice"]
Outcome = Literal["pick", "none", "skip", "timeout", "tie"]
RaterKind = Literal["human", "sim", "proxy"]
PURPOSES: tuple[Purpose, ...] = ("curation", "audit", "attention", "practice")
OUTCOMES: tuple[Outcome, ...] = ("pick", "none", "skip", "timeout", "tie")


def timestamp(after_s: float = 0.0) -> str:
    """UTC now plus `after_s` seconds, as ISO 8601 of fixed width, so that text order is time order."""
    moment = datetime.now(UTC) + timedelta(seconds=after_s)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def tied_position(slate_seed: int) -> int:
    """The position (0 or 1) whose sample trains where both of a pair were as good: at random, by the slate's seed.

    `data.store.queries` says the same in SQL.
    """
    return slate_seed & 1


@dataclass(frozen=True, slots=True)
class Generation:
    """One published generator.

    Attributes:
        t: 0 is the pretrained generator.
        parent_t: the generation it was warm-started from; None for t = 0.
        checkpoint: file name inside the study's `checkpoints/`.
        n_real: real data in its training set.
        n_curated: distinct curated samples in its training set.
        policy: how real and curated data were mixed, in words ("mix lam=1").
        pick_cut: the highest pick id used so far; the next generation's picks lie above it.
        config: the settings under which it was trained and measured.
        measurements: of fresh samples of it, and of its training (see `loop.evaluation`).
    """

    t: int
    parent_t: int | None
    checkpoint: str
    checkpoint_sha256: str
    n_real: int
    n_curated: int
    policy: str
    pick_cut: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    measurements: Measurements = field(default_factory=Measurements)
    created_at: str = ""
    published_at: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One draw of a generator; `seed` is its own, so it can be drawn again whatever the batch.

    Attributes:
        point: coordinates of a point, tokens of a text; None for images.
        label: class (or mode) given by the study's classifier; None where there is none.
        reward_json: more about the reward, such as class probabilities.
        operative_reward: by which the user who picked from its slate judged it; None where that is `reward`.
        text: what raters read, of a text; None for images and points.
    """

    t: int
    seed: int
    reward: float | None = None
    label: int | None = None
    image_sha256: str | None = None
    point: tuple[float, ...] | None = None
    reward_json: dict[str, Any] | None = None
    operative_reward: float | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The samples that a generation (or the real data) was measured on, as far as theory needs them.

    Attributes:
        t: the generation; None for the real data.
        rewards: (1 + types, n) float64: the study's reward, then that of each rater type where users differ.
        labels: (n,) int32, class or mode.
        points: (n, d) float32, of texts their tokens; None for images.
        conditions: (n,) int32 under which each was drawn, or real data's (-1: of none); None in a study without.
        features: (n, d) float16, of images by their classifier, fewer than that has; None for all else.
    """

    t: int | None
    rewards: np.ndarray
    labels: np.ndarray
    points: np.ndarray | None = None
    conditions: np.ndarray | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class NewSlate:
    """K samples in display order, ready to be stored. K = inf is written as k None with the picked sample alone.

    `answer` is the position that is right, of attention slates; `condition` is what all samples are of.
    """

    t: int
    purpose: Purpose
    k: int | None
    seed: int
    samples: Sequence[Sample]
    answer: int | None = None
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class SlateItem:
    """One position of a slate as a rater sees it, an image or a text; nothing in it gives the generation away."""

    position: int
    image_sha256: str | None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """A slate leased to a session.

    Attributes:
        attempt: the number of the session's next answer to it, from 1: one more than it took back.
    """

    id: int
    t: int
    k: int
    purpose: Purpose
    served_at: str
    items: tuple[SlateItem, ...]
    attempt: int = 1
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """A rater's answer to one slate, as the routes receive it.

    Attributes:
        position: what was picked.
        worst: what was picked as the worst, of best-and-worst slates.
        attempt: the number of this answer among the session's answers to the slate, from 1: one more than were taken
            back before it. None where the sender doesn't say.
    """

    slate_id: int
    outcome: Outcome
    position: int | None = None
    worst: int | None = None
    rt_ms: int | None = None
    input: str | None = None
    viewport: str | None = None
    blur_count: int | None = None
    attempt: int | None = None

    def check_position(self, k: int) -> None:
        """Raises ValueError for positions outside a slate of k samples, or that don't go with the outcome."""
        if (self.outcome == "pick") != (self.position is not None):
            raise ValueError("position goes with outcome 'pick', and only with it")
        if self.position is not None and not 0 <= self.position < k:
            raise ValueError(f"position must lie between 0 and {k - 1}, not {self.position}")
        if self.worst is not None:
            if self.outcome != "pick" or self.worst == self.position:
                raise ValueError("worst goes with outcome 'pick', at another position than the pick")
            if not 0 <= self.worst < k:
                raise ValueError(f"worst must lie between 0 and {k - 1}, not {self.worst}")


@dataclass(frozen=True, slots=True)
class StoredPick:
    """An answer in the database; `duplicate` if it was there before this call."""

    id: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the picks toward the next generation, and this session's part of them."""

    done: int
    total: int
    t: int
    yours: int = 0


@dataclass(frozen=True, slots=True)
class ExclusionRule:
    """The flags that keep picks out of training: those of the pick itself, and those of any session of its rater."""

    picks: tuple[str, ...] = ()
    raters: tuple[str, ...] = ()

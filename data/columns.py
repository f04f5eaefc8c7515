"""The columns of the long table, described once: exports, filters, import and docs/columns.md all read them here."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["integer", "number", "boolean", "text", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the long table.

    Attributes:
        name: in every format.
        kind: of its values; booleans are 0 or 1, JSON is text that holds a value.
        of_answer: the same at all positions of an answer; the others differ from position to position.
        about: what it holds, as a phrase.
        optional: may be empty.
    """

    name: str
    kind: Kind
    of_answer: bool
    about: str
    optional: bool = False


def _answer(name: str, kind: Kind, about: str, optional: bool = False) -> Column:
    return Column(name, kind, True, about, optional)


def _item(name: str, kind: Kind, about: str, optional: bool = False) -> Column:
    return Column(name, kind, False, about, optional)


LONG = (
    _answer("choice_id", "integer", "the answer; ascending in time"),
    _answer("study", "text", "the study's name"),
    _answer("generation", "integer", "the generation t that the slate was made for"),
    _answer("checkpoint_sha256", "text", "hash of that generation's weights"),
    _answer("slate_id", "integer", "the slate; each has one answer"),
    _answer("slate_seed", "integer", "seed of the slate's display order"),
    _answer("purpose", "text", "curation (trains), audit (compares generations), attention or practice"),
    _answer("k", "integer", "samples in the slate; empty: infinitely many, and the picked one stands alone", True),
    _item("position", "integer", "place on the rater's screen, from 0"),
    _item("sample_id", "integer", "the sample; the same wherever it is shown again"),
    _item("sample_generation", "integer", "the generation that drew it"),
    _item("sample_seed", "integer", "the seed it was drawn from"),
    _item("image_sha256", "text", "its PNG, by content; empty for points and for images nobody kept", True),
    _item("point", "json", "its coordinates, of two-dimensional data", True),
    _item("label", "integer", "its class, by the study's classifier", True),
    _item("reward", "number", "the study's reward r of it", True),
    _item("operative_reward", "number", "the reward by which this simulated user judged it", True),
    _answer("rater", "text", "pseudonym of who answered: the same within a study, another one in every other study"),
    _answer("rater_kind", "text", "human, sim (a simulated user) or proxy (one fitted to people's picks)"),
    _answer("rater_type", "text", "declared type of a simulated user", True),
    _answer("session", "text", "the sitting in which it was answered"),
    _answer("shown_at", "text", "when the slate came into view, UTC", True),
    _answer("picked_at", "text", "when the answer was stored, UTC"),
    _answer("rt_ms", "integer", "time to answer in the browser, in milliseconds", True),
    _answer("outcome", "text", "pick, none (none of these), skip or timeout"),
    _item("picked", "boolean", "1 at the position that was picked, 0 elsewhere"),
    _answer("input", "text", "mouse, touch, key", True),
    _answer("viewport", "text", "window size, width x height", True),
    _answer("flags", "json", "marks on the answer, as {flag: true}"),
    _answer("session_flags", "json", "marks on the session"),
    _answer("server_ms", "integer", "time to answer as the server saw it, in milliseconds", True),
    _answer("blur_count", "integer", "how often the page lost focus", True),
    _answer("copy_of", "integer", "the slate whose samples this one shows again in another order", True),
    _answer("answer", "integer", "the position that is right, of attention slates", True),
    _answer("withdrawn", "boolean", "1 where the session withdrew its consent"),
    _answer("excluded_by", "text", "the flag that kept the pick out of training", True),
)
PANEL = (
    _answer("panel", "text", "the panel that the rater came from", True),
    _answer("panel_rater_id", "text", "the rater's id there", True),
    _answer("panel_study_id", "text", "the panel's id of the study", True),
    _answer("panel_session_id", "text", "the panel's id of the sitting", True),
)


def probabilities(classes: int) -> tuple[Column, ...]:
    """The columns of `--features`: a class probability each."""
    about = "probability that the sample is of class {}, by the study's classifier"
    return tuple(_item(f"prob_{number}", "number", about.format(number), True) for number in range(classes))


NAMES = tuple(column.name for column in LONG)

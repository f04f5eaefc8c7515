"""The tables of study.toml that are about people: journey, panel, check slates, flags. All may be left out."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.records import ExclusionRule

Flag = Literal["too_fast", "failed_attention", "one_position", "inconsistent"]
PanelKind = Literal["open", "prolific", "mturk", "link"]
FLAGS: tuple[Flag, ...] = get_args(Flag)
PICK_FLAGS: tuple[Flag, ...] = ("too_fast", "failed_attention", "inconsistent")
PROLIFIC_URL = "https://app.prolific.com/submissions/complete?cc={code}"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JourneyConfig(_Table):
    """The [journey] table: the steps around the picks. An empty text leaves its step out.

    Texts are Markdown, or the name of a .md file in the study's folder.
    """

    consent: str = Field(default="", description="what a rater agrees to; declining stores the refusal and no more")
    instructions: str = Field(default="", description="what a rater is told before the first slate")
    practice: int = Field(default=0, ge=0, le=20, description="practice slates; they never train")
    question: str = Field(default="", description="of comprehension; a rater has two tries")
    choices: tuple[str, ...] = Field(default=(), description="the question's answers, as they are shown")
    answer: str = Field(default="", description="which of the choices is right")
    picks: int = Field(default=0, ge=0, description="slates that one rater answers; 0: no end")
    closing: str = Field(default="", description="a question after the last slate, answered in words or not at all")
    thanks: str = Field(default="", description="said at the end")

    @model_validator(mode="after")
    def _answerable(self) -> "JourneyConfig":
        if self.question and (len(self.choices) < 2 or self.answer not in self.choices):
            raise ValueError("journey.question needs two or more journey.choices, and journey.answer is one of them")
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("journey.choices must differ from each other")
        return self


class PanelConfig(_Table):
    """The [panel] table: where raters come from, and what they go back with."""

    kind: PanelKind = Field(
        default="open", description="open, prolific, mturk, or link (one-time links made by `curate invite`)"
    )
    url: str = Field(default="", description='where a rater goes with a code, with "{code}" in it; empty: the panel\'s')
    complete: str = Field(default="", description="code, or a whole https:// address, for those who finished")
    failed: str = Field(default="", description="the same for those who failed the comprehension question")
    withdrew: str = Field(default="", description="the same for those who withdrew or declined")

    @model_validator(mode="after")
    def _code_in_url(self) -> "PanelConfig":
        if self.url and ("{code}" not in self.url or not self.url.startswith(("https://", "http://"))):
            raise ValueError('panel.url must be an http(s) address with "{code}" in it')
        return self

    def completion(self, code: str) -> dict[str, str] | None:
        """The completion that a page hands out: {code, url}, either may be empty; None where no code is set."""
        if not code:
            return None
        if code.startswith(("https://", "http://")):
            return {"code": "", "url": code}
        url = self.url or (PROLIFIC_URL if self.kind == "prolific" else "")
        return {"code": code, "url": url.replace("{code}", code)}


class SlatesConfig(_Table):
    """The [slates] table: which share of a rater's slates are checks, and how long one may take."""

    attention: float = Field(default=0.0, ge=0, le=0.5, description="share of slates with a clear answer")
    repeat: float = Field(default=0.0, ge=0, le=0.5, description="share of slates that a rater saw before, reordered")
    timeout_s: float = Field(default=0.0, ge=0, description="a slate without an answer counts as timed out; 0: never")


class QualityConfig(_Table):
    """The [quality] table: when answers are flagged, and which flags keep them out of training. Nothing is deleted."""

    too_fast_ms: int = Field(default=300, ge=0, description="an answer that took less is too fast")
    too_fast_share: float = Field(default=0.3, gt=0, le=1, description="a session with this share of them is flagged")
    failed_attention: int = Field(default=2, ge=1, description="failed attention slates that flag a session")
    one_position_share: float = Field(default=0.9, gt=0, le=1, description="of one position: flags a session")
    least_answers: int = Field(default=10, ge=2, description="both shares need at least this many answers")
    consistency: float = Field(default=0.4, ge=0, le=1, description="share of repeats answered alike; less is flagged")
    consistency_repeats: int = Field(default=4, ge=1, description="with at least this many repeats")
    exclude_picks: tuple[Flag, ...] = Field(default=(), description="picks with one of these flags don't train")
    exclude_raters: tuple[Flag, ...] = Field(default=(), description="nor do picks of raters flagged with one of these")

    @model_validator(mode="after")
    def _flags_of_picks(self) -> "QualityConfig":
        wrong = sorted(set(self.exclude_picks) - set(PICK_FLAGS))
        if wrong:
            raise ValueError(f"quality.exclude_picks: {wrong[0]} is a rater's flag; picks have {', '.join(PICK_FLAGS)}")
        return self

    @property
    def excludes(self) -> bool:
        """True if any flag keeps picks out of training."""
        return bool(self.exclude_picks or self.exclude_raters)

    @property
    def rule(self) -> ExclusionRule:
        """The declared rule of training."""
        return ExclusionRule(self.exclude_picks, self.exclude_raters)

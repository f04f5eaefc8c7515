"""The crowd's tables: all may be left out, contradictions are refused, codes become addresses."""

from pathlib import Path

import pytest

from loop.config import parse
from loop.study import configure

QUESTION = 'journey.question="Which?"'


def test_without_settings_there_is_no_step_no_check_and_no_exclusion():
    config = configure("digits")
    assert not any((config.journey.consent, config.journey.practice, config.journey.question, config.journey.picks))
    assert (config.slates.attention, config.slates.repeat, config.quality.excludes) == (0, 0, False)


def test_the_example_of_the_documentation_is_a_study():
    text = (Path(__file__).parents[2] / "docs/crowd.md").read_text(encoding="utf-8")
    config = parse(text.partition("```toml\n")[2].partition("```")[0], "docs/crowd.md")
    assert config.journey.picks == 40 and config.panel.completion(config.panel.complete) == {
        "code": "C1A2B3", "url": "https://app.prolific.com/submissions/complete?cc=C1A2B3",
    }  # fmt: skip
    assert config.quality.rule.raters == ("failed_attention",)


def test_a_text_of_several_lines_survives_the_file():
    config = configure("digits", ['journey.consent="# Hello\\n\\nYou *may* stop."', 'journey.choices=["a", "b"]'])
    assert config.journey.consent.splitlines()[2] == "You *may* stop."
    assert parse(config.to_toml()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([QUESTION], "journey.choices"),
        ([QUESTION, 'journey.choices=["a", "b"]', 'journey.answer="c"'], "journey.answer"),
        (['journey.choices=["a", "a"]'], "differ"),
        (['panel.url="https://x.example/?cc="'], "{code}"),
        (['panel.kind="facebook"'], "panel.kind"),
        (["slates.attention=0.6"], "attention"),
        (['quality.exclude_picks=["one_position"]'], "rater.s flag"),
    ],
)
def test_a_contradiction_is_refused(settings: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        configure("digits", settings)


def test_a_code_becomes_the_panels_address():
    prolific = configure("digits", ["panel.kind=prolific", "panel.complete=C1", 'panel.failed="https://x.example/f"'])
    assert prolific.panel.completion(prolific.panel.complete) == {
        "code": "C1",
        "url": "https://app.prolific.com/submissions/complete?cc=C1",
    }
    assert prolific.panel.completion(prolific.panel.failed) == {"code": "", "url": "https://x.example/f"}
    assert prolific.panel.completion("") is None
    assert configure("digits").panel.completion("C1") == {"code": "C1", "url": ""}

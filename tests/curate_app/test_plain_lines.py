"""Progress in a log: one plain line every half minute, with the time left; none on a terminal or with --json.

At a terminal a line says at once what a command does, and makes room for the first bar or printed line.
"""

import pytest

from curate_app.console import PlainLines, Starting, duration, err, out, starting


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_line_every_half_minute(capfd: pytest.CaptureFixture[str]):
    clock = Clock()
    lines = PlainLines(wanted=True, clock=clock)
    for second in range(0, 100, 5):
        clock.now = 1_000.0 + second
        lines.show("generations", "generation 1 of 2: training", second / 200)
    shown = capfd.readouterr().err.splitlines()
    assert shown == [
        "generation 1 of 2: training: 15%, about 3 min left",
        "generation 1 of 2: training: 30%, about 2 min left",
        "generation 1 of 2: training: 45%, about 2 min left",
    ]


def test_on_a_terminal_without_a_bar_the_first_line_comes_within_five_seconds(capfd: pytest.CaptureFixture[str]):
    clock = Clock()
    lines = PlainLines(wanted=True, early=True, clock=clock)
    for second in range(40):
        clock.now = 1_000.0 + second
        lines.show("training", "training", second / 40)
    for second in range(7):  # work of a few seconds has none
        clock.now = 1_040.0 + second
        lines.show("publishing", "publishing", second / 7)
    assert capfd.readouterr().err.splitlines() == [
        "training: 8%, about 37 s left",
        "training: 82%, about 7 s left",
    ]


def test_none_where_a_bar_is_shown(capfd: pytest.CaptureFixture[str]):
    clock = Clock()
    lines = PlainLines(wanted=False, clock=clock)
    lines.show("pretraining", "pretraining", 0.1)
    clock.now += 100
    lines.show("pretraining", "pretraining", 0.2)
    assert capfd.readouterr().err == ""


def test_a_starting_command_says_so_after_half_a_second_and_goes_on_counting():
    clock = Clock()
    line = Starting(clock)
    with line.of("curate check", wanted=True):
        assert line.render() == ""
        clock.now += 3
        assert line.render() == "[dim]curate check … 3 s[/dim]"
        line.show("checking [a]")
        clock.now += 1
        assert line.render() == r"[dim]checking \[a] … 4 s[/dim]"


def test_the_first_printed_line_takes_the_place_of_the_one_on_starting(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
    monkeypatch.setattr("curate_app.console.QUICK_S", -1.0)
    for console in (out, err):
        with starting.of("curate check", wanted=True):
            assert starting.line is not None
            console.print("sound")
            assert starting.line is None
            starting.show("fitting")
            assert starting.line is not None
        assert starting.line is None
    shown = capfd.readouterr()
    assert shown.out == "sound\n" and "curate check … 0 s" in shown.err and "fitting … 0 s" in shown.err
    assert shown.err.index("curate check") < shown.err.index("sound") < shown.err.rindex("fitting")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_line_on_starting_where_it_is_not_wanted_or_there_is_no_terminal(
    is_terminal: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with starting.of("curate check --json", wanted=not is_terminal):
        starting.show("checking")
        assert starting.line is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(40, "40 s"), (89, "89 s"), (700, "12 min"), (5_399, "1 h 30 min"), (12_000, "3 h 20 min")]
)
def test_seconds_in_words(seconds: float, words: str):
    assert duration(seconds) == words

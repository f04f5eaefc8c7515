"""Rows of the scaling benchmark, small; whether they grow is for the benchmark itself to say."""

import argparse
from pathlib import Path

import pytest


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """The command line's defaults, but for a short fine-tune."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import scaling

    monkeypatch.setattr("sys.argv", ["scaling.py", "--steps", "2"])
    return scaling.arguments()


def test_sampling(options: argparse.Namespace):
    import scaling

    row = scaling.sampling(options, 40)
    assert row["n"] == 40 and row["seconds"] > 0 and row["peak_mb"] > 50


def test_a_turn_after_many_picks(options: argparse.Namespace):
    import scaling

    row = scaling.turn(options, 300)
    assert row["n"] == 300 and 0 < row["fine_tune_s"] < row["turn_s"] and row["database_mb"] > 0.1


def test_rows_are_medians(options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch, capsys):
    import scaling

    seconds = iter([1.0, 2.2, 9.0, 2.0, 1.2, 2.1])  # three rounds of two rows

    def measured(row: str, n: int, _options: argparse.Namespace) -> dict[str, float]:
        return {"n": n, "seconds": next(seconds), "peak_mb": 100.0}

    options.counts, options.picks = [1_000, 2_000], []
    monkeypatch.setattr(scaling, "arguments", lambda: options)
    monkeypatch.setattr(scaling, "in_own_process", measured)
    monkeypatch.setattr(scaling, "use_threads", lambda **_: None)
    scaling.main()
    first, second = capsys.readouterr().out.splitlines()[1:3]
    assert first.split() == ["1,000", "1.20", "833", "100"] and second.split()[-1] == "0.875"

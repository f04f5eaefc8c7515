"""A study's choice log with pandas and statsmodels, and `curate fit` on the same picks.

Nothing here knows how curate stores anything: the log is exported as a long table, one row per answer and position
(docs/columns.md), and analysed like any other. First come pick rates, by position and by class, then a conditional
logit on both, which has to agree with `curate fit`.

    python examples/digits_crowd.py studies/crowd      # a digits study; one with people works as well
    python examples/analyse_log.py studies/crowd --out crowd-picks
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from statsmodels.discrete.conditional_models import ConditionalLogit

CURATE = (sys.executable, "-m", "curate_app")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports the log, prints pick rates, and both fits beside each other."""
    parser = argparse.ArgumentParser(description="Pick rates and a conditional logit of a study's choice log.")
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, default=Path("picks"), help="folder for the export; replaced if it is one")
    options = parser.parse_args(arguments)
    log = read_picks(options.study, options.out)
    print(f"{log.choice_id.nunique():,} picks of {log.rater.nunique()} raters\n")
    for column in ("position", "label"):
        print(pick_rates(log, column).to_string(float_format="{:.3f}".format), end="\n\n")
    print(beside(logit(log), curate_fit(options.study)).to_string(float_format="{:.4f}".format))


def read_picks(study: Path, out: Path) -> pd.DataFrame:
    """The long table, of answers that are picks from finite slates and that `curate fit` counts too."""
    wanted = ("--where", "outcome=pick", "--where", "withdrawn=0", "--where", "k>=2")
    run("export", study, "--format", "long-parquet", "--out", out, "--no-images", "--force", *wanted)
    log = pd.read_parquet(out / "choices.parquet")
    return log[log.purpose.isin(["curation", "audit"]) & log.rater_kind.eq(kind(log))]


def kind(log: pd.DataFrame) -> str:
    """People, where any picked."""
    return "human" if log.rater_kind.eq("human").any() else "sim"


def pick_rates(log: pd.DataFrame, column: str) -> pd.DataFrame:
    """Pick rates by position or class; `fair` is the rate by chance (1/K of the shown)."""
    groups = log.assign(fair=1 / log.k).groupby(column)
    return groups.agg(
        shown=("picked", "size"), picked=("picked", "sum"), rate=("picked", "mean"), fair=("fair", "mean")
    )


def logit(log: pd.DataFrame) -> pd.DataFrame:
    """Utilities of classes and positions with standard errors; the class shown most and position 0 are the zero."""
    classes = pd.get_dummies(log.label, dtype=float).drop(columns=log.label.value_counts().sort_index().idxmax())
    positions = pd.get_dummies(log.position, dtype=float).drop(columns=0)
    x = pd.concat([classes.add_prefix("class "), (positions.rename(columns=lambda p: f"position {p + 1}"))], axis=1)
    result = ConditionalLogit(log.picked.astype(int), x, groups=log.choice_id).fit(disp=False)
    return pd.DataFrame({"statsmodels": result.params, "se": result.bse})


def curate_fit(study: Path) -> pd.DataFrame:
    """The same utilities by `curate fit`."""
    output = json.loads(run("fit", study, "--features", "class,position", "--without", "none", "--json"))
    return pd.DataFrame(output["fit"]["coefficients"]).set_index("name")


def beside(statsmodels_fit: pd.DataFrame, fitted: pd.DataFrame) -> pd.DataFrame:
    """Both by column; `plain_se` takes picks as independent, as statsmodels does."""
    return statsmodels_fit.join(fitted[["value", "plain_se"]].rename(columns={"value": "curate fit"}))


def run(*arguments: Any) -> str:
    """The output of a curate command.

    Raises:
        SystemExit: it failed, and said why.
    """
    done = subprocess.run([*CURATE, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    main()

"""A digits study with a simulated crowd: two types of rater who like different things and sometimes click at random.

Simulates the loop, writes the report, and prints what `curate fit` makes of the picks: the utility of each class, for
everyone and for each type. The same by commands is in docs/howto-researcher.md.

    python examples/digits_crowd.py studies/crowd
    python examples/digits_crowd.py studies/crowd-quick --generations 1 --picks 300 --steps 20
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from curate_app.commands.fit import print_report
from curate_app.report.files import write_report
from loop.analysis.log import AnswerFilter
from loop.analysis.report import FitOptions, choice_report
from loop.evidence.schema import Evidence
from loop.simulate import simulate
from loop.study import Study, open_or_create

CROWD = """population=[
  {name = "sevens", weight = 2, kind = "class_prob", target = 7, gamma = 5.0},
  {name = "sure", weight = 1, kind = "confidence", gamma = 5.0},
]"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulates the study, or goes on with it; writes report.html into it and prints utilities."""
    options = _parse(arguments)
    settings = [
        CROWD, "curation.lapse=0.05", "curation.extend=none", f"curation.picks={options.picks}",
        f"train.finetune_steps={options.steps}", f"evaluation.samples={options.samples}",
    ]  # fmt: skip
    study = open_or_create(options.study, "digits", settings, seed=options.seed, generations=options.generations)
    simulate(study, options.generations, lambda phase, done, total: None)
    html = study.path / "report.html"
    print_shares(write_report(study, html))
    print_utilities(study)
    print(f"The whole report: {html}")
    study.store.close()


def print_shares(evidence: Evidence) -> None:
    """The share of sevens in each generation: measured, and predicted for this crowd from the generation before."""
    seven = evidence.class_names.index("7")
    for generation in evidence.generations:
        line = f"t = {generation.t}: {generation.measured.class_shares[seven].value:.3f} of the samples are sevens"
        if generation.predicted:
            line += f" ({generation.predicted.class_shares[seven].value:.3f} predicted)"
        print(line)


def print_utilities(study: Study) -> None:
    """Prints the same as `curate fit STUDY --features class --ridge 1`."""
    request = FitOptions(AnswerFilter(kinds=("sim",)), features=("class",), ridge=1.0)
    print_report(choice_report(study.store, study.config, request), study.path.name)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A digits study with a simulated crowd of two types.")
    parser.add_argument("study", type=Path, help="its folder; made if it isn't there")
    parser.add_argument("--generations", type=int, default=3)
    parser.add_argument("--picks", type=int, default=1_797, help="a generation; there are 1,797 real digits")
    parser.add_argument("--steps", type=int, default=200, help="of training a generation")
    parser.add_argument("--samples", type=int, default=2_000, help="that a generation is measured on")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

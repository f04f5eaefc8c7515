"""The power and the false alarms of the tests of `curate fit`, on planted effects: the table of docs/choice-model.md.

Run from the repository: `python -m benchmarks.choice_power [STUDIES]`; 200 studies a row take some ten minutes.
"""

import sys

from tests.loop.analysis.simulated import Crowd
from tests.loop.analysis.test_findings import NAMES, rates

PLANTED = {
    "nothing": Crowd(),
    "nothing, 100 raters of 12": Crowd(raters=100, picks=12),
    "position 2: +0.2": Crowd(bias=0.2),
    "position 2: +0.4": Crowd(bias=0.4),
    "similar: -0.2": Crowd(similar=-0.2),
    "similar: -0.4": Crowd(similar=-0.4),
    "one random rater": Crowd(at_random=1),
    "one random rater, 80 picks each": Crowd(at_random=1, picks=80),
    "an adversarial tenth": Crowd(against=3),
    "tastes differ by 0.3": Crowd(spread=0.3),
    "tastes differ by 0.5": Crowd(spread=0.5),
}


def main(studies: int) -> None:
    """Prints a row for each plant: the share of studies in which each test found something."""
    print("| planted | " + " | ".join(NAMES) + " |")
    print("|---" * (len(NAMES) + 1) + "|")
    for name, crowd in PLANTED.items():
        shares = rates(crowd, studies)
        print(f"| {name} | " + " | ".join(f"{shares[test]:.1%}" for test in NAMES) + " |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

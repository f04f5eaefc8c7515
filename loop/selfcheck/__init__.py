"""Checks that a study follows the process that it declares: its picks, slates and counts against the rule; no torch.

`self_checks` reads a study's database and settings and gives a list of `Check`, each with a verdict and a sentence.
"""

from loop.selfcheck.study import self_checks
from loop.selfcheck.verdicts import VERDICTS, Check, CheckVerdict

__all__ = ["VERDICTS", "Check", "CheckVerdict", "self_checks"]

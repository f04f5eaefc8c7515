"""What the picks say: Luce's rule fitted to slates of any K, tests of that rule, and how many picks a question needs.

slates     answered slates as flat arrays
logit      the conditional logit: estimates, covariances, intervals
columns    which columns can be estimated at all
items      coarse items (classes, generations) by the MM algorithm
log        what `curate fit` reads from a study, and who counts
design     features by name; details has what they need beside the log
finding    what a test found, in words
position, context, raters, repeats    the tests
report     all of it for one study
plan       raters and picks that a win rate needs

Torch-free. docs/choice-model.md has the formulas and the limits.
"""

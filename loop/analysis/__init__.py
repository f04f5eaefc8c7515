"""Raters' preferences: Luce's rule fitted to slates of any K, tests of its assumptions, and the picks that are needed.

log          the answers that `curate fit` reads from a study, as flat arrays, and who counts
design       features by name, and which columns can be estimated at all
logit        the conditional logit: estimates, covariances, intervals; coarse items by the MM algorithm
assumptions  tests of the model: favoured positions, independence of irrelevant alternatives, retest
raters       agreement between raters, and who picks at random
report       all of it for one study
plan         raters and picks that a win rate needs

Torch-free. docs/choice-model.md has the formulas and the limits.
"""

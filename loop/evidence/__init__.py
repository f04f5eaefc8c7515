"""The evidence: what theory predicted of each generation, what was measured, and a verdict on every claim.

Read in this order:

schema      the contents of a report, as typed and versioned data (report.json), and docs/report-schema.md
study       a loop's history from the database, and the evidence put together from it, without torch
prediction  the next generation's E[w], E[r] and class shares, from a plain sample of rewards
claims      the theorem's promises held against measurements: margins with standard errors
verdicts    holds, fails or can't tell, corrected for many comparisons; and sentences in plain words
people      verdicts where the reward is people's own: win rates, and the gain of fitted utilities
intervals   the error that all verdicts of a report share; intervals that are right at every look, and of ratios
"""

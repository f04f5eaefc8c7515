"""The evidence: what theory predicted of each generation, what was measured, and a verdict on every claim.

schema      what a report says, as typed and versioned data (report.json), and docs/report-schema.md
prediction  the next generation's E[w], E[r] and class shares, from a plain sample of rewards
claims      the theorem's promises held against measurements: margins with standard errors
verdicts    holds, fails or can't tell, corrected for many comparisons; and sentences in plain words
intervals   the error that all verdicts of a report share; intervals that are right at every look
people      what can be said when the reward is people's own: win rates, and the gain of fitted utilities
study       puts it together from a study's database, without torch, and leaves it in the folder, evidence.json
"""

"""The evidence: what theory predicted of each generation, what was measured, and a verdict on every claim.

schema      what a report says, as typed and versioned data (report.json)
prediction  the next generation's E[w], E[r] and class shares, from a plain sample of rewards
claims      the theorem's promises held against measurements: margins with standard errors
verdicts    holds, fails or can't tell, corrected for many comparisons; and sentences in plain words
budget      the error that all verdicts of a report share, and each one's part of it
people      what can be said when the reward is people's own: win rates in audit slates
liking      and the gain of utilities that are fitted to their picks
confidence_sequence  intervals that are right at every look
study       puts it together from a study's database; no generator and no torch is needed
file        leaves it in the study's folder, evidence.json
"""

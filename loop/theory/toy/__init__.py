"""Toy models of retraining on one's own samples, small enough to simulate thousands of times beside exact curves.

Linear regression, a Gaussian, next-token frequencies, and curated picks on a finite support; the data policies that
compose their training sets are the flow's own (`loop.policies`).
"""

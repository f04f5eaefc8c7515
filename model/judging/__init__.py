"""Judgement of samples: the classifier and its features, and fidelity to the real data."""

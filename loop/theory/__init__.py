"""The theory: the exact operator and loops, the bounds, and the models of collapse without curation."""

"""Tensors in, tensors out: the flow, its networks and solvers, rewards, the Luce choice, checkpoints.

A leaf: it knows no study and no database. `model.config` imports no torch, so that the app may read it.
"""

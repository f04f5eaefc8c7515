"""Sweeps: one study for every combination of settings and every seed, in a folder that remembers what it runs.

grid     which studies a sweep has, their settings and names; sweep.toml, by which a command goes on or extends
cell     one study, simulated in a process of its own
run      several such processes at a time
results  what came of it over the seeds: doses and responses
"""

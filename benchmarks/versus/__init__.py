"""The parts of `loop_vs_reference.py`: the plain way, ours, and what they are held against."""

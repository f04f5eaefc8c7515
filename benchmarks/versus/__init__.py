"""The parts of `loop_vs_reference.py`: the plain way, curate's, and the floors that both are compared with."""

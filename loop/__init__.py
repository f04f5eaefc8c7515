"""Algorithm 1 and all that runs it: studies, curators, mixing, one turn of the loop, the worker.

`loop.config`, `loop.presets` and `loop.study` import no torch: the app and the command line read studies through them.
"""

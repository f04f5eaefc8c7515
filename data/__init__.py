"""Everything that is kept: the study database, images by content, the real data sets, the choice log.

A leaf: it imports neither `model` nor `loop`, and nothing here imports torch unless CIFAR-10 or a folder is asked for.
"""

"""People: their way through a study, what they are served, flags on what they answer. Torch-free."""

"""`curate sweep`: its progress, its dose-response figure, its report."""

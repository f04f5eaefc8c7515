"""`curate theory`: tables and figures of the toy models."""

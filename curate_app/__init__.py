"""The surface: the command line, the HTTP app, the rater's and the researcher's pages. Never imports torch."""

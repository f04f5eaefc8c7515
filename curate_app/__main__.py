"""`python -m curate_app`: the same as the `curate` command."""

from curate_app.cli import main

main()

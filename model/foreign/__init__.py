"""Other projects' weights, read into this one's networks: one file for each layout."""

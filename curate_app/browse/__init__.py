"""`curate browse`: a study in Datasette, read-only, with images as pictures and what the columns mean."""

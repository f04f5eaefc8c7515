"""`curate fit` and `curate plan`: what the picks say, and how many are needed."""

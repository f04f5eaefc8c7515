"""The rater's page, and the JSON routes that it talks to."""

"""`curate report`: one HTML file and report.json, of one study or of several side by side."""

"""`curate reward`: the classifier behind the rewards of images, trained here or imported."""

"""The verbs of the command line, a file each; what they print and run stands beside them."""

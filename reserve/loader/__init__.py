"""From the names and words of a command line to applications."""

"""From the names and arguments of a command line to applications."""

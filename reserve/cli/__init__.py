"""The command ``reserve``: from command-line arguments to an exit code. Only ``reserve.__main__`` imports it."""

"""The command ``reserve``: words in, exit code out. Nothing else of the package imports it but ``reserve.__main__``."""

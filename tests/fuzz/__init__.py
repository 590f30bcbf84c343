"""Fuzzing of the HTTP/1 parsers; ``README.md`` in this folder says how to run it, and has the results."""

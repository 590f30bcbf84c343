"""Fuzzing of the HTTP/1 parsers; ``README.md`` here says how to run it and what came out."""

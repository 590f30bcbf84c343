# The lines of the access log in C: see formats.py.

from typing import Any

def usual_lines(records: list[Any], second: float, middle: bytes, /) -> bytes | None: ...

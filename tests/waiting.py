"""The one way to wait for what no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable

_LIMIT = 60.0  # seconds; reached only by a test that fails


def eventually(predicate: Callable[[], object]) -> None:
    """Return when ``predicate()`` is true; fail when it stays false.

    For states that can only be looked at (``server.stats()``). Wait for an event, a condition or a socket wherever
    there is one.
    """
    limit = time.monotonic() + _LIMIT
    while not predicate():
        assert time.monotonic() < limit, "what the test waits for does not happen"
        time.sleep(0.001)

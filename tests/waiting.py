"""How tests wait: the seconds after which a test gives up, and the one way to wait for what no event announces."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which a test gives up waiting. Only a test that fails reaches it."""


def eventually(predicate: Callable[[], object]) -> None:
    """Return when ``predicate()`` is true; fail when it stays false.

    For states that can only be polled (``server.stats()``). Wait for an event, a condition or a socket wherever
    there is one.
    """
    limit = time.monotonic() + PATIENCE
    while not predicate():
        assert time.monotonic() < limit, "what the test waits for does not happen"
        time.sleep(0.001)

"""The fixture ``open_listeners``: listeners that are closed after the test."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from reserve.sockets.listeners import listen, release

OpenListeners = Callable[..., list[socket.socket]]


@pytest.fixture
def open_listeners() -> Iterator[OpenListeners]:
    """``open_listeners(ADDRESS, ...)`` is ``listen``, and closes the listeners after the test."""
    with ExitStack() as stack:

        def run(*addresses: str, **options: Any) -> list[socket.socket]:
            sockets = listen(*addresses, **options)
            for sock in sockets:
                stack.callback(release, sock)
            return sockets

        yield run

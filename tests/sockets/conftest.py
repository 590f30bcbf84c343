"""Fixtures: listeners that are closed after the test, and a directory with a short name."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
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


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory with a short name, because the name of a UNIX socket has about 100 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield Path(name)

"""Control sockets that a test opens."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from reserve.cli.control.sockets import ControlSocket
from reserve.sockets.listeners import release


@contextlib.contextmanager
def close_all() -> Iterator[list[ControlSocket]]:
    """A list of control sockets, which are closed at the end of the block."""
    opened: list[ControlSocket] = []
    try:
        yield opened
    finally:
        for one in opened:
            release(one.sock)

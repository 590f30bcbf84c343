"""The fixture ``pair``: a connection whose peer is the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.connections.budget import Budget
from reserve.engine.connections.closing import close_socket
from reserve.engine.connections.connection import Connection
from tests.waiting import PATIENCE

Pair = tuple[Connection, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with two:
        one.setblocking(False)
        two.settimeout(PATIENCE)
        server = SimpleNamespace(
            budget=Budget(10_000_000, 100_000_000), others_wait=False, close_file=lambda close, size: close()
        )
        connection = Connection(cast(Any, server), one, "")
        yield connection, two
        if connection.output is not None:
            connection.output.close()
        close_socket(connection)

"""What a connection keeps in memory while it waits for its next request."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
from unittest import mock

import pytest

import reserve
from reserve.apps.http import straightforms
from reserve.testing import running
from tests.apps.http.doubles import hello

FORMS = ["Python", *(["C"] if straightforms.is_compiled() else [])]
CONNECTIONS = 150
MOST = 3 * 1024
"""Bytes of Python's memory for each connection, of all that the server allocates."""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PACKAGE = f"{reserve.__path__[0]}/*"


def allocated() -> int:
    """Bytes that the lines of reserve have allocated since tracing began, and not freed."""
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, PACKAGE)])
    return sum(statistic.size for statistic in snapshot.statistics("filename"))


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="every object is larger in a build without the GIL"
)
@pytest.mark.parametrize("form", FORMS)
def test_an_idle_connection_keeps_little_in_memory(form: str) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(straightforms, "form", return_value=form))
        server = stack.enter_context(running(hello, threads=2))

        def connect(count: int) -> None:
            for _ in range(count):
                client = stack.enter_context(server.connect())
                client.sendall(REQUEST)
                assert client.recv(4096).startswith(b"HTTP/1.1 200 ")

        connect(10)  # what the server makes on first use
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        before = allocated()
        connect(CONNECTIONS)
        assert 0 < allocated() - before <= MOST * CONNECTIONS

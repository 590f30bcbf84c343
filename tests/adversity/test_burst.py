"""A thousand clients connect before the accept thread has accepted one: the kernel holds them, and each is served."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.engine.lifecycle import Lifecycle
from reserve.sockets.listeners import BACKLOG
from reserve.testing import running
from tests.adversity.holding import honest
from tests.apps.http.responses import receive, request
from tests.clients import connect

COUNT = 1000


def test_a_thousand_clients_that_connect_at_once_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    somaxconn = Path("/proc/sys/net/core/somaxconn")
    if not somaxconn.exists() or int(somaxconn.read_text()) < BACKLOG:
        pytest.skip("this system's own limit of the backlog is lower than --backlog")
    launch = Lifecycle._launch

    def late(self: Any) -> None:
        for _ in range(COUNT):
            # A client that is refused or left waiting fails here.
            client = stack.enter_context(connect(self._endpoints.addresses[0]))
            clients.append(client)
        launch(self)

    clients: list[socket.socket] = []
    monkeypatch.setattr(Lifecycle, "_launch", late)
    with ExitStack() as stack, running(honest, http=HTTPSettings(access_log=False), threads=2) as served:
        assert len(clients) == COUNT
        for client in clients:
            client.sendall(request("GET", "/", "Connection: close"))
        assert {receive(client).body for client in clients} == {b"honest"}
        assert served.server.stats().accepted == COUNT


def test_accepted_connections_have_keepalive_and_no_delay_and_are_not_inheritable() -> None:
    """With SO_KEEPALIVE the kernel finds a peer that vanished, whatever the deadlines are."""
    with running(honest, http=HTTPSettings(access_log=False)) as served, connect(served.address) as client:
        client.sendall(request())
        receive(client)
        (connection,) = served.server._queue.connections.values()
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not connection.sock.get_inheritable()

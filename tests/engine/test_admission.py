"""What happens to a connection that was accepted, until it has a driver."""

from __future__ import annotations

from typing import Any

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from tests.clients import receive_all
from tests.engine.conftest import Serve
from tests.engine.linedriver import LineDriver


def test_a_driver_that_cannot_be_made_closes_only_its_connection(serve: Serve) -> None:
    made: list[Connection] = []

    class TestedApplication(Application):
        def make_driver(self, connection: Connection) -> Any:
            made.append(connection)
            if len(made) == 1:
                raise ValueError("not the first")
            return LineDriver(connection)

    running = serve(TestedApplication())
    assert receive_all(running.connect()) == b""
    client = running.connect()
    client.sendall(b"bye\n")
    assert receive_all(client) == b"bye\n"
    running.log.wait("not the first")
    made.clear()

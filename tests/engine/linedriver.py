"""A driver that sends back what it receives, for tests of what the engine does with a driver."""

from __future__ import annotations

from typing import Any

from reserve.engine.connections.application import Application
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, RUN, Action, Driver, Wait
from reserve.engine.polling.poller import READ


class LineDriver(Driver):
    """Sends each line back. ``bye`` closes, ``linger`` lingers, ``run`` asks for a run.

    :param on_read: called with what was received.
    """

    def __init__(self, connection: Connection, on_read: Any = None) -> None:
        self.connection = connection
        self.wait = Wait("line", READ)
        self.on_read = on_read

    def step(self, events: int, now: float) -> Action:
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return CLOSE if self.connection.server.stopping else self.wait
        if self.on_read is not None:
            self.on_read(data)
        if data:
            self.connection.write(data)
        if data.startswith(b"run"):
            return RUN
        if data.startswith(b"linger"):
            return LINGER
        return CLOSE if data in (b"", b"bye\n") else self.wait

    def run(self) -> None: ...


class LineApplication(Application):
    """Makes a :class:`LineDriver` for each connection; ``run`` is what its runs call."""

    def __init__(self, run: Any = None, on_read: Any = None) -> None:
        self.run = run
        self.on_read = on_read

    def make_driver(self, connection: Connection) -> LineDriver:
        driver = LineDriver(connection, self.on_read)
        if self.run is not None:
            driver.run = self.run  # type: ignore[method-assign]
        return driver

"""What the tests of the command run instead of a real server, and the applications that they serve."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import reserve
from reserve.engine.hooks import Hooks
from reserve.engine.settings import EngineSettings

HANDLER = (
    "def handle(socket, client_address, server):\n    socket.sendall(b'hello')\ndef launch(args):\n    return handle\n"
)
"""The source of the module ``cli_plain``, which has a handler."""
CONFIGURED = """
from reserve.engine.connections.application import Application
class App(Application):
    def configure(self, values, given):
        self.values = values
def launch(args):
    return App()
"""
"""The source of the module ``cli_configured``, whose application takes options."""
ROOT = str(Path(reserve.__file__).parent.parent)
"""What PYTHONPATH needs for a process that imports this clone of reserve."""
ARGV = ["app", "cli_plain", "-b", "127.0.0.1:0"]
"""A command line that starts a server on a free port."""


class FakeServer:
    """Keeps the arguments of its constructor; ``start`` runs ``while_serving`` instead of serving.

    The fixture ``workdir`` replaces the real server by it.
    """

    made: ClassVar[list[FakeServer]] = []
    while_serving: ClassVar[Callable[[FakeServer], None]] = staticmethod(lambda server: None)

    ssl_adapter: Any = None
    aborted = 0

    def __init__(
        self,
        fds: list[socket.socket],
        handle: Any,
        *,
        without_tls: list[socket.socket],
        extra: list[tuple[list[socket.socket], Any]],
        settings: EngineSettings,
        own: bool,
        hooks: Hooks,
        balance: object = None,
    ) -> None:
        self.hooks = hooks
        self.sockets, self.handle, self.settings, self.own = fds, handle, settings, own
        self.without_tls, self.extra = without_tls, extra
        self.stops: list[float | None] = []
        self.addresses = [sock.getsockname() for sock in fds]
        self.reloads: list[str] = []
        self.log = SimpleNamespace(info=self.log_line, warning=self.log_line)
        FakeServer.made.append(self)

    def log_line(self, text: str, kind: str = "") -> None:
        self.reloads.append(text)

    def reload_tls(self, *, wait: bool) -> None:
        assert not wait
        self.reloads.append("look")

    def request_stop(self, timeout: float | None = None) -> None:
        self.stops.append(timeout)

    def start(self) -> None:
        type(self).while_serving(self)
        for sock in (*self.sockets, *self.without_tls, *(sock for sockets, _ in self.extra for sock in sockets)):
            sock.close()

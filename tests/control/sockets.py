"""Control sockets for tests."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reserve.control.commands import Reply, Target
from reserve.control.listener import open_control
from reserve.control.protocol import Refusal, Request
from reserve.control.thread import ControlThread
from reserve.sockets.listeners import release
from tests.waiting import PATIENCE


class EchoTarget:
    """Replies with the command, or later: ``reload`` waits for :meth:`release`; ``stop`` fails."""

    def __init__(self, size: int = 0) -> None:
        self.waiting: list[Reply] = []
        self.seen: list[str] = []
        self._size = size

    def perform(self, request: Request, reply: Reply) -> None:
        self.seen.append(request.command)
        if request.command == "reload":
            self.waiting.append(reply)
        elif request.command == "stop":
            raise ValueError("no")
        elif request.command == "log-reopen":
            raise Refusal("not now", "wait")
        else:
            reply({"command": request.command, "data": "x" * self._size})


@contextlib.contextmanager
def control_socket(folder: Path, target: Target, *, readonly: bool = False, **options: Any) -> Iterator[str]:
    """The path of a control socket while the block runs."""
    path = str(folder / "control")
    sock = open_control(path, 0o600)
    thread = ControlThread([(sock, readonly)], target, **options)
    thread.start()
    try:
        yield path
    finally:
        thread.close()
        release(sock)


class Peer:
    """A client that sends anything."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self._file = self.sock.makefile("rb")

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> Any:
        """The next response; None: the server has closed the connection."""
        try:
            line = self._file.readline()
        except ConnectionError:
            return None
        return json.loads(line) if line else None

    def close(self) -> None:
        self._file.close()
        self.sock.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

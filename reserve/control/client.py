"""The client of a control socket, for the commands (``reserve status``), ``reserve top``, and programs of users.

    with ControlClient("/run/mysite.control") as control:
        document = control.call("status")
        for document in control.watch(1.0):
            ...

One thread uses a client.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from reserve import __version__
from reserve.control.protocol import request_line
from reserve.errors import ReserveError

__all__ = ["ControlClient", "ControlError", "explain"]

_TIMEOUT = 10.0
_PIECE = 1 << 16
_MOST = 128 << 20
"""Bytes of a response."""


class ControlError(ReserveError):
    """The server cannot be asked, or does not do what it was asked for.

    :param text: what is wrong.
    :param hint: what to do, a line that works where there is one; empty: unknown.
    :param refused: the server has said it; else there is no connection to it.
    :param timed_out: it has not responded in time.
    """

    def __init__(self, text: str, hint: str = "", *, refused: bool = False, timed_out: bool = False) -> None:
        super().__init__(f"{text}; {hint}" if hint else text)
        self.reason = text
        self.hint = hint
        self.refused = refused
        self.timed_out = timed_out


class ControlClient:
    """A connection to the control socket of a server; owned by the code that makes it.

    :param path: the file of the socket.
    :param timeout: seconds that a response may take.
    :raises ControlError: nothing listens there, or this user may not connect.
    """

    def __init__(self, path: str, timeout: float = _TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout
        self._data = b""
        self._last_id = 0
        if not hasattr(socket, "AF_UNIX"):
            raise ControlError("the control socket needs UNIX sockets, which this system does not have")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise explain(path, error) from None

    def call(self, command: str, **arguments: Any) -> Any:
        """Send a request, and return the result.

        :param arguments: those of the command (``docs/control.md``); None: not given.
        :raises ControlError: the server refuses it, does not respond in time, or has ended.
        """
        self._send(command, arguments)
        return self._result(self._timeout)

    def watch(self, interval: float = 1.0, what: str = "status") -> Iterator[Any]:
        """The result of a command now, and again and again until the server ends.

        :param interval: seconds between two, from 0.2 on.
        :param what: ``status``, ``stacks`` or ``connections``.
        :raises ControlError: as :meth:`call`.
        """
        self._send("watch", {"interval": interval, "what": what})
        while True:
            yield self._result(self._timeout + interval)

    def fileno(self) -> int:
        """The descriptor of the socket, to wait for."""
        return self._sock.fileno()

    def close(self) -> None:
        """Disconnect. A second call does nothing."""
        self._sock.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, command: str, arguments: dict[str, Any]) -> None:
        self._last_id += 1
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            self._sock.sendall(request_line(command, given, self._last_id))
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # else the server may have said why
                raise ControlError(f"the server at {self.path} cannot be asked: {error.strerror or error}") from None

    def _result(self, timeout: float) -> Any:
        while True:
            response = self._response(timeout)
            if response.get("id") in (self._last_id, None):
                break  # else one of a request before, as of a watch that has ended
        if response.get("ok") is True:
            return response.get("result")
        text, hint = str(response.get("error", "it does not say why")), str(response.get("hint", ""))
        raise ControlError(f"the server refuses: {text}", hint, refused=True)

    def _response(self, timeout: float) -> dict[str, Any]:
        self._sock.settimeout(timeout)
        pieces = [self._data]
        size = 0
        try:
            while b"\n" not in pieces[-1]:
                data = self._sock.recv(_PIECE)
                size += len(data)
                if not data or size > _MOST:
                    raise ControlError(f"the server at {self.path} has ended, or has closed the connection")
                pieces.append(data)
        except TimeoutError:
            raise ControlError(
                f"the server at {self.path} has not responded for {timeout:g} s",
                "its process may be stopped, or C code may hold its GIL: look with top -H, or py-spy dump --pid PID",
                timed_out=True,
            ) from None
        except OSError as error:
            raise ControlError(f"the server at {self.path} has ended: {error.strerror or error}") from None
        line, _, self._data = b"".join(pieces).partition(b"\n")
        try:
            response = json.loads(line)
        except (ValueError, RecursionError):
            response = None
        if not isinstance(response, dict):
            raise ControlError(
                f"what listens on {self.path} is no control socket of reserve {__version__}",
                "name the file of --control PATH, not that of a --bind",
            )
        return response


def explain(path: str, error: OSError) -> ControlError:
    """What it means that a client cannot connect."""
    reserve = "reserve --control " + (path if path and " " not in path else "PATH")
    if error.errno == errno.ENOENT:
        return ControlError(
            f"there is no control socket {path}",
            f"a server makes one when it is started with it, as in: {reserve} app http wsgi blog",
        )
    if error.errno == errno.ECONNREFUSED:
        return ControlError(
            f"no server listens on {path} any more: it was killed, or its computer was restarted",
            f"start it again: {reserve} app http wsgi blog",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return ControlError(f"this user may not connect to {path}", _as_owner(path))
    if error.errno in (errno.ENOTSOCK, errno.ENOTDIR, errno.EISDIR, errno.EPROTOTYPE):
        return ControlError(f"{path} is no control socket", f"start the server with another file: {reserve}")
    if isinstance(error, (TimeoutError, BlockingIOError)):
        return ControlError(f"the server at {path} accepts no connection: its process may be stopped, or hang")
    return ControlError(f"cannot connect to {path}: {error.strerror or error}")


def _as_owner(path: str) -> str:
    """The line that connects as the owner of the socket."""
    try:
        import pwd

        user = pwd.getpwuid(os.stat(path).st_uid).pw_name
    except (ImportError, OSError, KeyError):  # the directory keeps this user out
        user = "root"
    return f"run it as its user: sudo -u {user} reserve status --control {path}"

"""The socket that an application gets under TLS: whatever the adapter, it behaves as a ``socket.socket`` does.

The methods named as a socket's wait as long as ``settimeout`` says, and may be called by one thread that reads and
another that writes. What the engine uses, which never waits, is in :mod:`reserve.ssl.tlstransport`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

from reserve.errors import WantRead, WantWrite
from reserve.ssl.session import TLSSession
from reserve.ssl.tlstransport import TLSTransport
from reserve.wait import wait_for

__all__ = ["TLSSocket"]

_PLAIN = socket.socket


class TLSSocket(TLSTransport):
    """Made by an adapter for one connection.

    :param session: the session, whose handshake may still have to come.
    :param environ: says what is to be known of the session.
    """

    def __init__(self, session: TLSSession, environ: Callable[[Any], dict[str, str]]) -> None:
        super().__init__(session, environ)
        self._timeout: float | None = 0.0
        self._io_refs = 0
        """Files of :meth:`makefile` that are open, as ``socket.SocketIO`` counts them."""

    def __repr__(self) -> str:
        return f"<reserve.ssl.SecureSocket fd={self.fileno()}>"

    @property
    def details(self) -> Any:
        """The library's own object: ``ssl.SSLObject``, or ``OpenSSL.SSL.Connection``. Only to be asked."""
        return self._session.details

    @property
    def family(self) -> int:
        return self._socket.family

    @property
    def type(self) -> int:
        return self._socket.type

    @property
    def proto(self) -> int:
        return self._socket.proto

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def do_handshake(self) -> None:
        """Shake hands, within the timeout. Raises TimeoutError, TLSError, OSError."""
        self._until(self.handshake_now, "agreed on")

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As ``socket.recv``; no flags under TLS. Empty only at the peer's close_notify.

        Raises ConnectionAbortedError when the connection ends without it.
        """
        if flags:
            raise ValueError("a TLS socket takes no flags")
        if size < 0:
            raise ValueError("recv() takes no negative size")
        if not size:
            return b""
        return cast("bytes", self._until(lambda: self.recv_now(size), "received"))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As ``socket.recv_into``."""
        view = memoryview(buffer).cast("B")
        if not 0 <= nbytes <= len(view):
            raise ValueError(f"recv_into() of {nbytes} octets into a buffer of {len(view)}")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As ``socket.send``. After BlockingIOError or TimeoutError the same octets have to come first again."""
        if flags:
            raise ValueError("a TLS socket takes no flags")
        view = memoryview(data).cast("B")
        return self._until(lambda: self.send_now(view), "sent") if len(view) else 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As ``socket.sendall``: within the timeout as a whole."""
        if flags:
            raise ValueError("a TLS socket takes no flags")
        view = memoryview(data).cast("B")
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while view:
            view = view[self._until(lambda view=view: self.send_now(view), "sent", until) :]  # type: ignore[misc]

    def _until(self, call: Callable[[], Any], what: str, until: float | None = None) -> Any:
        timeout = self._timeout
        if timeout is not None and until is None:
            until = time.monotonic() + timeout
        while True:
            try:
                with self._lock:
                    return call()
            except (WantRead, WantWrite) as want:
                if timeout == 0:
                    raise
                for_room = isinstance(want, WantWrite)
            fd = self.fileno()
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            left = None if until is None else until - time.monotonic()
            if left is not None and (left <= 0 or not wait_for(fd, left, write=for_room)):
                raise TimeoutError(f"nothing could be {what} for {timeout:g} s")
            if left is None:
                wait_for(fd, None, write=for_room)

    def settimeout(self, timeout: float | None) -> None:
        if timeout is not None and timeout < 0:
            raise ValueError("a timeout is not negative")
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._timeout != 0

    def getpeername(self) -> Any:
        return _PLAIN.getpeername(self._socket)

    def getsockname(self) -> Any:
        return self._socket.getsockname()

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        return self._socket.getsockopt(level, option, size) if size else self._socket.getsockopt(level, option)

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        self._socket.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        """As ``socket.shutdown``; close_notify goes out before our side ends, if there is room within the timeout.

        What the peer sends after ``shutdown(SHUT_WR)`` can be received with reserve's own adapters; where a foreign
        one cannot, receiving raises ConnectionAbortedError.
        """
        if how != socket.SHUT_RD:
            with contextlib.suppress(OSError, ValueError):
                self._until(self._close_notify_now, "sent")
        self.raw_shutdown(how)

    def close(self) -> None:
        """As ``socket.close``: when the last ``makefile`` is closed, too. It does not wait: close_notify goes out if
        there is room for it now. :meth:`shutdown`, and the server at the end of a handler, wait for room.
        """
        self._closed = True
        if self._io_refs <= 0:
            self._close_now()

    def _close_now(self) -> None:
        if self.fileno() >= 0:
            self.close_notify()
            socket.close(self.detach())

    def __enter__(self) -> TLSSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    makefile: ClassVar[Callable[..., Any]] = socket.socket.makefile
    """As ``socket.makefile``, which it is: it needs ``recv_into``, ``send``, ``_io_refs`` and ``_decref_socketios``."""

    def _decref_socketios(self) -> None:
        """A file was closed. The last one closes the socket, if :meth:`close` was called before."""
        self._io_refs -= 1
        if self._closed:
            self.close()

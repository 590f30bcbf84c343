"""``TLSSocket``: the socket that an application gets under TLS. With every adapter it behaves as a ``socket.socket``.

The methods named as a socket's wait as long as ``settimeout`` says; one thread may read while another writes. What the
engine uses, which never waits, is in :mod:`reserve.ssl.tlstransport`.
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
    """The TLS side of one connection, made by an adapter. The connection owns it, until it is detached.

    :param session: the session, whose handshake may still have to be done.
    :param environ: gives the variables of the session.
    """

    def __init__(self, session: TLSSession, environ: Callable[[Any], dict[str, str]]) -> None:
        super().__init__(session, environ)
        self._timeout: float | None = 0.0
        self._io_refs = 0
        """Files of :meth:`makefile` that are open, as ``socket.SocketIO`` counts them."""

    def __repr__(self) -> str:
        return f"<reserve.ssl.TLSSocket fd={self.fileno()}>"

    @property
    def details(self) -> Any:
        """The library's own object: ``ssl.SSLObject``, or ``OpenSSL.SSL.Connection``. Only to read values from."""
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
        """Do the handshake, within the timeout. Raises TimeoutError, TLSError, OSError."""
        self._wait_and_call(self.handshake_now, "agreed on")

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
        return cast("bytes", self._wait_and_call(lambda: self.recv_now(size), "received"))

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As ``socket.recv_into``."""
        view = memoryview(buffer).cast("B")
        if not 0 <= nbytes <= len(view):
            raise ValueError(f"recv_into() of {nbytes} bytes into a buffer of {len(view)}")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As ``socket.send``. After BlockingIOError or TimeoutError the next call must begin with the same bytes."""
        if flags:
            raise ValueError("a TLS socket takes no flags")
        view = memoryview(data).cast("B")
        return self._wait_and_call(lambda: self.send_now(view), "sent") if len(view) else 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As ``socket.sendall``: within the timeout as a whole."""
        if flags:
            raise ValueError("a TLS socket takes no flags")
        view = memoryview(data).cast("B")
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while view:
            sent = self._wait_and_call(lambda view=view: self.send_now(view), "sent", deadline)  # type: ignore[misc]
            view = view[sent:]

    def _wait_and_call(self, call: Callable[[], Any], done: str, deadline: float | None = None) -> Any:
        """Call until it raises no Want any more, and wait for the socket in between, within the timeout.

        :param done: the participle of the call, for the message of TimeoutError.
        :param deadline: in monotonic time; by default it follows from the timeout.
        """
        timeout = self._timeout
        if timeout is not None and deadline is None:
            deadline = time.monotonic() + timeout
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
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and (remaining <= 0 or not wait_for(fd, remaining, write=for_room)):
                raise TimeoutError(f"nothing could be {done} for {timeout:g} s")
            if remaining is None:
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
        """As ``socket.shutdown``; close_notify is sent before our side ends, if there is room within the timeout.

        What the peer sends after ``shutdown(SHUT_WR)`` can be received with reserve's own adapters; with some others
        receiving raises ConnectionAbortedError.
        """
        if how != socket.SHUT_RD:
            with contextlib.suppress(OSError, ValueError):
                self._wait_and_call(self._send_close_notify, "sent")
        self.raw_shutdown(how)

    def close(self) -> None:
        """As ``socket.close``: the socket is closed when its last ``makefile`` is. It does not wait: close_notify is
        sent if there is room for it now. :meth:`shutdown`, and the server at the end of a handler, wait for room.
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
    """The method of ``socket.socket``: it uses ``recv_into``, ``send``, ``_io_refs`` and ``_decref_socketios``."""

    def _decref_socketios(self) -> None:
        """A file was closed. The last one closes the socket, if :meth:`close` was called before."""
        self._io_refs -= 1
        if self._closed:
            self.close()

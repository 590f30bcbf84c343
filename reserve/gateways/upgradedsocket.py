"""``environ["reserve.socket"]``: with it a WSGI application takes its connection over (RFC 9110 section 7.8).

The gateway of a protocol puts it into the environ of a request that asks for an upgrade. Nothing happens until the
application uses it: then the application owns the connection, and sends the response itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

__all__ = ["SOCKET_KEYS", "UpgradedSocket"]

SOCKET_KEYS = ("reserve.socket", "werkzeug.socket", "gunicorn.socket")
"""The keys of the environ: ours, and those that simple-websocket looks for, and with it flask-sock and
python-engineio.
"""

_END_TIMEOUT = 1.0
"""Seconds that the other threads of the application may go on with the socket when its request is over:
simple-websocket sends the close frame on a thread of its own, after it has let the application return.
"""


class _Readiness:
    """A descriptor that is readable if the socket is, or if bytes of it are in memory. Owned by the socket.

    ``select`` sees only what the kernel holds, and TLS holds a part of a record.
    """

    def __init__(self, fd: int) -> None:
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._set = False
        try:
            self._epoll = select.epoll()
            self._epoll.register(fd, select.EPOLLIN)
            self._epoll.register(self._event, select.EPOLLIN)
        except BaseException:
            os.close(self._event)
            raise

    def fileno(self) -> int:
        return self._epoll.fileno()

    def update(self, in_memory: bool) -> None:
        if in_memory != self._set:
            self._set = in_memory
            if in_memory:
                os.eventfd_write(self._event, 1)
            else:
                os.eventfd_read(self._event)

    def close(self) -> None:
        self._epoll.close()
        os.close(self._event)


class UpgradedSocket:
    """A blocking socket without a timeout, for the application of one request. The worker of the request makes and ends
    it; any thread of the application may use it meanwhile, one that receives and one that sends at a time.

    The first call that uses the connection takes it over; reading the addresses does not. After the request every call
    raises OSError (EBADF).

    :param sock: the socket of the connection, or its TLS session.
    :param take_over: called once, at the first use. It returns the bytes that the client has sent after its request,
        which :meth:`recv` gives first. What it raises, the application gets.
    """

    def __init__(self, sock: Any, take_over: Callable[[], bytes]) -> None:
        self._socket = sock
        self._take_over: Callable[[], bytes] | None = take_over
        self._early = b""
        self._condition = threading.Condition()
        self._calls = 0
        """Calls that use the socket at this moment."""
        self._owner = threading.get_ident()
        self._users: set[threading.Thread] = set()
        """The other threads that have used the socket."""
        self._closed = False
        self._ended = False
        self._readiness: _Readiness | None = None
        self._io_refs = 0
        """Files of :meth:`makefile` that are open, as ``socket.SocketIO`` counts them."""
        self.bytes_sent = 0
        """Bytes that the application has sent."""

    def __repr__(self) -> str:
        return f"<reserve.socket{' (closed)' if self._closed or self._ended else ''}>"

    # ---- by the worker, after the application ----

    def end(self) -> None:
        """End every use of the socket: the server closes the connection next."""
        sock = self._socket
        until = time.monotonic() + _END_TIMEOUT
        for thread in list(self._users):
            with contextlib.suppress(RuntimeError, AssertionError):  # a thread that Python has not started
                thread.join(max(0.0, until - time.monotonic()))
        with self._condition:
            self._ended = True
            taken = self._take_over is None
            self._take_over = None
            if self._calls:
                with contextlib.suppress(OSError):
                    getattr(sock, "raw_shutdown", sock.shutdown)(socket.SHUT_RDWR)
                self._condition.wait_for(lambda: not self._calls, _END_TIMEOUT)
            if self._readiness is not None:
                self._readiness.close()
                self._readiness = None
        if taken:
            with contextlib.suppress(OSError):
                sock.setblocking(False)

    # ---- as a socket has them ----

    @contextlib.contextmanager
    def _use(self, *, closing: bool = False) -> Iterator[Any]:
        """Take the connection over, if that has not happened; then the socket may be used.

        :param closing: an object that is closed may still be used by its files.
        """
        with self._condition:
            if self._ended or (self._closed and not (closing or self._io_refs > 0)):
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            take_over = self._take_over
            if take_over is not None:
                self._early = take_over()
                self._take_over = None
                self._socket.settimeout(None)
            self._calls += 1
            if threading.get_ident() != self._owner:
                self._users.add(threading.current_thread())
        try:
            yield self._socket
        finally:
            with self._condition:
                self._calls -= 1
                self._condition.notify_all()

    @property
    def family(self) -> int:
        return int(self._socket.family)

    @property
    def type(self) -> int:
        return int(self._socket.type)

    @property
    def proto(self) -> int:
        return int(self._socket.proto)

    @property
    def timeout(self) -> float | None:
        return self.gettimeout()

    def getpeername(self) -> Any:
        return self._socket.getpeername()

    def getsockname(self) -> Any:
        return self._socket.getsockname()

    def fileno(self) -> int:
        """A descriptor for ``select`` and ``selectors``, readable when :meth:`recv` has something. -1 after the end.

        With TLS, or if the client has sent bytes right after its request, it is not the descriptor of the connection.
        """
        if self._ended or self._closed:
            return -1
        with self._use() as sock:
            if (self._early or hasattr(sock, "pending")) and hasattr(select, "epoll"):
                with self._condition:
                    if self._readiness is None:
                        self._readiness = _Readiness(sock.fileno())
                self._received()
            readiness = self._readiness
            return sock.fileno() if readiness is None else readiness.fileno()

    def _received(self) -> None:
        """After receiving: bytes in memory count as readable."""
        with self._condition:
            if self._readiness is not None:
                pending = getattr(self._socket, "pending", None)
                self._readiness.update(bool(self._early) or (pending is not None and pending() > 0))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As ``socket.recv``. With TLS it takes no flags."""
        with self._use() as sock:
            if not self._early or size <= 0:
                data: bytes = sock.recv(size, flags)
            else:
                data = self._early[:size]
                if not flags & socket.MSG_PEEK:
                    self._early = self._early[size:]
            if self._readiness is not None:
                self._received()
            return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As ``socket.recv_into``."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """As ``socket.send``."""
        with self._use() as sock:
            sent: int = sock.send(data, flags)
            self.bytes_sent += sent
            return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As ``socket.sendall``."""
        with self._use() as sock:
            sock.sendall(data, flags)
            self.bytes_sent += memoryview(data).nbytes

    def settimeout(self, timeout: float | None) -> None:
        with self._use() as sock:
            sock.settimeout(timeout)

    def gettimeout(self) -> float | None:
        with self._use() as sock:
            timeout: float | None = sock.gettimeout()
            return timeout

    def setblocking(self, flag: bool) -> None:
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        return self.gettimeout() != 0

    def getsockopt(self, level: int, option: int, size: int = 0) -> Any:
        with self._use() as sock:
            return sock.getsockopt(level, option, size) if size else sock.getsockopt(level, option)

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        with self._use() as sock:
            sock.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        with self._use() as sock:
            sock.shutdown(how)

    def close(self) -> None:
        """End the server's side; the server closes the connection when the request is over. As with a socket, files of
        :meth:`makefile` that are open delay it.
        """
        if self._closed or self._ended:
            return
        with self._use():
            self._closed = True
        if self._io_refs <= 0:
            self._close_now()

    def _close_now(self) -> None:
        with contextlib.suppress(OSError), self._use(closing=True) as sock:
            if hasattr(sock, "close_notify"):
                sock.close_notify()  # does not wait for room
                sock.raw_shutdown(socket.SHUT_WR)
            else:
                sock.shutdown(socket.SHUT_WR)

    def __enter__(self) -> UpgradedSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    makefile: ClassVar[Callable[..., Any]] = socket.socket.makefile
    """The method of ``socket.socket``: it uses ``recv_into``, ``send``, ``_io_refs`` and ``_decref_socketios``."""

    def _decref_socketios(self) -> None:
        """A file was closed. The last one ends the socket, if :meth:`close` was called before."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed and self._io_refs <= 0:
            self._close_now()

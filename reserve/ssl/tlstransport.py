"""``TLSTransport``: the side of a TLS connection that the engine uses; it never waits.

:class:`~reserve.ssl.tlssocket.TLSSocket`, which applications get, derives from it. The methods that end in ``_now``
take no lock, because only the owner of a connection calls them, and they call the session directly: they run for every
record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from reserve.errors import WantRead, WantWrite
from reserve.ssl import ktls
from reserve.ssl.session import TLSSession

__all__ = ["TLSTransport"]

_RECORD = 16384
"""Bytes of content in one TLS record (RFC 8446 section 5.1), and so in one write: what one retry has to repeat."""
_READ, _WRITE = 1, 4  # as the poller has them
_PLAIN = socket.socket


class TLSTransport:
    """One connection's TLS: everything that does not wait. The connection owns it.

    :param session: the session, whose handshake may still have to be done.
    :param environ: gives the variables of the session.
    """

    def __init__(self, session: TLSSession, environ: Callable[[Any], dict[str, str]]) -> None:
        self._session = session
        self._environ = environ
        self._socket = session.socket
        # Replaced by functions that raise when the session can no longer be used: OpenSSL keeps the descriptor, which
        # may be another connection's by then, and reports the end of the content after an error.
        self._read: Callable[[int], bytes] = session.read
        self._write: Callable[[bytes | memoryview], int] = session.write
        self._pending: Callable[[], int] = session.pending
        self._lock = threading.Lock()

    # What a connection begins with: most of it stays so, and costs a connection nothing as long as it does.

    _buffered = b""
    """Content that :meth:`readable_now` has read."""
    _retry: bytes | None = None
    """What the last write has begun and not sent: it must be written again, unchanged."""
    _closed = False
    _peer_closed = False
    """The peer's close_notify was read."""
    _write_closed = False
    """Nothing more can be sent."""
    _close_notify_sent = False
    """Nothing more can be sent because close_notify was."""
    cross = 0
    """READ or WRITE, as the poller has them: what the last call waits for if it is a read that has to send first, or a
    write that has to receive first. Else 0.
    """
    kernel = False
    """The kernel encrypts what is sent (kTLS), so that files may be sent without passing through this process."""

    def handshake_now(self) -> None:
        """Go on with the handshake. Raises WantRead, WantWrite, TLSError, OSError."""
        self._session.handshake()
        if getattr(self._session, "has_descriptor", False) and ktls.kernel_encrypts(self._socket):
            self.kernel = True

    def recv_now(self, size: int) -> bytes:
        """Bytes of content; empty at the peer's close_notify. Raises WantRead, WantWrite, TLSError, OSError.

        An error is raised again by every later call.
        """
        if self._buffered:
            return self._take_buffered(size)
        try:
            data = self._read(size)
        except WantRead:
            self.cross = 0
            raise
        except WantWrite:
            self.cross = _WRITE
            raise
        except OSError as error:
            self._read = _raising(error)
            raise
        self.cross = 0
        if not data:
            self._peer_closed = True
        return data

    def _take_buffered(self, size: int) -> bytes:
        data, self._buffered = self._buffered, b""
        if size > 1 and self._pending():
            try:
                data += self._read(size - 1)
            except OSError as error:
                self._read = _raising(error)
        return data

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what there is room for, in records; what was begun is written again, unchanged, before anything else.

        Raises WantRead or WantWrite when there is no room at all, TLSError, OSError.
        """
        if self._retry is None and len(data) <= _RECORD:
            try:
                sent = self._write(data)
            except (WantRead, WantWrite) as want:
                self._keep_for_retry(data, want)
                raise
            self.cross = 0
            return sent
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            piece: bytes | memoryview = view[sent : sent + _RECORD]
            if self._retry is not None:
                piece, given = self._retry, piece
                if given[: len(piece)] != piece:
                    # OpenSSL would end the connection, too, but with an error that does not say why.
                    raise ConnectionAbortedError("what is sent is not what the TLS session has begun to send")
            try:
                sent += self._write(piece)
            except (WantRead, WantWrite) as want:
                self._keep_for_retry(piece, want)
                if sent:
                    return sent
                raise
            self._retry = None
            self.cross = 0
        return sent

    def sink(self) -> Any:
        """The object that a connection's output is flushed into."""
        return _Sink(self)

    def _keep_for_retry(self, piece: bytes | memoryview, want: BlockingIOError) -> None:
        # A copy: a view would keep the caller's buffer from growing, and its memory may be freed.
        self._retry = bytes(piece)
        self.cross = _READ if isinstance(want, WantRead) else 0

    @property
    def resumed(self) -> bool:
        """The handshake resumed an earlier session."""
        return self._session.resumed()

    def pending(self) -> int:
        """Bytes of content that can be read without the socket."""
        return len(self._buffered) + self._pending()

    @property
    def held(self) -> int:
        """Bytes of input and output that the session keeps in memory, as far as the adapter's sessions say it."""
        retry = self._retry
        held: int = getattr(self._session, "held", 0)
        return held + len(self._buffered) + (0 if retry is None else len(retry))

    def readable_now(self) -> bool:
        """Say whether there is content, its end, or an error. A part of a record is none of these."""
        if self._buffered:
            return True
        try:
            self._buffered = self.recv_now(1)
        except (WantRead, WantWrite):
            return False
        except OSError:
            pass  # the next read raises it again
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    def raw_recv(self, size: int, flags: int = 0) -> bytes:
        """Receive from the socket, past TLS: to count the bytes and drop them."""
        return _PLAIN.recv(self._socket, size, flags)

    def raw_shutdown(self, how: int) -> None:
        """Shut the socket down, past TLS. Any thread. Raises OSError."""
        _PLAIN.shutdown(self._socket, how)

    def close_notify_now(self) -> None:
        """Send close_notify, once; nothing when it cannot be sent any more. Raises WantWrite: there is no room for it.

        What was begun is finished by the next call, so nothing else is sent in between.
        """
        # An abandoned thread may be inside a call; two at once would corrupt the session.
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._send_close_notify()
        except WantWrite:
            self.cross = 0
            raise
        except (OSError, ValueError):
            pass  # the peer sees an end without close_notify, as it must
        finally:
            self._lock.release()

    def close_notify(self) -> bool:
        """The same for a caller that cannot wait. False: it was not sent, or not all of it."""
        if not self._write_closed:
            with contextlib.suppress(WantWrite):
                self.close_notify_now()
        return self._close_notify_sent

    def _send_close_notify(self) -> None:
        if self._write_closed:
            return
        if self._retry is not None:  # OpenSSL would wait for ever for the rest of it
            self._close_write_side()
            raise ConnectionAbortedError("a record was begun and not finished: close_notify cannot follow it")
        try:
            self._session.close_notify()
        except WantWrite:
            raise
        except (OSError, ValueError):
            self._close_write_side()
            raise
        self._close_write_side()
        self._close_notify_sent = True

    def _close_write_side(self) -> None:
        self._write_closed = True
        self._write = _SIDE_ENDED
        if not getattr(self._session, "half_closes", False):
            self._pending = _no_bytes_pending
            self._read = _end_of_content if self._peer_closed else _READ_AFTER_SHUTDOWN

    def environ(self) -> dict[str, str]:
        """The variables of this session, by their names in mod_ssl. Raises OSError when our side of it has ended."""
        if self._write_closed or self._closed:
            raise OSError(errno.EBADF, "the TLS session has ended; its variables cannot be read any more")
        return self._environ(self._session)

    def detach(self) -> int:
        """Give the descriptor to the caller; nothing of TLS can be used any more."""
        self._closed = self._write_closed = True
        self._read = self._write = _DETACHED
        self._pending = _no_bytes_pending
        self._buffered = b""
        self._retry = None
        fd = _PLAIN.detach(self._socket)
        release = getattr(self._session, "release", None)
        if release is not None:
            release()
        return fd


class _Sink:
    """What an output needs of a socket, for one TLS connection. Without a descriptor files are read and sent as bytes.

    The connection owns it, and its owner calls it.
    """

    __slots__ = ("_transport", "send")

    def __init__(self, transport: TLSTransport) -> None:
        self.send = transport.send_now
        self._transport = transport

    def fileno(self) -> int:
        transport = self._transport
        # Nothing may be sent past the library while it has begun a record.
        return transport.fileno() if transport.kernel and transport._retry is None else -1


def _raising(error: OSError) -> Callable[..., NoReturn]:
    """A function that raises a new error like this one; the same one would collect tracebacks, and cycles with them."""
    kind, arguments = type(error), error.args

    def fail(*_: Any) -> NoReturn:
        raise kind(*arguments)

    return fail


_DETACHED = _raising(OSError(errno.EBADF, os.strerror(errno.EBADF)))
_SIDE_ENDED = _raising(BrokenPipeError(errno.EPIPE, "this side of the TLS session has ended"))
_READ_AFTER_SHUTDOWN = _raising(
    ConnectionAbortedError("the session was ended by shutdown(); this adapter cannot receive after that")
)


def _no_bytes_pending() -> int:
    return 0


def _end_of_content(size: int) -> bytes:
    return b""

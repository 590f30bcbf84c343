"""The engine's face of a connection under TLS: it never waits.

:class:`TLSTransport` is what :class:`~reserve.ssl.tlssocket.TLSSocket`, which applications get, derives from.
The methods that end in ``_now`` take no lock, because the owner of a connection is alone with it, and nothing stands
between them and the session: they are called for every record.
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
"""Octets of content in one TLS record (RFC 8446 section 5.1), and so in one write: what one retry has to repeat."""
_READ, _WRITE = 1, 4  # as the poller has them
_PLAIN = socket.socket


class TLSTransport:
    """Everything about one connection's TLS but what waits.

    :param session: the session, whose handshake may still have to come.
    :param environ: says what is to be known of the session.
    """

    def __init__(self, session: TLSSession, environ: Callable[[Any], dict[str, str]]) -> None:
        self._session = session
        self._environ = environ
        self._socket = session.socket
        # Replaced by what raises when the session can no longer be used: OpenSSL remembers the descriptor, which may
        # be another connection's by then, and takes what follows an error for the end of the content.
        self._read: Callable[[int], bytes] = session.read
        self._write: Callable[[bytes | memoryview], int] = session.write
        self._pending: Callable[[], int] = session.pending
        self._lock = threading.Lock()
        self._ahead = b""
        self._held: bytes | None = None
        self._closed = False
        self._ended = False
        self._close_notify_sent = False
        """Nothing more can be sent."""
        self._took_leave = False
        """Because close_notify has been."""
        self.cross = 0
        """READ or WRITE: what the last call that could not go on waits for, if it is not what its name says."""
        self.kernel = False
        """The kernel encrypts what is sent (kTLS), so that files may go out without passing through this process."""

    def handshake_now(self) -> None:
        """Go on with the handshake. Raises WantRead, WantWrite, TLSError, OSError."""
        self._session.handshake()
        if getattr(self._session, "has_descriptor", False) and ktls.sends(self._socket):
            self.kernel = True

    def recv_now(self, size: int) -> bytes:
        """Octets of content; empty at the peer's close_notify. Raises WantRead, WantWrite, TLSError, OSError.

        An error is raised again by every later call.
        """
        if self._ahead:
            return self._take_ahead(size)
        try:
            data = self._read(size)
        except WantRead:
            self.cross = 0
            raise
        except WantWrite:
            self.cross = _WRITE
            raise
        except OSError as error:
            self._read = _always(error)
            raise
        self.cross = 0
        if not data:
            self._ended = True
        return data

    def _take_ahead(self, size: int) -> bytes:
        data, self._ahead = self._ahead, b""
        if size > 1 and self._pending():
            try:
                data += self._read(size - 1)
            except OSError as error:
                self._read = _always(error)
        return data

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what there is room for, in records; what was begun is sent again unchanged before anything else.

        Raises WantRead or WantWrite when there is no room at all, TLSError, OSError.
        """
        if self._held is None and len(data) <= _RECORD:
            try:
                sent = self._write(data)
            except (WantRead, WantWrite) as want:
                self._hold(data, want)
                raise
            self.cross = 0
            return sent
        view = memoryview(data)
        sent = 0
        while sent < len(view):
            piece: bytes | memoryview = view[sent : sent + _RECORD]
            if self._held is not None:
                piece, begun = self._held, piece
                if begun[: len(piece)] != piece:
                    # OpenSSL would end the connection, too, but with an error that nobody understands.
                    raise ConnectionAbortedError("what is sent is not what the TLS session has begun to send")
            try:
                sent += self._write(piece)
            except (WantRead, WantWrite) as want:
                self._hold(piece, want)
                if sent:
                    return sent
                raise
            self._held = None
            self.cross = 0
        return sent

    def sink(self) -> Any:
        """What a connection's output is flushed into."""
        return _Sink(self)

    def _hold(self, piece: bytes | memoryview, want: BlockingIOError) -> None:
        # A copy: a view of somebody's buffer would keep it from growing, and may be of memory that is freed.
        self._held = bytes(piece)
        self.cross = _READ if isinstance(want, WantRead) else 0

    @property
    def resumed(self) -> bool:
        """The handshake went on with an earlier session."""
        return self._session.resumed()

    def pending(self) -> int:
        """Octets of content that are here already."""
        return len(self._ahead) + self._pending()

    def readable_now(self) -> bool:
        """Is there content, or the end of it, or an error? Half a record is none of these."""
        if self._ahead:
            return True
        try:
            self._ahead = self.recv_now(1)
        except (WantRead, WantWrite):
            return False
        except OSError:
            pass  # whoever reads next is told
        return True

    def fileno(self) -> int:
        return self._socket.fileno()

    def raw_recv(self, size: int, flags: int = 0) -> bytes:
        """Receive what TLS has not seen: to be counted and thrown away."""
        return _PLAIN.recv(self._socket, size, flags)

    def raw_shutdown(self, how: int) -> None:
        """Shut the connection down under TLS. Any thread. Raises OSError."""
        _PLAIN.shutdown(self._socket, how)

    def close_notify_now(self) -> None:
        """Say close_notify, once; nothing when it cannot be said any more. Raises WantWrite: there is no room for it.

        What was begun is finished by the next call, so nothing else is sent in between.
        """
        # An abandoned thread may be inside a call; two at once would corrupt the session.
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._close_notify_now()
        except WantWrite:
            self.cross = 0
            raise
        except (OSError, ValueError):
            pass  # the peer sees a cut, as it must
        finally:
            self._lock.release()

    def close_notify(self) -> bool:
        """The same for whoever cannot wait. False: it was not said, or not all of it."""
        with contextlib.suppress(WantWrite):
            self.close_notify_now()
        return self._took_leave

    def _close_notify_now(self) -> None:
        if self._close_notify_sent:
            return
        if self._held is not None:  # OpenSSL would wait for ever for the rest of it
            self._say_nothing_more()
            raise ConnectionAbortedError("a record was begun and not finished: the peer must see a cut")
        try:
            self._session.close_notify()
        except WantWrite:
            raise
        except (OSError, ValueError):
            self._say_nothing_more()
            raise
        self._say_nothing_more()
        self._took_leave = True

    def _say_nothing_more(self) -> None:
        self._close_notify_sent = True
        self._write = _always(BrokenPipeError(errno.EPIPE, "this side of the TLS session has ended"))
        if not getattr(self._session, "half_closes", False):
            self._pending = _nothing
            self._read = _end if self._ended else _always(_CUT_SHORT)

    def environ(self) -> dict[str, str]:
        """The variables of this session, by their names in mod_ssl. Raises OSError when our side of it has ended."""
        if self._close_notify_sent or self._closed:
            raise OSError(errno.EBADF, "the TLS session has ended, and can tell nothing more")
        return self._environ(self._session)

    def detach(self) -> int:
        """Give the descriptor away; nothing of TLS can be used any more."""
        self._closed = self._close_notify_sent = True
        self._read = self._write = _always(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        self._pending = _nothing
        self._ahead = b""
        fd = _PLAIN.detach(self._socket)
        release = getattr(self._session, "release", None)
        if release is not None:
            release()
        return fd


class _Sink:
    """Looks to an output as a socket. Without a descriptor: files are read here and sent as octets."""

    __slots__ = ("_secure", "send")

    def __init__(self, secure: TLSTransport) -> None:
        self.send = secure.send_now
        self._secure = secure

    def fileno(self) -> int:
        secure = self._secure
        # Nothing may go out behind the library's back while it has begun a record.
        return secure.fileno() if secure.kernel and secure._held is None else -1


_CUT_SHORT = ConnectionAbortedError("the session was ended by shutdown(); this adapter cannot receive after that")


def _always(error: OSError) -> Callable[..., NoReturn]:
    """Raise the like of this error at each call; the same one would collect tracebacks, and cycles through them."""
    kind, arguments = type(error), error.args

    def fail(*_: Any) -> NoReturn:
        raise kind(*arguments)

    return fail


def _nothing() -> int:
    return 0


def _end(size: int) -> bytes:
    return b""

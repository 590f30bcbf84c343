"""The socket that an application gets under TLS: whatever the adapter, it behaves as a ``socket.socket`` does.

Two faces. The methods named as a socket's are for applications: they wait as long as ``settimeout`` says, and may be
called by one thread that reads and another that writes. Those that end in ``_now`` are for the engine: they never wait
and take no lock, because the owner of a connection is alone with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from reserve.errors import WantRead, WantWrite
from reserve.readiness import wait_for
from reserve.ssl import ktls
from reserve.ssl.socketfile import open_file

if TYPE_CHECKING:
    from reserve.ssl.adapter import TLSSession

__all__ = ["SecureSocket"]

_RECORD = 16384
"""Octets of content in one TLS record (RFC 8446 section 5.1), and so in one write: what one retry has to repeat."""
_READ, _WRITE = 1, 4  # as the poller has them
_PLAIN = socket.socket


class SecureSocket:
    """Made by an adapter for one connection.

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
        self._timeout: float | None = 0.0
        self._lock = threading.Lock()
        self._ahead = b""
        self._held: bytes | None = None
        self._open_files = 0
        self._closed = False
        self._ended = False
        self._said_goodbye = False
        self.cross = 0
        """READ or WRITE: what the last call that could not go on waits for, if it is not what its name says."""
        self.kernel = False
        """The kernel encrypts what is sent (kTLS), so that files may go out without passing through this process."""

    def __repr__(self) -> str:
        return f"<reserve.ssl.SecureSocket fd={self.fileno()}>"

    # ---- for the engine: never waits ----

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

    def raw_recv(self, size: int, flags: int = 0) -> bytes:
        """Receive what TLS has not seen: to be counted and thrown away."""
        return _PLAIN.recv(self._socket, size, flags)

    def raw_shutdown(self, how: int) -> None:
        """Shut the connection down under TLS. Any thread. Raises OSError."""
        _PLAIN.shutdown(self._socket, how)

    def goodbye(self) -> bool:
        """Say close_notify, once. False: there is no room for it, or it cannot be said any more."""
        # An abandoned thread may be inside a call; two at once would corrupt the session.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._goodbye_now()
        except (OSError, ValueError):
            return False
        finally:
            self._lock.release()
        return True

    def _goodbye_now(self) -> None:
        if self._said_goodbye:
            return
        if self._held is not None:  # OpenSSL would wait for ever for the rest of it
            self._say_nothing_more()
            raise ConnectionAbortedError("a record was begun and not finished: the peer must see a cut")
        try:
            self._session.goodbye()
        except WantWrite:
            raise
        except (OSError, ValueError):
            self._say_nothing_more()
            raise
        self._say_nothing_more()

    def _say_nothing_more(self) -> None:
        self._said_goodbye = True
        self._write = _always(BrokenPipeError(errno.EPIPE, "this side of the TLS session has ended"))
        if not getattr(self._session, "half_closes", False):
            self._pending = _nothing
            self._read = _end if self._ended else _always(_CUT_SHORT)

    def environ(self) -> dict[str, str]:
        """The variables of this session, by their names in mod_ssl. Raises OSError when our side of it has ended."""
        if self._said_goodbye or self._closed:
            raise OSError(errno.EBADF, "the TLS session has ended, and can tell nothing more")
        return self._environ(self._session)

    def detach(self) -> int:
        """Give the descriptor away; nothing of TLS can be used any more."""
        self._closed = self._said_goodbye = True
        self._read = self._write = _always(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        self._pending = _nothing
        self._ahead = b""
        fd = _PLAIN.detach(self._socket)
        release = getattr(self._session, "release", None)
        if release is not None:
            release()
        return fd

    # ---- for applications: waits as long as settimeout() says ----

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

    def _take_ahead(self, size: int) -> bytes:
        data, self._ahead = self._ahead, b""
        if size > 1 and self._pending():
            try:
                data += self._read(size - 1)
            except OSError as error:
                self._read = _always(error)
        return data

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

    def fileno(self) -> int:
        return self._socket.fileno()

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
                self._until(self._goodbye_now, "sent")
        self.raw_shutdown(how)

    def close(self) -> None:
        """As ``socket.close``: when the last ``makefile`` is closed, too."""
        self._closed = True
        if self._open_files <= 0:
            self._close_now()

    def _close_now(self) -> None:
        if self.fileno() >= 0:
            self.goodbye()
            socket.close(self.detach())

    def __enter__(self) -> SecureSocket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """As ``socket.makefile``."""
        return open_file(self, mode, buffering, encoding=encoding, errors=errors, newline=newline)

    def file_opened(self) -> None:
        """A file keeps the socket open."""
        self._open_files += 1

    def file_closed(self) -> None:
        """The last one lets it close, if it was told to."""
        self._open_files -= 1
        if self._closed and self._open_files <= 0:
            self._close_now()


class _Sink:
    """Looks to an output as a socket. Without a descriptor: files are read here and sent as octets."""

    __slots__ = ("_secure", "send")

    def __init__(self, secure: SecureSocket) -> None:
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

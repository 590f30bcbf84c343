"""``BuiltinSession``: a session of the standard library's ``ssl`` over memory, so that it gets only received data.

OpenSSL does not touch the socket here. With the socket, it reads on for as long as records without content come, and
the standard library cannot make it stop: a client that sends nothing but key updates (RFC 8446 section 4.6.3) would
hold the thread that has the lead. So the session receives for OpenSSL, at most one record at a turn, and ends the
connection of a client that keeps sending records without content. What OpenSSL wants to send is kept until it has been
sent, before anything else.

OpenSSL gets complete records only. For a part of one it would take 37 KiB (a buffer for the largest record, and the
memory that it was received into), however little of it has come; so the session keeps the part, and :attr:`held` says
how much that is.

OpenSSL begins when the ClientHello is complete, because that selects the certificate.

Called by the owner of the connection; never waits.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl.clienthello import ClientHello, HelloReader, HelloRefused, alert, read_hello

__all__ = ["BuiltinSession", "translate_error", "write_close_notify"]

_RECEIVE_SIZE = 17408
"""Bytes received at a turn: the largest record with its overhead (RFC 8446 section 5.2), and a little more."""
_RECORD = 16384
"""Bytes of content in one record."""
_RECORD_HEADER = 5
_MAX_FRAGMENT = _RECORD + 2048
"""Bytes after the header of a record (RFC 5246 section 6.2.3). OpenSSL refuses a longer one when it has the header."""
_RECEIVES_PER_READ = 2
"""How often one read receives when what has come has no content: the rest of a record, or the end, may follow."""
_RECEIVES_PER_HANDSHAKE = 8
"""How often one call of :meth:`BuiltinSession.handshake` receives before other connections have their turn."""
_MAX_EMPTY = 65536
"""Bytes of records without content that a client may send in a row. A key update has 27, and takes 10 us."""
_MAX_OUTGOING = 65536
"""Bytes that may wait to be sent while the client causes more of them: the response to a key update has 27."""

_UNEXPECTED_EOF = "UNEXPECTED_EOF_WHILE_READING"
"""OpenSSL 3's reason for an end without close_notify. CPython raises SSLEOFError then; 3.11.2 raises plain SSLError."""


class _BeforeHello:
    """Takes the place of the library's object until the ClientHello is complete."""

    def _fail(self, *_: Any) -> NoReturn:
        raise TLSError("the TLS handshake is not done")

    do_handshake = read = write = _fail


class _Released:
    """Takes the place of the library's object when the connection is closed."""

    def _fail(self, *_: Any) -> NoReturn:
        raise TLSError("the TLS session has ended")

    do_handshake = read = write = unwrap = _fail


_NOTHING = ssl.MemoryBIO()
"""In the place of the memory of sessions that are released. Nothing is written into it."""
_BEFORE_HELLO, _RELEASED = _BeforeHello(), _Released()


class BuiltinSession:
    """One connection's session. See :class:`~reserve.ssl.session.TLSSession` for what each method guarantees.

    :param select_context: gives the context for this client's ClientHello; may raise HelloRefused.
    :param sock: connected; the session owns it from now on.
    """

    __slots__ = (
        "_before_hello", "_buffered", "_empty_bytes", "_end_returned", "_error", "_handshake_done", "_hello_reader",
        "_incoming", "_interrupted", "_outgoing", "_part", "_peer_closed", "_read", "_receive",
        "_select_context", "_send", "_unsent", "details", "library", "server_name", "socket",
    )  # fmt: skip

    half_closes = True

    def __init__(self, select_context: Callable[[ClientHello], ssl.SSLContext], sock: socket.socket) -> None:
        if sock.gettimeout() != 0:  # the accept thread has made it non-blocking, with a system call
            sock.setblocking(False)
        self.socket = sock
        self.server_name: str | None = None
        """The host that the client has asked for."""
        self._receive = sock.recv
        self._send = sock.send
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._select_context = select_context
        self._before_hello = True
        """OpenSSL does not have the ClientHello, and there is no object of the library."""
        self._hello_reader: HelloReader | None = None
        """Collects a ClientHello that has not come at once."""
        self._handshake_done = False
        self.details: Any = _BEFORE_HELLO
        self.library: Any = _BEFORE_HELLO
        """What :attr:`details` calls for everything, without a call in between (:func:`_library_of`). It has the same
        values for the variables of the session.
        """
        self._read: Callable[[int], bytes] = _BEFORE_HELLO.read
        self._part = b""
        """The first bytes of a record that is not complete, or of the connection; OpenSSL does not have them."""
        self._buffered = b""
        """Content that was decrypted, but not read."""
        self._error: OSError | None = None
        """Came after the buffered content, and is raised when that has been read."""
        self._peer_closed = False
        """The peer's close_notify has come."""
        self._end_returned = False
        """:meth:`read` has returned the end."""
        self._empty_bytes = 0
        """Bytes that have come since the last content."""
        self._unsent: memoryview | None = None
        """What OpenSSL has written and the socket has not taken."""
        self._interrupted = 0
        """Bytes of content of a write that raised WantWrite, also when they were sent since: it is called again."""

    def take_received(self, data: bytes) -> None:
        """Before the first :meth:`handshake`: the first bytes of the connection, which were received already."""
        self._part = data

    def handshake(self) -> None:
        if not self._handshake_done:
            if self._unsent is not None:
                self._flush()
            self._do_handshake()
            self._handshake_done = True
        try:
            self._flush()
        except WantWrite:
            raise
        except OSError:
            pass  # tickets, which the client did not wait for; what it has sent is still valid
        if self._incoming.pending:
            self._buffered = self._decrypt()

    def _do_handshake(self) -> None:
        """Receive, and continue with what has come, which OpenSSL always uses up."""
        if self.library is _BEFORE_HELLO and not self._before_hello:
            self.library.do_handshake()  # the client was refused: it raises
        for _ in range(_RECEIVES_PER_HANDSHAKE):
            if not self._before_hello:
                self._feed()
            elif not self._feed_hello():
                continue
            try:
                self.library.do_handshake()
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    self._flush()
                    break  # the client's reply to that cannot be here yet
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert
                raise translate_error(error) from None
            else:
                return
        raise WantRead

    def _feed_hello(self) -> bool:
        """Receive the ClientHello. True: it is complete, and OpenSSL has got it in the context for this client."""
        reader = self._hello_reader
        data, self._part = self._part, b""
        if not data:
            data = self._received()
        received: bytes | bytearray = data
        try:
            hello = read_hello(data) if reader is None else None
            if hello is None:
                if reader is None:
                    reader = self._hello_reader = HelloReader()
                hello = reader.feed(data) if data else ClientHello()
                if hello is None:
                    return False
                received = reader.received
            details = self._select_context(hello).wrap_bio(self._incoming, self._outgoing, server_side=True)
        except HelloRefused as error:
            self._before_hello = False
            self._hello_reader = None
            self._unsent = memoryview(alert(error.number))
            with contextlib.suppress(OSError):
                self._flush()
            raise
        self.details = details
        self.library = library = _library_of(details)
        self._read = library.read
        self.server_name = hello.server_name
        self._before_hello = False
        self._hello_reader = None
        del self._select_context
        self._feed_records(received)
        if not data:
            self._incoming.write(self._part)
            self._part = b""
            self._incoming.write_eof()
        return True

    def read(self, size: int) -> bytes:
        data = self._buffered
        if not data:
            if self._peer_closed:
                self._end_returned = True
                return b""
            if self._error is not None:
                self._raise()
            data = self._receive_content()
            self._end_returned = self._peer_closed and not data
        if len(data) > size:
            self._buffered = data[size:]
            return data[:size]
        self._buffered = b""
        return data

    def _raise(self) -> NoReturn:
        error, self._error = self._error, None
        assert error is not None
        try:
            raise error
        finally:
            del error  # with its traceback it would refer to itself

    def _receive_content(self) -> bytes:
        if self._outgoing.pending > _MAX_OUTGOING:
            raise TLSError(f"the client reads nothing, and more than {_MAX_OUTGOING} bytes wait to be sent to it")
        for _ in range(_RECEIVES_PER_READ):
            self._empty_bytes += self._feed()
            data = self._decrypt()
            if data:
                return data
            if self._error is not None:
                self._raise()
            if self._peer_closed:
                return b""
            if self._empty_bytes > _MAX_EMPTY:
                raise TLSError(f"more than {_MAX_EMPTY} bytes of records without content")
        raise WantRead

    @property
    def held(self) -> int:
        """Bytes that the session keeps: of the client's input a part of a record or of the ClientHello, and content
        that was not read; of the output what the socket has not taken.
        """
        held = len(self._part) + len(self._buffered)
        if self._hello_reader is not None:
            held += len(self._hello_reader.received)
        if self._unsent is not None:
            held += len(self._unsent.obj)  # type: ignore[arg-type]  # it is bytes
        return held

    def _feed(self) -> int:
        """Receive for OpenSSL, which waits for it, also for the end of the connection. Returns the number of bytes."""
        if self._part:
            data = self._received()
        else:  # as there, without a call, for each record that comes at once
            try:
                data = self._receive(_RECEIVE_SIZE)
            except (BlockingIOError, InterruptedError):
                raise WantRead from None
        if data:
            self._feed_records(data)
        else:
            if self._part:
                self._incoming.write(self._part)
                self._part = b""
            self._incoming.write_eof()
        return len(data)

    def _feed_records(self, data: bytes | bytearray) -> None:
        """Give OpenSSL the complete records in what was received, and keep the part after them."""
        if self._part:
            data = self._part + data
        size = len(data)
        if size >= _RECORD_HEADER and size == _RECORD_HEADER + (data[3] << 8 | data[4]):  # one record, as a rule
            self._incoming.write(data)
            self._part = b""
            return
        start = 0
        while size - start >= _RECORD_HEADER:
            fragment = data[start + 3] << 8 | data[start + 4]
            # Too long, or another version than 3.x: OpenSSL ends the session at once, as it must.
            if fragment > _MAX_FRAGMENT or data[start + 1] != 3:
                start = size
                break
            end = start + _RECORD_HEADER + fragment
            if end > size:
                break
            start = end
        if start == size:
            self._incoming.write(data)
            self._part = b""
        else:
            if start:
                self._incoming.write(data[:start])
            self._part = bytes(data[start:])

    def _received(self) -> bytes:
        part = self._part
        size = _RECEIVE_SIZE
        if len(part) >= _RECORD_HEADER:  # the rest of this record only: what follows it would be kept as well
            size = _RECORD_HEADER + (part[3] << 8 | part[4]) - len(part)
        try:
            return self._receive(size)
        except (BlockingIOError, InterruptedError):
            raise WantRead from None

    def _decrypt(self) -> bytes:
        """All content of the records that have come. What is left of them is less than a record."""
        pieces: list[bytes] = []
        try:
            while piece := self._read(_RECORD):
                pieces.append(piece)
                if not self._incoming.pending:
                    break
            else:
                self._peer_closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # the end, as the standard library reports it after our own close_notify
            self._peer_closed = True
        except ssl.SSLError as error:
            self._error = translate_error(error)
        if self._outgoing.pending:
            # An alert, or the response to a key update: what cannot be sent now goes before the next content.
            with contextlib.suppress(OSError):
                self._flush()
        if pieces:
            self._empty_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes | memoryview) -> int:
        if self._unsent is not None:
            self._flush()
        written = self._interrupted
        if not written:
            try:
                written = self.library.write(data)
            except ssl.SSLError as error:
                raise translate_error(error) from None
            try:
                self._flush()
            except WantWrite:
                self._interrupted = written
                raise
        self._interrupted = 0
        return written

    def _flush(self) -> None:
        """Send what OpenSSL has written. Raises WantWrite when there is no room for all of it, OSError."""
        if self._unsent is None:
            if not self._outgoing.pending:
                return
            data = self._outgoing.read()
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._interrupted = 0
                raise
            if sent == len(data):
                return
            self._unsent = memoryview(data)[sent:]
        while self._unsent is not None or self._outgoing.pending:
            unsent = memoryview(self._outgoing.read()) if self._unsent is None else self._unsent
            try:
                while unsent:
                    unsent = unsent[self._send(unsent) :]
            except (BlockingIOError, InterruptedError):
                self._unsent = unsent
                raise WantWrite from None
            except OSError:
                self._unsent = None
                self._interrupted = 0
                raise
            self._unsent = None

    def pending(self) -> int:
        # An end, or an error, that came with the last content: perhaps no event of the socket will report it.
        has_more = self._error is not None or (self._peer_closed and not self._end_returned)
        return len(self._buffered) + has_more

    def close_notify(self) -> None:
        if not self._handshake_done:
            raise ConnectionAbortedError("there is no TLS session that could end")
        if self._unsent is not None:
            self._flush()
        write_close_notify(self.library)
        self._flush()

    def resumed(self) -> bool:
        return bool(self.library.session_reused)

    def release(self) -> None:
        """The connection is closed: free what the session holds, although a timer may still refer to it for a while."""
        self.details = self.library = _RELEASED
        self._read = _RELEASED.read
        self._incoming = self._outgoing = _NOTHING
        self._part = self._buffered = b""
        self._hello_reader = self._unsent = None


def _library_of(details: ssl.SSLObject) -> Any:
    """What an object of the standard library calls for each of its methods: the same methods, with one call less.

    It is private, so that the object itself takes its place when there is none. Only ``shutdown`` has another name.
    """
    library = getattr(details, "_sslobj", None)
    return details if library is None else library


def write_close_notify(details: Any) -> None:
    """Write the close_notify of a session, without waiting for the peer's. Raises OSError.

    :param details: an ``ssl.SSLObject``, an ``ssl.SSLSocket``, or what :func:`_library_of` gives for one.
    """
    try:
        (details.unwrap if hasattr(details, "unwrap") else details.shutdown)()
    except ssl.SSLWantReadError:
        pass  # it is written
    except ssl.SSLError as error:
        raise translate_error(error) from None


def translate_error(error: ssl.SSLError) -> OSError:
    """The error of reserve's for one of the standard library's TLS, whichever release of CPython has raised it.

    :param error: raised by the library itself, or by another adapter's socket.
    """
    if isinstance(error, ssl.SSLWantReadError):
        return WantRead()
    if isinstance(error, ssl.SSLWantWriteError):
        return WantWrite()
    reason = getattr(error, "reason", None)  # only the library's own errors have one
    if isinstance(error, ssl.SSLEOFError) or reason == _UNEXPECTED_EOF:
        return ConnectionAbortedError("the connection ended without the close_notify of TLS")
    return TLSError(str(reason or error.strerror or error).lower().replace("_", " "))

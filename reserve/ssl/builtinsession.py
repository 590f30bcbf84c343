"""A session of the standard library's ``ssl`` over memory: it sees only what we have received for it.

OpenSSL does not touch the socket here. Given the socket it reads on for as long as records without content come, and
the standard library cannot tell it to stop: a client that sends nothing but key updates (RFC 8446 section 4.6.3) would
hold the thread that leads. So octets are received by us, at most one record's worth at a turn, and a client that goes
on sending what has no content is cut off. What OpenSSL wants to send is kept until it has left, before anything else.

It begins when the ClientHello is here, because that says which certificate is wanted.

Used by the owner of the connection; never waits.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

from reserve.errors import TLSError, WantRead, WantWrite
from reserve.ssl.clienthello import ClientHello, HelloReader, HelloRefused, alert

__all__ = ["BuiltinSession", "translated"]

_FEED = 17408
"""Octets received at a turn: the largest record with what belongs to it (RFC 8446 section 5.2), and a little more."""
_RECORD = 16384
"""Octets of content in one record."""
_LOOKS = 2
"""Times that one read receives when what has come has no content: the rest of a record, or the end, may be there."""
_TURNS = 8
"""Times that a handshake goes on with what it has received before others have their turn."""
_EMPTY = 65536
"""Octets of records without content that a client may send in a row. A key update has 27: it takes 10 us."""
_ANSWERS = 65536
"""Octets that may wait for a client to take them while it goes on asking for more: a key update is answered with 27."""


class _NotBegun:
    """Stands for the library's object until the ClientHello is here."""

    def _fail(self, *_: Any) -> NoReturn:
        raise TLSError("the TLS handshake is not done")

    do_handshake = read = write = _fail


class BuiltinSession:
    """See :class:`~reserve.ssl.session.TLSSession` for what each method promises.

    :param choose: which context is for this client; may raise HelloRefused.
    :param sock: connected; the session owns it from now on.
    """

    __slots__ = (
        "_agreed", "_ahead", "_begun", "_choose", "_empty", "_ended", "_failure", "_hello", "_incoming", "_outgoing",
        "_read", "_receive", "_send", "_told", "_unsent", "details", "server_name", "socket",
    )  # fmt: skip

    half_closes = True

    def __init__(self, choose: Callable[[ClientHello], ssl.SSLContext], sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.server_name: str | None = None
        """The host that the client has asked for."""
        self._receive = sock.recv
        self._send = sock.send
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._choose = choose
        self._hello: HelloReader | None = HelloReader()
        """None: OpenSSL has the ClientHello."""
        self._agreed = False
        self.details: Any = _NotBegun()
        self._read: Callable[[int], bytes] = self.details.read
        self._ahead = b""
        self._failure: OSError | None = None
        """Came behind the content that is ahead, and is raised when that has been read."""
        self._ended = self._told = False
        self._empty = 0
        """Octets that have come since the last content."""
        self._unsent: memoryview | None = None
        self._begun = 0
        """Octets of content whose write was broken off, also when they have left meanwhile: it comes again."""

    def handshake(self) -> None:
        if not self._agreed:
            self._flush()
            self._agree()
            self._agreed = True
        try:
            self._flush()
        except WantWrite:
            raise
        except OSError:
            pass  # tickets, which the client did not wait for; what it has sent still counts
        if self._incoming.pending:
            self._ahead = self._decrypt()

    def _agree(self) -> None:
        """Receive, and go on with what has come, which OpenSSL always uses up."""
        if self._hello is None and isinstance(self.details, _NotBegun):
            self.details.do_handshake()  # the client was refused
        for _ in range(_TURNS):
            if self._hello is None:
                self._feed()
            else:
                self._feed_hello(self._hello)
            if self._hello is None:
                try:
                    self.details.do_handshake()
                except ssl.SSLWantReadError:
                    if self._outgoing.pending:
                        self._flush()
                        break  # what the client says to that cannot be here yet
                except ssl.SSLError as error:
                    with contextlib.suppress(OSError):
                        self._flush()  # the alert
                    raise translated(error) from None
                else:
                    return
        raise WantRead

    def _feed_hello(self, reader: HelloReader) -> None:
        """Receive the ClientHello; when it is here, OpenSSL gets it in the context that is for this client."""
        data = self._received()
        try:
            hello = reader.feed(data) if data else ClientHello()
            if hello is None:
                return
            self.details = self._choose(hello).wrap_bio(self._incoming, self._outgoing, server_side=True)
        except HelloRefused as error:
            self._hello = None
            self._unsent = memoryview(alert(error.number))
            with contextlib.suppress(OSError):
                self._flush()
            raise
        self.server_name = hello.server_name
        self._read = self.details.read
        self._hello = None
        del self._choose
        self._incoming.write(reader.octets)
        if not data:
            self._incoming.write_eof()

    def read(self, size: int) -> bytes:
        data = self._ahead
        if not data:
            if self._ended:
                self._told = True
                return b""
            if self._failure is not None:
                self._raise()
            data = self._receive_content()
            self._told = self._ended and not data
        if len(data) > size:
            self._ahead = data[size:]
            return data[:size]
        self._ahead = b""
        return data

    def _raise(self) -> NoReturn:
        failure, self._failure = self._failure, None
        assert failure is not None
        try:
            raise failure
        finally:
            del failure  # with its traceback it would refer to itself

    def _receive_content(self) -> bytes:
        if self._outgoing.pending > _ANSWERS:
            raise TLSError(f"the client takes nothing, and more than {_ANSWERS} octets of answers wait for it")
        for _ in range(_LOOKS):
            self._empty += self._feed()
            data = self._decrypt()
            if data:
                return data
            if self._failure is not None:
                self._raise()
            if self._ended:
                return b""
            if self._empty > _EMPTY:
                raise TLSError(f"more than {_EMPTY} octets of records without content")
        raise WantRead

    def _feed(self) -> int:
        """Receive for OpenSSL, which waits for it; at the end of the connection tell it so."""
        data = self._received()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return len(data)

    def _received(self) -> bytes:
        try:
            return self._receive(_FEED)
        except (BlockingIOError, InterruptedError):
            raise WantRead from None

    def _decrypt(self) -> bytes:
        """All content of the records that are here. What is left of them is less than a record."""
        pieces: list[bytes] = []
        try:
            while piece := self._read(_RECORD):
                pieces.append(piece)
                if not self._incoming.pending:
                    break
            else:
                self._ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # how the standard library tells of the end when our side has ended before
            self._ended = True
        except ssl.SSLError as error:
            self._failure = translated(error)
        if self._outgoing.pending:
            # An alert, or the answer to a key update: what does not leave now goes before the next content.
            with contextlib.suppress(OSError):
                self._flush()
        if pieces:
            self._empty = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes | memoryview) -> int:
        if self._unsent is not None:
            self._flush()
        begun = self._begun
        if not begun:
            try:
                begun = self.details.write(data)
            except ssl.SSLError as error:
                raise translated(error) from None
            try:
                self._flush()
            except WantWrite:
                self._begun = begun
                raise
        self._begun = 0
        return begun

    def _flush(self) -> None:
        """Send what OpenSSL has written. Raises WantWrite when there is no room for all of it, OSError."""
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
                self._begun = 0
                raise
            self._unsent = None

    def pending(self) -> int:
        # An end, or an error, that came with the last content: nothing more may come from the socket to tell of it.
        untold = self._failure is not None or (self._ended and not self._told)
        return len(self._ahead) + untold

    def close_notify(self) -> None:
        if not self._agreed:
            raise ConnectionAbortedError("there is no TLS session that could end")
        if self._unsent is not None:
            self._flush()
        try:
            self.details.unwrap()
        except ssl.SSLWantReadError:
            pass  # it has been said; the peer's is not waited for
        except ssl.SSLError as error:
            raise translated(error) from None
        self._flush()

    def resumed(self) -> bool:
        return bool(self.details.session_reused)


def translated(error: ssl.SSLError) -> OSError:
    """What an error of the standard library's TLS is called here."""
    if isinstance(error, ssl.SSLWantReadError):
        return WantRead()
    if isinstance(error, ssl.SSLWantWriteError):
        return WantWrite()
    if isinstance(error, ssl.SSLEOFError):
        return ConnectionAbortedError("the connection ended without the close_notify of TLS")
    return TLSError(str(error.reason or error.strerror or error).lower().replace("_", " "))

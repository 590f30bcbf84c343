"""One connection between an adapter's socket and a client whose octets the check carries, one by one if it wants to.

The client is the standard library's, in memory; only the server's side has a real socket. Nothing here waits, except
for a thread of the check.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from reserve.errors import WantRead, WantWrite

if TYPE_CHECKING:
    from reserve.ssl.adapter import SSLAdapter
    from reserve.ssl.tlssocket import TLSSocket

__all__ = ["Link", "LinkError"]

_PIECE = 65536


class LinkError(AssertionError):
    """The adapter did what it must not."""


class Link:
    """A client, and the server's socket of it.

    :param client: the client's context; None: the adapter does not encrypt, and the client neither.
    :param session: of an earlier client, to go on with.
    """

    def __init__(
        self, adapter: SSLAdapter, client: ssl.SSLContext | None, session: ssl.SSLSession | None = None
    ) -> None:
        self.wire, server = socket.socketpair()
        """The client's end, non-blocking."""
        self.wire.setblocking(False)
        server.setblocking(False)
        try:
            self.secure: TLSSocket = adapter.secure(server)
        except BaseException:
            self.wire.close()
            server.close()
            raise
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: Any = None
        """The client's ``ssl.SSLObject``."""
        if client is not None:
            self.tls = client.wrap_bio(self._incoming, self._outgoing, session=session)

    def close(self) -> None:
        self.secure.close()
        self.wire.close()

    # ---- the client ----

    def speak(self) -> bytes:
        """Let the client go on with its handshake; the octets that it wants to send."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
        return self._outgoing.read()

    def listen(self) -> int:
        """Give the client what has come over the wire; how many octets that was."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while data := self.wire.recv(_PIECE):
                self._incoming.write(data)
                count += len(data)
        return count

    def encrypt(self, data: bytes) -> bytes:
        """What the client sends for this content."""
        if self.tls is None:
            return data
        self.tls.write(data)
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        """Send content; it has to fit into the buffers of the socket."""
        self.wire.sendall(self.encrypt(data))

    def receive(self) -> bytes:
        """The content that has come; an end is not told apart. Raises LinkError at what is no TLS."""
        self.listen()
        if self.tls is None:
            return self._incoming.read()
        found = []
        try:
            while data := self.tls.read(_PIECE):
                found.append(data)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        except ssl.SSLError as error:
            raise LinkError(f"the client cannot read what the session has sent: {error}") from None
        return b"".join(found)

    def ended(self) -> bool:
        """Say whether the server has said close_notify; the content before it has been taken."""
        self.listen()
        try:
            return not self.tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLWantReadError:
            return False

    def close_notify(self) -> bytes:
        """The octets of the client's close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self.tls.unwrap()
        return self._outgoing.read()

    # ---- the server ----

    def step(self) -> str:
        """Let the server go on with its handshake: "done", "read" or "write" for what it waits for."""
        try:
            self.secure.handshake_now()
        except WantRead:
            return "read"
        except WantWrite:
            return "write"
        return "done"

    def shake(self) -> Link:
        """Shake hands."""
        state = self.step()
        for _ in range(20):
            self.wire.sendall(self.speak())
            state = self.step()
            self.listen()
            if state == "done":
                self.wire.sendall(self.speak())
                return self
        raise LinkError(f"the handshake comes to no end; the session waits to {state}")

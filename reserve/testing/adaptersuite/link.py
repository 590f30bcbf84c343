"""``Link``: one connection between an adapter's socket and a client in memory, whose bytes the check sends itself.

The client is the standard library's; only the server's side has a real socket. Nothing here waits, except for a thread
of the check.
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
    """The adapter has done what it must not do."""


class Link:
    """A client, and the server's socket for it. The check owns it and calls it from its own threads.

    :param client: the client's context; None: the adapter does not encrypt, and neither does the client.
    :param session: a session of an earlier client, to resume.
    :param name: the server name that the client sends, by default none. A context that checks it needs one.
    """

    def __init__(
        self,
        adapter: SSLAdapter,
        client: ssl.SSLContext | None,
        session: ssl.SSLSession | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.wire, server = socket.socketpair()
        """The client's socket, non-blocking."""
        self.wire.setblocking(False)
        server.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: Any = None
        """The client's ``ssl.SSLObject``."""
        try:
            if client is not None:
                self.tls = client.wrap_bio(self._incoming, self._outgoing, server_hostname=name, session=session)
            self.tls_socket: TLSSocket = adapter.secure(server)
            """The server's socket."""
        except BaseException:
            self.wire.close()
            server.close()
            raise

    def close(self) -> None:
        self.tls_socket.close()
        self.wire.close()

    # ---- the client ----

    def client_flight(self) -> bytes:
        """Let the client go on with its handshake; the bytes that it wants to send."""
        if self.tls is not None:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
        return self._outgoing.read()

    def feed_client(self) -> int:
        """Give the client what the server has sent; the number of bytes."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while data := self.wire.recv(_PIECE):
                self._incoming.write(data)
                count += len(data)
        return count

    def encrypt(self, data: bytes) -> bytes:
        """The bytes that the client sends for this content."""
        if self.tls is None:
            return data
        self.tls.write(data)
        return self._outgoing.read()

    def send(self, data: bytes) -> None:
        """Send content; it has to fit into the buffers of the socket."""
        self.wire.sendall(self.encrypt(data))

    def receive(self) -> bytes:
        """The content that has come, with or without an end. Raises LinkError for bytes that are not TLS."""
        self.feed_client()
        if self.tls is None:
            return self._incoming.read()
        pieces = []
        try:
            while data := self.tls.read(_PIECE):
                pieces.append(data)
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        except ssl.SSLError as error:
            raise LinkError(f"the client cannot read what the session has sent: {error}") from None
        return b"".join(pieces)

    def close_notify_came(self) -> bool:
        """Say whether the server's close_notify has come; the content before it must have been received."""
        self.feed_client()
        try:
            return not self.tls.read(1)
        except ssl.SSLZeroReturnError:
            return True
        except ssl.SSLWantReadError:
            return False

    def close_notify(self) -> bytes:
        """The bytes of the client's close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            self.tls.unwrap()
        return self._outgoing.read()

    # ---- the server ----

    def server_step(self) -> str:
        """Let the server go on with its handshake: "done", "read" or "write" for what it waits for."""
        try:
            self.tls_socket.handshake_now()
        except WantRead:
            return "read"
        except WantWrite:
            return "write"
        return "done"

    def handshake(self) -> Link:
        """Do the whole handshake."""
        state = self.server_step()
        for _ in range(20):
            self.wire.sendall(self.client_flight())
            state = self.server_step()
            self.feed_client()
            if state == "done":
                self.wire.sendall(self.client_flight())
                return self
        raise LinkError(f"the handshake does not end; the session waits to {state}")

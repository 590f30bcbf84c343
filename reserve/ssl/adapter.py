"""``SSLAdapter``, the base of all adapters: what the engine needs to serve TLS without ever blocking on it.

An *adapter* belongs to a server: it has the certificates and makes one *session* for each connection. A session never
blocks: what it cannot do at once raises WantRead or WantWrite, and the engine parks the connection until the socket is
readable or writable, under the deadline of the handshake, the request body or the response.

To write an adapter, derive from :class:`SSLAdapter`, implement :meth:`SSLAdapter.session`, and let it pass the suite
``reserve.testing.check_adapter``. The engine calls the sessions of one connection from one thread at a time, mostly
from the thread that has the lead, so a session does not use the disk and takes no lock that another thread holds for
long. Several threads call the adapter itself.

Imports nothing of OpenSSL: a Python without ``ssl`` can serve everything that is not TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, ClassVar

from reserve.ssl.session import TLSSession
from reserve.ssl.tlssocket import TLSSocket

__all__ = ["SSLAdapter"]


class SSLAdapter:
    """Makes the TLS sessions of one server; the server owns it. Any thread may call it, several at once."""

    blocking: ClassVar[bool] = False
    """:meth:`session` does the handshake itself, and blocks: it runs on a worker, and the server logs that at start."""
    takes_received: ClassVar[bool] = False
    """The sessions have a method ``take_received(data)``, called before the first :meth:`TLSSession.handshake` with the
    first bytes of the connection. The engine then receives them, to see whether they are TLS; otherwise it only peeks
    at them, which is a system call more for each connection.
    """

    def prepare(self, protocols: Sequence[str]) -> None:
        """Called once before the server accepts: the last moment to find that a certificate cannot be used.

        :param protocols: those of the application, for ALPN (RFC 7301); an adapter with protocols of its own ignores
            them.

        Raises StartupError.
        """

    def session(self, sock: socket.socket) -> TLSSession:
        """Begin a session over a connected, non-blocking socket, which the session owns from now on. No I/O.

        Raises OSError. The connection ends then; the engine owns the socket again and closes it, unless it is closed
        already. The adapter closes it only through its own methods, or those of a socket that it was detached for,
        never by its number: another connection may have the number by then, and would be closed.
        An adapter that is ``blocking`` does the handshake, within the timeout that the socket has at the call.
        """
        raise NotImplementedError

    def environ(self, session: Any) -> dict[str, str]:
        """The variables of mod_ssl that applications get, for a session whose handshake is done."""
        return {"HTTPS": "on"}

    def changed(self) -> bool:
        """Say whether the files of the certificates differ from those that were loaded. Looks at the disk."""
        return False

    def reload(self) -> None:
        """Load the files again, for new connections. Raises StartupError, and keeps the certificates that it has."""

    def secure(self, sock: socket.socket, received: bytes = b"") -> TLSSocket:
        """Begin a session and make the socket that applications get.

        :param received: the first bytes of the connection, if :attr:`takes_received`; empty: none were received.
        """
        session = self.session(sock)
        if received:
            session.take_received(received)  # type: ignore[attr-defined]  # as takes_received says
        return TLSSocket(session, self.environ)

"""What an adapter provides so that the engine can drive TLS without ever blocking on it.

An *adapter* belongs to a server: it has the certificates and makes one *session* for each connection. A session never
blocks: whatever it cannot do at once raises WantRead or WantWrite, and the engine parks the connection until the
socket is readable or writable, under the handshake's, the body's or the answer's own deadline.

To write one: derive from :class:`SSLAdapter`, give it :meth:`SSLAdapter.session`, and let it pass the suite
``reserve.testing.check_adapter``. The engine calls the sessions of one connection from one thread at a time, mostly
from whoever leads, so a session touches no disk and takes no lock that anybody holds for long. The adapter itself is
called from several threads.

Imports nothing of OpenSSL: a Python without ``ssl`` can serve all that is not TLS.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, ClassVar

from reserve.ssl.session import TLSSession
from reserve.ssl.tlssocket import TLSSocket

__all__ = ["SSLAdapter"]


class SSLAdapter:
    """The base of all adapters."""

    blocking: ClassVar[bool] = False
    """:meth:`session` shakes hands itself, and blocks: it runs on a worker, and the server says so at its start."""

    def prepare(self, protocols: Sequence[str]) -> None:
        """Once, before the server accepts: the last moment to find that a certificate cannot be used.

        :param protocols: what the application speaks, for ALPN (RFC 7301); an adapter that was told others ignores it.

        Raises StartupError.
        """

    def session(self, sock: socket.socket) -> TLSSession:
        """Begin a session over a connected, non-blocking socket, which is the session's from now on. No I/O.

        Raises OSError. The connection ends then; the socket is the engine's again, which closes it unless that has
        happened. It is closed only by its own methods, or by those of a socket that it was detached for, never by
        its number: the number may be another connection's by then, and would be closed twice. An adapter that is
        ``blocking`` shakes hands, within the timeout that the socket has then.
        """
        raise NotImplementedError

    def environ(self, session: Any) -> dict[str, str]:
        """What an application should know of a session whose handshake is done: the variables of mod_ssl."""
        return {"HTTPS": "on"}

    def changed(self) -> bool:
        """Say whether the files of the certificates are not the ones that were loaded. Looks at the disk."""
        return False

    def reload(self) -> None:
        """Load the files again, for the connections to come. Raises StartupError, and keeps what it has."""

    def secure(self, sock: socket.socket) -> TLSSocket:
        """Begin a session and make the socket that applications see."""
        session = self.session(sock)
        return TLSSocket(session, self.environ)

"""What a TLS session is to the rest of reserve: the protocol that every adapter's sessions have.

A session never blocks: what it cannot do at once raises WantRead or WantWrite, and the engine parks the connection
until its socket is readable or writable. Imports nothing of OpenSSL.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

__all__ = ["TLSSession"]


class TLSSession(Protocol):
    """The server's side of TLS over one connected socket, which it owns.

    An adapter makes it for one connection. One thread at a time calls its methods: the thread that owns the connection.
    Nothing of it is called after the socket was closed; what it holds besides the socket it gives back in a method
    ``release()``, if it has one.

    A session that hands the socket's descriptor to its library, so that the kernel may encrypt in its place, has an
    attribute ``has_descriptor`` that is true. :meth:`read` takes all content that was received for it, up to ``size``:
    what it leaves is counted by :meth:`pending`.

    A session that keeps input or output in memory has an attribute ``held``, the number of these bytes, which the
    server counts into its budget.

    Every method that talks to the peer may raise WantRead, WantWrite, TLSError (the peer broke the rules) or another
    OSError (the connection failed).
    """

    socket: socket.socket
    """Where the bytes go: non-blocking. Its own ``recv`` and ``send`` may be TLS's; the engine does not use them."""

    details: Any
    """What the library has for the session (``ssl.SSLObject``, ``OpenSSL.SSL.Connection``): for applications."""

    def handshake(self) -> None:
        """Go on with the handshake; returns when it is done."""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of content. Empty only after the peer's close_notify (RFC 8446 section 6.1).

        A connection that ends without it raises ConnectionAbortedError: the content may be incomplete.
        """

    def write(self, data: bytes | memoryview) -> int:
        """Encrypt and send; how many bytes of ``data`` were taken. After a Want it is called with the same bytes."""

    def pending(self) -> int:
        """Bytes of content that can be read without the socket; an end, or an error, that has come counts as one."""

    def close_notify(self) -> None:
        """Send close_notify, and do not wait for the peer's. WantWrite: there is no room for it, and it was not sent.

        What the peer still sends may be lost, unless the session has an attribute ``half_closes`` that is true.
        """

    def resumed(self) -> bool:
        """Say whether the handshake, which is done, resumed an earlier session."""

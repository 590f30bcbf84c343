"""What the tests of TLS here share: a watched server with TLS, and clients whose bytes the test sends itself."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from functools import cache
from typing import Any

from reserve.apps.http.settings import HTTPSettings
from tests import tls
from tests.adversity.holding import Watched, honest, watched

HTTP = HTTPSettings(access_log=False)


@cache
def _context(version: str) -> ssl.SSLContext:
    return tls.client_context(version)


@contextlib.contextmanager
def tls_site(app: Any = honest, *, http: HTTPSettings = HTTP, **options: Any) -> Iterator[Watched]:
    """A watched server, all of whose clients use TLS."""
    with watched(app, http=http, secure=True, **options) as site:
        yield site


@contextlib.contextmanager
def connected(
    site: Watched, version: str = "1.3", *, window: int = 0
) -> Iterator[tuple[socket.socket, tls.MemoryTLSClient]]:
    """A client after its handshake, as its socket and its TLS; ``window``: what its system receives for it."""
    with site.connect_plain(window=window) as client:
        memory_client = tls.MemoryTLSClient(_context(version))
        memory_client.handshake(client)
        yield client, memory_client


def ends_with_close_notify(client: socket.socket, memory_client: tls.MemoryTLSClient) -> bool:
    """Say whether the server sends close_notify before its end, whatever content precedes it."""
    try:
        memory_client.receive_all(client)
    except (ssl.SSLError, ConnectionResetError):  # an end without it, or an alert
        return False
    assert client.recv(1) == b"", "something follows close_notify"
    return True


def until_closed(client: socket.socket) -> bytes:
    """The bytes that come, not decrypted, until the server closes or resets the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received

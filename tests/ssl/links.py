"""What the tests of both adapters share: the adapters, and connections whose client is in memory."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.ssl import BuiltinSSLAdapter, PyOpenSSLAdapter, SSLAdapter
from reserve.ssl.certadapter import CertificateAdapter
from reserve.testing.adaptersuite.link import Link

ADAPTERS: list[type[CertificateAdapter[Any]]] = [BuiltinSSLAdapter, PyOpenSSLAdapter]

each_adapter = pytest.mark.parametrize("adapter", ADAPTERS)


def prepared(adapter: SSLAdapter, *protocols: str) -> SSLAdapter:
    adapter.prepare(protocols)
    return adapter


@contextlib.contextmanager
def linked(adapter: SSLAdapter, client: ssl.SSLContext | None, name: str | None = None) -> Iterator[Link]:
    """A connection before its handshake; ``name`` is the server name that the client sends."""
    link = Link(adapter, client, name=name)
    try:
        yield link
    finally:
        link.close()


def environ_after_handshake(adapter: SSLAdapter, client: ssl.SSLContext, name: str = "localhost") -> dict[str, str]:
    """The variables that an application gets for this client."""
    with linked(adapter, client, name) as link:
        return link.handshake().tls_socket.environ()

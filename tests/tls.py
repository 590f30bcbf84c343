"""What tests of TLS share: certificates of one authority, made once in a process, and clients that trust it."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import socket
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.settings import CertificateFiles
from tests.authority import Authority

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

each_version = pytest.mark.parametrize("version", list(_VERSIONS))
"""With the clients of each version of TLS."""


@cache
def authority() -> Authority:
    """The authority; its files exist until this process ends."""
    folder = tempfile.mkdtemp(prefix="reserve-tests-tls-")
    atexit.register(shutil.rmtree, folder, True)
    return Authority(Path(folder))


@cache
def issued(*names: str, serial: int = 0) -> CertificateFiles:
    """A certificate for these names, by default ``localhost`` and 127.0.0.1; another one for each ``serial``."""
    names = names or ("localhost", "127.0.0.1")
    files = authority().issue(f"{'-'.join(names).replace('*', 'any')}-{serial}", *names)
    return CertificateFiles(cert=files.cert, key=files.key)


def adapter(**options: Any) -> BuiltinSSLAdapter:
    """An adapter for ``localhost``; options as it takes them."""
    return BuiltinSSLAdapter([issued()], **options)


def _current(error: ssl.SSLError) -> ssl.SSLError:
    """An end without close_notify as newer releases of CPython report it; in 3.11.2 its class was SSLError."""
    is_end = error.reason == "UNEXPECTED_EOF_WHILE_READING"
    return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, str(error)) if is_end else error


class _ClientSocket(ssl.SSLSocket):
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        try:
            return super().read(len, buffer)
        except ssl.SSLError as error:
            raise _current(error) from None


class _ClientObject(ssl.SSLObject):
    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        try:
            return super().read(len, buffer)
        except ssl.SSLError as error:
            raise _current(error) from None


def client_context(version: str = "", *, verify: bool = True) -> ssl.SSLContext:
    """A client's context, in which an end without close_notify is an error.

    :param version: the only version that it has; by default all of today.
    :param verify: whether it checks the server's certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class, context.sslobject_class = _ClientSocket, _ClientObject  # type: ignore[assignment,misc]
    context.check_hostname = verify
    if verify:
        context.load_verify_locations(authority().pem)
    else:
        context.verify_mode = ssl.CERT_NONE
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if version:
        context.minimum_version = context.maximum_version = _VERSIONS[version]
    return context


@cache
def _shared_context() -> ssl.SSLContext:
    """The context of all clients that need nothing special."""
    return client_context()


def wrap_client(
    client: socket.socket,
    *,
    context: ssl.SSLContext | None = None,
    name: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Do the handshake as a client. Its ``recv`` returns ``b""`` for close_notify, and raises for an end without it."""
    context = _shared_context() if context is None else context
    return context.wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False, session=session)


class MemoryTLSClient:
    """A client's TLS in memory: the test sends its bytes itself, in whatever pieces.

    :param context: by default one of today (TLS 1.3).
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = _shared_context() if context is None else context
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.done = False
        """The handshake is."""

    def flight(self, received: bytes = b"") -> bytes:
        """What the client sends after it has received this; the ClientHello after nothing."""
        self._incoming.write(received)
        if not self.done:
            try:
                self.tls.do_handshake()
                self.done = True
            except ssl.SSLWantReadError:
                pass
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Records with this content."""
        self.tls.write(data)
        return self._outgoing.read()

    def close_notify(self) -> bytes:
        """The record of the client's close_notify, which a half-closed connection needs."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.flight()

    def second_flight(self, client: socket.socket) -> bytes:
        """Send the ClientHello through a socket; what the client sends next. It ends with the Finished."""
        client.sendall(self.flight())
        flight = b""
        while not flight:
            flight = self.flight(client.recv(65536))
        return flight

    def handshake(self, client: socket.socket) -> None:
        """Do the handshake through a socket."""
        flight = self.flight()
        while not self.done:
            client.sendall(flight)
            flight = b""
            while not flight and not self.done:
                data = client.recv(65536)
                assert data, "the server has ended the handshake"
                flight = self.flight(data)
        client.sendall(flight)

    def receive(self, client: socket.socket) -> bytes:
        """The content that the next records have, as they come through a socket; empty at close_notify.

        Raises SSLEOFError when the connection ends without it.
        """
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                data = client.recv(65536)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLZeroReturnError:
                return b""

    def receive_all(self, client: socket.socket) -> bytes:
        """All content up to close_notify."""
        return b"".join(iter(lambda: self.receive(client), b""))

"""Certificates of an authority of the tests' own, made once in a run, and clients that trust it."""

from __future__ import annotations

import atexit
import shutil
import socket
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.settings import CertificateFiles
from tests.authority import Authority


@cache
def authority() -> Authority:
    """Its files are there until this process ends."""
    folder = tempfile.mkdtemp(prefix="reserve-tests-tls-")
    atexit.register(shutil.rmtree, folder, True)
    return Authority(Path(folder))


@cache
def issued(*names: str, serial: int = 0) -> CertificateFiles:
    """A certificate for these names; another one for each ``serial``."""
    names = names or ("localhost", "127.0.0.1")
    files = authority().issue(f"{'-'.join(names).replace('*', 'any')}-{serial}", *names)
    return CertificateFiles(cert=files.cert, key=files.key)


def adapter(**options: Any) -> BuiltinSSLAdapter:
    """For ``localhost``."""
    return BuiltinSSLAdapter([issued()], **options)


def context(version: str = "", *, trusting: bool = True) -> ssl.SSLContext:
    """A client's, by default with everything that a client of today has. ``version``: speak just this one."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = trusting
    if trusting:
        made.load_verify_locations(authority().pem)
    else:
        made.verify_mode = ssl.CERT_NONE
    made.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # an end without close_notify is an error
    if version:
        made.minimum_version = made.maximum_version = {
            "1.2": ssl.TLSVersion.TLSv1_2,
            "1.3": ssl.TLSVersion.TLSv1_3,
        }[version]
    return made


@cache
def client_context() -> ssl.SSLContext:
    """One for all clients that need nothing special."""
    return context()


def secure(
    client: socket.socket,
    *,
    using: ssl.SSLContext | None = None,
    name: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> ssl.SSLSocket:
    """Shake hands as a client. Its ``recv`` gives ``b""`` for close_notify, and raises for an end without it."""
    using = client_context() if using is None else using
    return using.wrap_socket(client, server_hostname=name, suppress_ragged_eofs=False, session=session)


class HandMade:
    """A client's handshake in memory, octet by octet: what it wants to send is the caller's to send.

    :param using: by default a client of today (TLS 1.3).
    """

    def __init__(self, using: ssl.SSLContext | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        using = client_context() if using is None else using
        self.tls = using.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.done = False

    def says(self, heard: bytes = b"") -> bytes:
        """The client's next octets, once it has heard these."""
        self._incoming.write(heard)
        if not self.done:
            try:
                self.tls.do_handshake()
                self.done = True
            except ssl.SSLWantReadError:
                pass
        return self._outgoing.read()

    def wraps(self, data: bytes) -> bytes:
        """Records with this content."""
        self.tls.write(data)
        return self._outgoing.read()

    def shakes(self, client: socket.socket) -> bytes:
        """Send all but the last flight of the handshake through a socket; return that flight."""
        saying = self.says()
        while not self.done:
            client.sendall(saying)
            saying = b""
            while not saying and not self.done:
                data = client.recv(65536)
                assert data, "the server has ended the handshake"
                saying = self.says(data)
        return saying

    def shake(self, client: socket.socket) -> None:
        """Shake hands through a socket."""
        client.sendall(self.shakes(client))

    def hears(self, client: socket.socket) -> bytes:
        """Content that the server sends, as far as one receive brings any; empty at close_notify.

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

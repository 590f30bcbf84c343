"""``PyOpenSSLAdapter``: TLS by pyOpenSSL, which brings an OpenSSL of its own, often a newer one than Python's.

OpenSSL has the descriptor, so that the kernel can encrypt in its place (kTLS).

Sessions resume with tickets in TLS 1.2 and 1.3, and by their id in 1.2. What this adapter has in common with the one of
the standard library is in :mod:`reserve.ssl.certadapter`. The environ has no SSL_SESSION_ID: pyOpenSSL has no method
for it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from reserve.errors import StartupError, TLSError, WantRead, WantWrite
from reserve.ssl import ktls
from reserve.ssl.certadapter import CertificateAdapter, client_environ
from reserve.ssl.certfiles import certificate_error, client_trust_error, read_file
from reserve.ssl.clienthello import HelloReader, HelloRefused
from reserve.ssl.environ import session_variables
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CertificateFiles, password_of

try:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from OpenSSL import SSL
    from OpenSSL.crypto import FILETYPE_ASN1, X509StoreFlags, dump_certificate
except ImportError as error:
    raise StartupError(
        f"PyOpenSSLAdapter needs pyOpenSSL, which cannot be imported ({error}): pip install 'reserve[pyopenssl]'"
    ) from error

__all__ = [
    "PyOpenSSLAdapter",
    "PyOpenSSLSession",
    "adapt_context",
    "harden_context",
    "harden_session",
    "pyopenssl_environ",
]

_SESSION_ID_CONTEXT = b"reserve"
"""Without one OpenSSL does not resume sessions that had a client's certificate."""
_SAFE_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION
"""A client could make a server compute for it again and again, and TLS 1.3 has no such thing."""
_MODES = 1 | 2 | SSL.MODE_RELEASE_BUFFERS
"""SSL_MODE_ENABLE_PARTIAL_WRITE and SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, which pyOpenSSL has no names for and sets by
itself since some version: the bytes of a retry may be at another address. And 32 KiB less for an idle connection.
"""
_AUTO_RETRY = 4
"""SSL_MODE_AUTO_RETRY: one read would go on for as long as records without content come, which a client may send for
ever (key updates, RFC 8446 section 4.6.3), and would hold the thread that has the lead.
"""
_PEEK_SIZE = 32768
"""Bytes that are searched for a ClientHello."""
_EOF = (-1, "Unexpected EOF")  # the arguments of pyOpenSSL's error when the connection ended


class PyOpenSSLSession:
    """A session of an ``OpenSSL.SSL.Connection``. See :class:`~reserve.ssl.session.TLSSession` for what each method
    guarantees.

    :param connection: of the server's side, over ``sock``.
    :param sock: connected; the session owns it from now on.
    :param name: the host that the client asks for, if its ClientHello was read.
    """

    __slots__ = ("_name", "_read", "_write", "details", "pending", "socket")

    half_closes = True
    has_descriptor = True

    def __init__(self, connection: SSL.Connection, sock: socket.socket, name: str | None = None) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._name = name
        self.details: Any = connection
        self._read: Callable[[int], bytes] = connection.recv
        self._write: Callable[[bytes | memoryview], int] = connection.send
        self.pending: Callable[[], int] = connection.pending

    @classmethod
    def begin(cls, context: SSL.Context, sock: socket.socket, name: str | None = None) -> PyOpenSSLSession:
        """Make a session over a connected socket."""
        connection = SSL.Connection(context, sock)
        connection.set_accept_state()
        return cls(connection, sock, name)

    def handshake(self) -> None:
        try:
            self.details.do_handshake()
        except SSL.Error as error:
            raise _translate_error(error) from None

    def read(self, size: int) -> bytes:
        try:
            # The library allocates as many bytes as it is asked for, and returns one record.
            return self._read(min(size, 16384))
        except SSL.WantReadError:
            raise WantRead from None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise _translate_error(error) from None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._write(data)
        except SSL.Error as error:
            raise _translate_error(error) from None

    def close_notify(self) -> None:
        try:
            self.details.shutdown()
        except SSL.Error as error:
            raise _translate_error(error) from None

    @property
    def server_name(self) -> str | None:
        """The host that the client has asked for; in a resumed session of TLS 1.2 OpenSSL has that of the first one."""
        return _server_name(self.details) if self._name is None else self._name

    def release(self) -> None:
        """The connection is closed: free the library's object, although a timer may still refer to the session."""
        self._read = self._write = _fail
        self.pending = _no_bytes
        self.details = None

    def resumed(self) -> bool:
        # pyOpenSSL has no public name for it.
        return bool(SSL._lib.SSL_session_reused(self.details._ssl))  # type: ignore[attr-defined]


def _fail(*_: Any) -> NoReturn:
    raise TLSError("the TLS session has ended")


def _no_bytes() -> int:
    return 0


def _translate_error(error: SSL.Error) -> OSError:
    if isinstance(error, SSL.WantReadError):
        return WantRead()
    if isinstance(error, SSL.WantWriteError):
        return WantWrite()
    if isinstance(error, SSL.SysCallError) and error.args != _EOF:
        number = error.args[0]
        return OSError(number, os.strerror(number))
    if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)):
        return ConnectionAbortedError("the connection ended without the close_notify of TLS")
    return TLSError(_reason(error))


def _reason(error: Exception) -> str:
    """OpenSSL's own reason, from the list of (library, function, reason) that pyOpenSSL makes of it."""
    queue = error.args[0] if error.args else ()
    reasons = [entry[2] for entry in queue if isinstance(entry, tuple) and entry[2]] if isinstance(queue, list) else []
    return reasons[0].lower() if reasons else str(error) or type(error).__name__


class _Context(SSL.Context):
    """The context of one certificate, with its variables. Owned by the adapter, shared by all threads."""

    variables: dict[str, str]


class PyOpenSSLAdapter(CertificateAdapter[_Context]):
    """TLS by pyOpenSSL. Its arguments are those of :class:`~reserve.ssl.certadapter.CertificateAdapter`."""

    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> _Context:
        settings = self.settings
        context = _Context(SSL.TLS_SERVER_METHOD)
        context.variables = variables
        context.set_min_proto_version(SSL.TLS1_3_VERSION if settings.min_version == "1.3" else SSL.TLS1_2_VERSION)
        harden_context(context)
        context.set_tlsext_servername_callback(self._select_context)
        try:
            context.set_cipher_list(settings.ciphers.encode())
        except (SSL.Error, UnicodeError) as error:
            raise StartupError(
                f"OpenSSL knows no cipher of {settings.ciphers!r} (--tls-ciphers): {_reason(error)}"
            ) from None
        try:
            key = _private_key(files)
            context.use_certificate_chain_file(files.cert)
            context.use_privatekey(key)
            context.check_privatekey()
        except SSL.Error as error:
            raise certificate_error(files, ValueError(_reason(error))) from None
        except (OSError, TypeError, ValueError, StartupError) as error:
            raise certificate_error(files, error) from None
        if settings.client_cert != "none":
            required = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if settings.client_cert == "required" else 0
            context.set_verify(SSL.VERIFY_PEER | required)
            self._load_client_trust(context)
        return context

    def _load_client_trust(self, context: SSL.Context) -> None:
        for path, option in self.client_trust_files():
            try:
                context.load_verify_locations(path)
            except SSL.Error as error:
                raise client_trust_error(path, option, _reason(error)) from None
        store = context.get_cert_store()
        if self.settings.crl and store is not None:
            store.set_flags(X509StoreFlags.CRL_CHECK)

    def set_protocols(self, context: _Context) -> None:
        if self.protocols:
            context.set_alpn_select_callback(_ProtocolSelection(self))

    def make_session(self, context: _Context, sock: socket.socket) -> TLSSession:
        # As a rule the whole ClientHello has come. If not, OpenSSL calls _select_context() in the middle of the
        # handshake: too late to keep a client from resuming a session of another certificate.
        hello = None
        with contextlib.suppress(BlockingIOError, InterruptedError, HelloRefused):  # OpenSSL will find what is wrong
            hello = HelloReader().feed(sock.recv(_PEEK_SIZE, socket.MSG_PEEK))
        name = None if hello is None else hello.server_name
        return PyOpenSSLSession.begin(self.context_for(name) or context, sock, name)

    def _select_context(self, connection: SSL.Connection) -> None:
        context = self.context_for(_server_name(connection))
        if context is not None and context is not connection.get_context():
            connection.set_context(context)

    def environ(self, session: PyOpenSSLSession) -> dict[str, str]:
        connection = session.details
        variables = pyopenssl_environ(session)
        variables.update(getattr(connection.get_context(), "variables", {}))
        if self.settings.client_cert != "none":
            variables.update(client_environ(*_peer_certificates(connection)))
        return variables


class _ProtocolSelection:
    """Selects the protocol that is first in the server's order (RFC 7301 section 3.2). What it raises becomes the alert
    ``no_application_protocol``. A context owns it, and OpenSSL calls it in the handshake.
    """

    __name__ = "select"  # pyOpenSSL takes it for a function

    def __init__(self, adapter: PyOpenSSLAdapter) -> None:
        self._check = adapter.check_protocols
        self._protocols = adapter.encoded_protocols

    def __call__(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        self._check(offered)
        return next(name for name in self._protocols if name in offered)


def harden_context(context: SSL.Context) -> None:
    """Set what every server on the open internet needs. Raises ValueError for a context that is in use."""
    context.set_session_id(_SESSION_ID_CONTEXT)
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_options(_SAFE_OPTIONS | ktls.OP_ENABLE_KTLS)
    context.set_mode(_MODES)
    context.clear_mode(_AUTO_RETRY)


def adapt_context(context: SSL.Context) -> None:
    """Set the modes that our sessions need in a context of another program, as far as it may still be changed."""
    with contextlib.suppress(ValueError):  # it is in use; where that matters, pyOpenSSL has set the modes itself
        context.set_mode(_MODES)
        context.clear_mode(_AUTO_RETRY)


def harden_session(connection: SSL.Connection) -> None:
    """The same options for one session, whose context may be in use."""
    # Where a connection has no options of its own (an older pyOpenSSL), a context may still be changed.
    owner = connection if hasattr(SSL.Connection, "set_options") else connection.get_context()
    owner.set_options(_SAFE_OPTIONS)


def pyopenssl_environ(session: PyOpenSSLSession) -> dict[str, str]:
    """The variables of a session of pyOpenSSL, without those of certificates."""
    connection = session.details
    bits = connection.get_cipher_bits() or 0
    return session_variables(
        protocol=connection.get_protocol_version_name(),
        cipher=connection.get_cipher_name() or "",
        bits=bits,
        server_name=session.server_name,
        session_id=None,
        resumed=session.resumed(),
        alpn=connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace"),
    )


def _server_name(connection: SSL.Connection) -> str | None:
    name = connection.get_servername()
    return None if name is None else name.decode("ascii", "backslashreplace")


def _peer_certificates(connection: SSL.Connection) -> tuple[bytes | None, list[bytes]]:
    """The client's certificate in DER, and its chain."""
    own = connection.get_peer_certificate()
    if own is None:
        return None, []
    # Not as objects of cryptography, which does not read every certificate that OpenSSL accepts.
    chain = connection.get_peer_cert_chain() or []
    return dump_certificate(FILETYPE_ASN1, own), [dump_certificate(FILETYPE_ASN1, issuer) for issuer in chain]


def _private_key(files: CertificateFiles) -> Any:
    content = read_file(files.key or files.cert)
    try:
        return load_pem_private_key(content, None)
    except TypeError:  # it is encrypted
        password = password_of(files)()
        return load_pem_private_key(content, password.encode() if isinstance(password, str) else password)

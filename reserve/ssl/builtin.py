"""``BuiltinSSLAdapter``: TLS by the standard library's ``ssl``.

Sessions resume with tickets in TLS 1.2 and 1.3, and by their id in 1.2. What this adapter has in common with the one of
pyOpenSSL is in :mod:`reserve.ssl.certadapter`.
"""

from __future__ import annotations

import socket
import ssl

from reserve.errors import StartupError
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.certadapter import CertificateAdapter, client_environ
from reserve.ssl.certfiles import certificate_error, client_trust_error
from reserve.ssl.clienthello import ClientHello
from reserve.ssl.environ import session_variables
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CertificateFiles, password_of

__all__ = ["BuiltinSSLAdapter", "builtin_environ", "harden"]

_IGNORE_EOF = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)


class _Context(ssl.SSLContext):
    """The context of one certificate, with its variables. Owned by the adapter, shared by all threads."""

    variables: dict[str, str]


class BuiltinSSLAdapter(CertificateAdapter[_Context]):
    """TLS by the standard library. Its arguments are those of :class:`~reserve.ssl.certadapter.CertificateAdapter`."""

    takes_received = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        if "takes_received" not in own and not own.keys().isdisjoint(("secure", "session", "make_session")):
            cls.takes_received = False  # its sessions are perhaps others, without the method that this needs

    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> _Context:
        settings = self.settings
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.variables = variables
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        harden(context)
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise StartupError(f"OpenSSL knows no cipher of {settings.ciphers!r} (--tls-ciphers)") from None
        try:
            context.load_cert_chain(files.cert, files.key or None, password=password_of(files))
        except (OSError, ValueError, StartupError) as error:
            raise certificate_error(files, error) from None
        if settings.client_cert != "none":
            context.verify_mode = ssl.CERT_REQUIRED if settings.client_cert == "required" else ssl.CERT_OPTIONAL
            self._load_client_trust(context)
        return context

    def _load_client_trust(self, context: ssl.SSLContext) -> None:
        for path, option in self.client_trust_files():
            try:
                context.load_verify_locations(path)
            except OSError as error:
                reason = str(getattr(error, "reason", None) or error.strerror or error)
                raise client_trust_error(path, option, reason.replace("_", " ").lower()) from None
        if self.settings.crl:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    def set_protocols(self, context: _Context) -> None:
        if self.protocols:
            context.set_alpn_protocols(list(self.protocols))

    def make_session(self, context: _Context, sock: socket.socket) -> TLSSession:
        def select_context(hello: ClientHello) -> _Context:
            if hello.protocols:
                self.check_protocols(hello.protocols)
            return self.context_for(hello.server_name) or context

        return BuiltinSession(select_context, sock)

    def environ(self, session: BuiltinSession) -> dict[str, str]:
        variables = builtin_environ(session)
        variables.update(getattr(session.library.context, "variables", {}))
        if self.settings.client_cert != "none":
            variables.update(client_environ(*_peer_certificates(session.details)))
        return variables


def harden(context: ssl.SSLContext) -> None:
    """Set what every server on the open internet needs, in any context."""
    # An end without close_notify must not pass for the end of the content, as it does by default on CPython 3.11.2.
    context.options &= ~_IGNORE_EOF
    # A client could make a server compute for it again and again, and TLS 1.3 has no such thing.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def builtin_environ(session: BuiltinSession) -> dict[str, str]:
    """The variables of a session of the standard library, without those of certificates."""
    tls = session.library
    cipher, _, bits = tls.cipher() or ("", "", 0)
    protocol = tls.version() or ""
    # A session of TLS 1.3 has no id that both sides know.
    shared = tls.session if protocol != "TLSv1.3" else None
    return session_variables(
        protocol=protocol,
        cipher=cipher,
        bits=bits,
        server_name=session.server_name,
        session_id=shared.id if shared is not None else b"",
        resumed=bool(tls.session_reused),
        alpn=tls.selected_alpn_protocol(),
    )


def _peer_certificates(tls: ssl.SSLObject) -> tuple[bytes | None, list[bytes]]:
    """The client's certificate in DER, and its chain, which the standard library gives since Python 3.13."""
    own = tls.getpeercert(binary_form=True)
    chain = getattr(tls, "get_unverified_chain", None)
    # Without a certificate some releases fail on their own empty chain.
    return own, chain()[1:] if own is not None and chain is not None else []

"""``BuiltinSSLAdapter``: TLS by the standard library's ``ssl``.

Sessions resume with tickets in TLS 1.2 and 1.3, and by their number in 1.2. What both adapters of certificates do in
the same way is in :mod:`reserve.ssl.certadapter`.
"""

from __future__ import annotations

import socket
import ssl

from reserve.errors import StartupError
from reserve.ssl.builtinsession import BuiltinSession
from reserve.ssl.certadapter import CertificateAdapter, client_environ
from reserve.ssl.certfiles import certificate_trouble, trust_trouble
from reserve.ssl.clienthello import ClientHello
from reserve.ssl.environ import session_variables
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CertificateFiles, password_of

__all__ = ["BuiltinSSLAdapter", "BuiltinSession", "builtin_environ", "harden", "shown_certificates"]

_IGNORE_EOF = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)


class _Context(ssl.SSLContext):
    """A context that knows its certificate."""

    variables: dict[str, str]


class BuiltinSSLAdapter(CertificateAdapter[_Context]):
    """TLS by the standard library. Its arguments are those of :class:`~reserve.ssl.certadapter.CertificateAdapter`."""

    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> _Context:
        settings = self.settings
        context = _Context(ssl.PROTOCOL_TLS_SERVER)
        context.variables = variables
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if settings.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
        harden(context)
        if self.protocols:
            context.set_alpn_protocols(list(self.protocols))
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise StartupError(f"OpenSSL knows no cipher of {settings.ciphers!r} (--tls-ciphers)") from None
        try:
            context.load_cert_chain(files.cert, files.key or None, password=password_of(files))
        except (OSError, ValueError, StartupError) as error:
            raise certificate_trouble(files, error) from None
        if settings.client_cert != "none":
            context.verify_mode = ssl.CERT_REQUIRED if settings.client_cert == "required" else ssl.CERT_OPTIONAL
            self._trust(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        for path, option in self.trusted():
            try:
                context.load_verify_locations(path)
            except OSError as error:
                reason = str(getattr(error, "reason", None) or error.strerror or error)
                raise trust_trouble(path, option, reason.replace("_", " ").lower()) from None
        if self.settings.crl:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF

    def make_session(self, context: _Context, sock: socket.socket) -> TLSSession:
        def choose(hello: ClientHello) -> _Context:
            self.check_protocols(hello.protocols)
            return self.chosen(hello.server_name) or context

        return BuiltinSession(choose, sock)

    def environ(self, session: BuiltinSession) -> dict[str, str]:
        tls = session.details
        found = builtin_environ(session)
        found.update(getattr(tls.context, "variables", {}))
        if self.settings.client_cert != "none":
            found.update(client_environ(*shown_certificates(tls)))
        return found


def harden(context: ssl.SSLContext) -> None:
    """What no server on the open internet should go without, whoever made the context."""
    # A cut must not pass for the end of the content; the standard library asks OpenSSL to overlook it.
    context.options &= ~_IGNORE_EOF
    # A client could make a server compute for it again and again, and TLS 1.3 has no such thing.
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION


def builtin_environ(session: BuiltinSession) -> dict[str, str]:
    """The variables of a session of the standard library."""
    tls: ssl.SSLObject = session.details
    cipher, _, bits = tls.cipher() or ("", "", 0)
    protocol = tls.version() or ""
    # A session of TLS 1.3 has no number that both sides know.
    agreed = tls.session if protocol != "TLSv1.3" else None
    return session_variables(
        protocol=protocol,
        cipher=cipher,
        bits=bits,
        server_name=session.server_name,
        session_id=agreed.id if agreed is not None else b"",
        resumed=bool(tls.session_reused),
        alpn=tls.selected_alpn_protocol(),
    )


def shown_certificates(tls: ssl.SSLObject) -> tuple[bytes | None, list[bytes]]:
    """The client's certificate in DER, and those behind it, which the standard library gives since Python 3.13."""
    own = tls.getpeercert(binary_form=True)
    chain = getattr(tls, "get_unverified_chain", None)
    # Without a certificate some releases fail on their own empty chain.
    return own, chain()[1:] if own is not None and chain is not None else []

"""``CertificateAdapter``: what the adapters that load certificates have in common.

One context for each certificate, made once and shared by all connections, so that sessions resume. A reload makes new
contexts and replaces the old ones in one step; open connections keep theirs, and sessions of the old contexts are not
resumed. Called from several threads: what they share is replaced, never changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import socket
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar, Unpack

from reserve.errors import StartupError, UsageError
from reserve.keywords import TLSOptions
from reserve.paramtypes import shows_settings
from reserve.ssl.adapter import SSLAdapter
from reserve.ssl.certfiles import (
    FileStates,
    check_authorities,
    check_revocation_list,
    file_states,
    read_certificate,
    without_mark,
)
from reserve.ssl.clienthello import NO_APPLICATION_PROTOCOL, HelloRefused
from reserve.ssl.environ import pem
from reserve.ssl.session import TLSSession
from reserve.ssl.settings import CertificateFiles, Password, TLSSettings, certificate_files, tls_settings
from reserve.ssl.sni import NameTable

__all__ = ["CertificateAdapter", "client_environ", "missing_library", "server_environ"]

Context = TypeVar("Context")
_LOGGER = logging.getLogger("reserve")
_INSTALL = "pip install 'reserve[tls]'"
EXPIRES_SOON = timedelta(days=14)
"""A certificate that is valid for no longer than this is worth a warning."""


class CertificateAdapter(SSLAdapter, Generic[Context]):
    """The base of BuiltinSSLAdapter and PyOpenSSLAdapter. The server owns it, and any thread may call it.

    :param cert: the path of the certificate chain in PEM, or several :class:`~reserve.ssl.settings.CertificateFiles`;
        the first is used for clients that send no server name, or one that is in no certificate.
    :param key: the path of its private key in PEM; None: it is in ``cert``.
    :param password: opens the key if it is encrypted.
    :param settings: all settings at once. Default: those of :class:`~reserve.ssl.settings.TLSSettings`.
    :param options: single fields of the settings, which have precedence: ``min_version="1.3"``,
        ``client_cert="required", client_ca="ca.pem"`` and so on; see :class:`~reserve.keywords.TLSOptions`.

    Files are read by :meth:`prepare`, which the server calls, so that a mistake ends its start. Raises UsageError for
    unknown options and for options that do not fit together.

    A client that offers protocols (ALPN), none of which the server has, is refused, as RFC 7301 section 3.2 says. A
    server without protocols refuses none.
    """

    @shows_settings(TLSSettings)
    def __init__(
        self,
        cert: str | os.PathLike[str] | Sequence[CertificateFiles],
        key: str | os.PathLike[str] | None = None,
        password: Password = None,
        *,
        settings: TLSSettings | None = None,
        **options: Unpack[TLSOptions],
    ) -> None:
        self.certificates = certificate_files(cert, key, password)
        self.settings = tls_settings(settings, options)
        self.protocols: tuple[str, ...] = self.settings.protocols or ()
        """The protocols that are offered for ALPN."""
        self.encoded_protocols: tuple[bytes, ...] = ()
        """The same, as they are in a ClientHello."""
        self._lock = threading.Lock()
        self.warn: Callable[[str], None] = _LOGGER.warning
        """Called with one line about the certificates that an operator has to know; the thread that loads them calls
        it. Default: the logger ``reserve``.
        """
        self._warned = False
        self._dates_checked: FileStates | None = None
        """The state of the files when :meth:`prepare` has looked at the dates last: it may be called again."""
        self._loaded: FileStates = ()
        self._in_use = False
        """A session was made with the contexts, which are not changed any more."""
        self._contexts: list[Context] = []
        """One for each certificate; the first is for clients that no other one is for."""
        self._names: NameTable[Context] = NameTable()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(files.cert for files in self.certificates)}>"

    # ---- for each library ----

    @abstractmethod
    def make_context(self, files: CertificateFiles, variables: dict[str, str]) -> Context:
        """Make a context for one certificate, which keeps ``variables`` with it. Raises StartupError."""

    @abstractmethod
    def set_protocols(self, context: Context) -> None:
        """Have a context that no session uses yet offer :attr:`protocols`."""

    @abstractmethod
    def make_session(self, context: Context, sock: socket.socket) -> TLSSession:
        """Begin a session; ``context`` is for a client that :meth:`context_for` finds none for."""

    # ---- at start, and on the thread of a reload ----

    def prepare(self, protocols: Sequence[str]) -> None:
        """Load the files; later calls do so only if they have changed or sessions use them.

        The command calls it before the process gives up the rights of root (``--user``), with which it may have read
        the key, and the server once more, with the protocols of the application.
        """
        if self.settings.protocols is None:
            self.protocols = tuple(protocols)
        if self._contexts and not self._in_use and (not self.changed() or not self._readable()):
            self._loaded = file_states(self._paths())  # of files that this user does not see: there is nothing to load
            self._offer_protocols(self._contexts)
        else:
            ders = self._load()
            if self._dates_checked != self._loaded:
                self._dates_checked = self._loaded
                self._check_dates(ders)
        if self.settings.client_cert != "none" and missing_library() and not self._warned:
            self._warned = True
            self.warn(
                f"clients are asked for certificates (--tls-client-cert {self.settings.client_cert}), but the package "
                f"cryptography, which reads them, cannot be imported ({missing_library()}): of the variables "
                "SSL_CLIENT_* applications get only VERIFY, CERT and CERT_CHAIN_*; to get the others: "
                f"{_INSTALL}"
            )

    def changed(self) -> bool:
        return file_states(self._paths()) != self._loaded

    def reload(self) -> None:
        self._check_dates(self._load())

    def _load(self) -> list[bytes]:
        """Load all files, and return the server's certificates in DER."""
        with self._lock:
            # Before the files are read: a file that changes meanwhile is found changed at the next look. A state that
            # cannot be loaded is not tried again before it changes once more.
            self._loaded = file_states(self._paths())
            contexts: list[Context] = []
            names: NameTable[Context] = NameTable()
            ders: list[bytes] = []
            for files in self.certificates:
                der = read_certificate(files.cert)
                ders.append(der)
                contexts.append(self._make_context(files, server_environ(der)))
                if len(self.certificates) > 1:
                    names.add(self._host_names(files, der), contexts[-1])
            self._offer_protocols(contexts)
            self._names, self._contexts, self._in_use = names, contexts, False
            return ders

    def _offer_protocols(self, contexts: Sequence[Context]) -> None:
        self.encoded_protocols = tuple(protocol.encode("ascii") for protocol in self.protocols)
        for context in contexts:
            self.set_protocols(context)

    def _readable(self) -> bool:
        return all(os.access(path, os.R_OK) for path in self._paths())

    def _make_context(self, files: CertificateFiles, variables: dict[str, str]) -> Context:
        """Make a context, also from files that begin with a byte order mark. Raises StartupError."""
        with contextlib.ExitStack() as copies:
            cert = copies.enter_context(without_mark(files.cert))
            key = copies.enter_context(without_mark(files.key)) if files.key else ""
            if (cert, key) == (files.cert, files.key):
                return self.make_context(files, variables)
            try:
                return self.make_context(dataclasses.replace(files, cert=cert, key=key), variables)
            except StartupError as error:  # about the copies, which the operator does not know
                raise StartupError(str(error).replace(cert, files.cert).replace(key, files.key)) from None

    def _check_dates(self, ders: Sequence[bytes]) -> None:
        """Warn about the server's certificates that clients do not accept now, or soon will not."""
        if missing_library():
            return
        from reserve.ssl import certificate

        now = datetime.now(UTC)
        for files, der in zip(self.certificates, ders, strict=True):
            dates = certificate.validity(der)
            what = "" if dates is None else _about_dates(*dates, now)
            if what:
                self.warn(f"the certificate {files.cert} (--tls-cert) {what}")

    def _host_names(self, files: CertificateFiles, der: bytes) -> tuple[str, ...]:
        """The server names that select this certificate. Raises StartupError."""
        if missing_library():
            raise StartupError(
                f"{len(self.certificates)} certificates were given (--tls-cert): each client gets the one for the host "
                "that it asks for (SNI), and to read the host names in them the package cryptography is needed, which "
                f"cannot be imported ({missing_library()}): {_INSTALL}"
            )
        from reserve.ssl import certificate

        try:
            return certificate.host_names(der)
        except ValueError as error:
            raise StartupError(
                f"the host names in the certificate {files.cert} (--tls-cert), one of several, cannot be read: {error}"
            ) from None

    def _paths(self) -> list[str]:
        paths = [path for files in self.certificates for path in (files.cert, files.key)]
        return [path for path in (*paths, self.settings.client_ca, self.settings.crl) if path]

    def client_trust_files(self) -> Iterator[tuple[str, str]]:
        """The files that clients' certificates are checked with, each with its option: authorities, then the list of
        revoked certificates.

        Raises StartupError for a file with the wrong content.
        """
        if self.settings.client_ca:
            check_authorities(self.settings.client_ca)
            with without_mark(self.settings.client_ca) as path:
                yield path, "--tls-client-ca"
        if self.settings.crl:
            check_revocation_list(self.settings.crl)
            with without_mark(self.settings.crl) as path:
                yield path, "--tls-crl"

    # ---- on the thread that owns the connection ----

    def session(self, sock: socket.socket) -> TLSSession:
        if not self._contexts:
            raise UsageError("the adapter has no certificate yet: prepare() comes before the first session")
        self._in_use = True
        return self.make_session(self._contexts[0], sock)

    def context_for(self, server_name: str | None) -> Context | None:
        """The context of the certificate for this name; None: the first one is used."""
        return self._names.find(server_name) if server_name and len(self._contexts) > 1 else None

    def check_protocols(self, offered: Sequence[bytes]) -> None:
        """Raise HelloRefused when a client offers protocols, none of which the server has."""
        if offered and self.encoded_protocols and not any(name in offered for name in self.encoded_protocols):
            ours = ", ".join(self.protocols)
            theirs = b", ".join(offered[:10])[:100]
            message = f"the client offers the protocols {theirs!r}, and the server has only {ours} (ALPN)"
            raise HelloRefused(NO_APPLICATION_PROTOCOL, message)


def _about_dates(start: datetime, end: datetime, now: datetime) -> str:
    """The end of a sentence about a certificate; empty: there is nothing to say."""
    if now > end:
        return f"has expired on {end:%Y-%m-%d %H:%M} UTC; clients refuse it"
    if now < start:
        return f"is not valid before {start:%Y-%m-%d %H:%M} UTC; until then clients refuse it"
    if end - now > EXPIRES_SOON:
        return ""
    days = (end - now).days
    left = "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"
    return f"expires on {end:%Y-%m-%d %H:%M} UTC, in {left}"


@functools.cache
def missing_library() -> str:
    """Why the package cryptography cannot be imported; empty: it can. Tried once: a failed import looks at the disk."""
    try:
        import reserve.ssl.certificate  # noqa: F401
    except ImportError as error:
        return str(error)
    return ""


def server_environ(der: bytes) -> dict[str, str]:
    """The variables ``SSL_SERVER_*`` of one of the server's certificates; only the PEM without cryptography."""
    variables = {"SSL_SERVER_CERT": pem(der)}
    if not missing_library():
        from reserve.ssl import certificate

        variables |= certificate.server_variables(der)
    return variables


def client_environ(der: bytes | None, chain: Sequence[bytes] = ()) -> dict[str, str]:
    """The variables ``SSL_CLIENT_*``; without cryptography those that need no look inside the certificate.

    :param der: the client's certificate, which was found valid; None: it has sent none.
    :param chain: the certificates that it has sent after it, in their order.
    """
    if der is None:
        return {"SSL_CLIENT_VERIFY": "NONE"}
    variables = {"SSL_CLIENT_VERIFY": "SUCCESS", "SSL_CLIENT_CERT": pem(der)}
    for number, issuer in enumerate(chain):
        variables[f"SSL_CLIENT_CERT_CHAIN_{number}"] = pem(issuer)
    if not missing_library():
        from reserve.ssl import certificate

        variables |= certificate.client_variables(der, datetime.now(UTC))
    return variables

"""The settings of TLS: frozen values with a default for every field, and how an adapter's arguments become them.

A field named ``min_version`` is the option ``--tls-min-version``. Plain values, without OpenSSL; any thread reads them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

from reserve.errors import StartupError, UsageError
from reserve.paramtypes import Choice, Kind, Text, check_settings
from reserve.suggest import suggestion

__all__ = [
    "CIPHERS",
    "TLS_KINDS",
    "CertificateFiles",
    "Password",
    "TLSSettings",
    "certificate_files",
    "password_of",
    "tls_settings",
]

Password: TypeAlias = "str | bytes | Callable[[], str | bytes] | None"
"""Opens an encrypted private key. A callable is asked again at every reload."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2: forward secrecy and authenticated encryption only, as RFC 9325 section 4.2 recommends. (Those of TLS 1.3 are
all of that kind, and not chosen here.)
"""

_FILE = Text("a file, or nothing", lambda text: True, "FILE", "a path")

TLS_KINDS: Mapping[str, Kind] = {
    "min_version": Choice(("1.2", "1.3")),
    "ciphers": Text("ciphers in OpenSSL's notation", bool, "LIST"),
    "client_cert": Choice(("none", "optional", "required")),
    "client_ca": _FILE,
    "crl": _FILE,
}
"""What each field of :class:`TLSSettings` may be, for programs and for the command alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """The paths of one certificate chain and its private key, in PEM."""

    cert: str
    """The server's certificate, followed by those that lead to the authority."""
    key: str = ""
    """Empty: the key is in ``cert``, too."""
    password: Password = None
    """None: the key is not encrypted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """The settings of an adapter, except its certificates."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version that is spoken: ``1.2`` or ``1.3``. Read by :class:`~reserve.ssl.builtin.BuiltinSSLAdapter`
    and :class:`~reserve.ssl.pyopenssl.PyOpenSSLAdapter`.
    """
    ciphers: str = CIPHERS
    """What TLS 1.2 may use, in OpenSSL's notation. Read by :class:`~reserve.ssl.builtin.BuiltinSSLAdapter` and
    :class:`~reserve.ssl.pyopenssl.PyOpenSSLAdapter`.
    """
    client_cert: Literal["none", "optional", "required"] = "none"
    """Whether clients are asked for a certificate: ``none``, ``optional`` or ``required``. Read by
    :class:`~reserve.ssl.builtin.BuiltinSSLAdapter` and :class:`~reserve.ssl.pyopenssl.PyOpenSSLAdapter`.
    """
    client_ca: str = ""
    """The path of the authorities (PEM) that clients' certificates must come from. Read by
    :class:`~reserve.ssl.certadapter.CertificateAdapter`.
    """
    crl: str = ""
    """The path of the list of revoked clients' certificates (PEM). Empty: none is looked up. Read by
    :class:`~reserve.ssl.builtin.BuiltinSSLAdapter` and :class:`~reserve.ssl.pyopenssl.PyOpenSSLAdapter`.
    """
    protocols: tuple[str, ...] | None = None
    """The protocols that are offered for ALPN. None: those of the application. Read by
    :class:`~reserve.ssl.certadapter.CertificateAdapter`.
    """

    def __post_init__(self) -> None:
        check_settings(self, TLS_KINDS, "tls-")


def certificate_files(
    cert: str | os.PathLike[str] | Sequence[CertificateFiles], key: str | os.PathLike[str] | None, password: Password
) -> tuple[CertificateFiles, ...]:
    """The certificates of an adapter from its arguments: one pair of paths, or several. Raises UsageError."""
    if isinstance(cert, (str, os.PathLike)):
        return (CertificateFiles(cert=os.fspath(cert), key=os.fspath(key) if key else "", password=password),)
    several = tuple(cert)
    if key is not None or password is not None:
        raise UsageError("several certificates have their keys and passwords in their CertificateFiles")
    if not several:
        raise UsageError("TLS needs a certificate")
    return several


def tls_settings(settings: TLSSettings | None, options: Mapping[str, Any]) -> TLSSettings:
    """The settings of an adapter from its arguments: ``options`` replace single fields of ``settings``.

    Raises UsageError for an unknown option, a value that is not allowed, and options that do not fit together.
    """
    names = [field.name for field in fields(TLSSettings)]
    for name in options:
        if name not in names:
            raise UsageError(f"TLS has no option {name!r}{suggestion(name, names)}")
    result = replace(settings if settings is not None else TLSSettings(), **options)
    if result.client_cert != "none" and not result.client_ca:
        raise UsageError(
            f"client_cert={result.client_cert!r} (--tls-client-cert) needs client_ca (--tls-client-ca): the "
            "authorities that are trusted"
        )
    if result.client_cert == "none" and (result.client_ca or result.crl):
        raise UsageError(
            "client_ca and crl (--tls-client-ca, --tls-crl) do nothing unless client_cert (--tls-client-cert) is "
            "'optional' or 'required'"
        )
    return result


def password_of(files: CertificateFiles) -> Callable[[], str | bytes]:
    """A function that OpenSSL calls when the key is encrypted. Without one OpenSSL would ask the terminal, and wait.

    The function raises StartupError when there is no password.
    """

    def password() -> str | bytes:
        password = files.password
        if password is None:
            raise StartupError("it is encrypted, and no password was given (--tls-password-file)")
        return password() if callable(password) else password

    return password

"""What TLS can be told: one frozen value, with a unit and a default for every field.

A field named ``min_version`` is the option ``--tls-min-version``. Imported by anyone, changed by no one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from reserve.paramtypes import Choice, Kind, Text, check_settings

__all__ = ["CIPHERS", "TLS_KINDS", "CertificateFiles", "Password", "TLSSettings"]

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
"""What each field may be, for programs and for the command alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """One certificate chain and its private key, in PEM."""

    cert: str
    """The server's certificate, and behind it those that lead to the authority."""
    key: str = ""
    """Empty: the key is in ``cert``, too."""
    password: Password = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """Everything but the certificates."""

    min_version: str = "1.2"
    """The oldest version that is spoken: ``1.2`` or ``1.3``."""
    ciphers: str = CIPHERS
    """What TLS 1.2 may use, in OpenSSL's notation."""
    client_cert: str = "none"
    """Whether clients are asked for a certificate: ``none``, ``optional`` or ``required``."""
    client_ca: str = ""
    """The authorities (PEM) that clients' certificates must come from."""
    crl: str = ""
    """Revoked clients' certificates (PEM). Empty: none is looked up."""
    protocols: tuple[str, ...] | None = None
    """What is offered for ALPN. None: what the application speaks."""

    def __post_init__(self) -> None:
        check_settings(self, TLS_KINDS, "tls-")

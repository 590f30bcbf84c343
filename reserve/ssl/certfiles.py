"""The files of the certificates: what identifies one state of them on the disk, and what they hold.

Reads files, so it is never called by whoever leads: at the start, and on the thread of a reload.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reserve.errors import StartupError
from reserve.ssl.x509 import Certificate, CertificateError, parse_certificate, pem_certificates

__all__ = ["Signature", "check_authorities", "check_revoked", "read_chain", "signature", "trust_trouble"]

Signature = tuple[tuple[int, int, int] | None, ...]
"""(inode, modified in ns, octets) of each file, None for one that is not there."""


def signature(paths: Iterable[str]) -> Signature:
    """What tells one state of the files from another without reading them."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            info = os.stat(path)  # not lstat: such files are often links to the newest ones
        except OSError:
            found.append(None)
        else:
            found.append((info.st_ino, info.st_mtime_ns, info.st_size))
    return tuple(found)


def check_authorities(path: str) -> None:
    """Say whether a file holds certificates of authorities. Raises StartupError."""
    if b"CERTIFICATE-----" not in _text(path, "--tls-client-ca"):
        raise trust_trouble(path, "--tls-client-ca", "there is no PEM block CERTIFICATE in it")


def check_revoked(path: str) -> None:
    """Say whether a file holds lists of revoked certificates, and nothing else: OpenSSL would take a certificate in it
    for that of an authority. Raises StartupError.
    """
    text = _text(path, "--tls-crl")
    if b"-----BEGIN X509 CRL-----" not in text:
        raise trust_trouble(path, "--tls-crl", "there is no PEM block X509 CRL in it")
    if b"CERTIFICATE-----" in text:
        raise trust_trouble(path, "--tls-crl", "there is a certificate in it; authorities belong to --tls-client-ca")


def _text(path: str, option: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise trust_trouble(path, option, error.strerror or error) from None


def trust_trouble(path: str, option: str, reason: object) -> StartupError:
    """Say that a file for clients' certificates cannot be used."""
    return StartupError(f"{path} ({option}) cannot be used for clients' certificates: {reason}")


def read_chain(path: str) -> list[Certificate]:
    """The certificates of a PEM file, the server's own first. Raises StartupError."""
    try:
        return [parse_certificate(der) for der in pem_certificates(Path(path).read_bytes())]
    except OSError as error:
        raise StartupError(f"the certificate {path} (--tls-cert) cannot be read: {error.strerror or error}") from None
    except (CertificateError, ValueError) as error:
        raise StartupError(f"{path} (--tls-cert) holds no certificate that can be used: {error}") from None

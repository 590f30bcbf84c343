"""The files of the certificates: what identifies one state of them on the disk, and what they hold.

Reads files, so it is never called by whoever leads: at the start, and on the thread of a reload.
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Iterable
from pathlib import Path

from reserve.errors import StartupError
from reserve.ssl.settings import CertificateFiles

__all__ = [
    "Signature",
    "certificate_trouble",
    "check_authorities",
    "check_revoked",
    "read_certificate",
    "signature",
    "trust_trouble",
]

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?P<kind>X509 |TRUSTED |)CERTIFICATE-----(?P<base64>.*?)-----END (?P=kind)CERTIFICATE-----", re.DOTALL
)
"""What OpenSSL takes for a certificate."""

_SOURCE = re.compile(r" \(_ssl\.c:\d+\)$")
"""What the standard library adds to an error for its developers."""

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


def read_certificate(path: str) -> bytes:
    """The first certificate of a PEM file in DER: the server's own. Raises StartupError.

    Whether it is one, and whether the others of its chain are, OpenSSL says.
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise StartupError(f"the certificate {path} (--tls-cert) cannot be read: {error.strerror or error}") from None
    block = _CERTIFICATE.search(text)
    if block is None:
        reason = "there is no complete PEM block CERTIFICATE in it"
        if text[:1] == b"\x30":
            reason = "it looks like DER; convert it with: openssl x509 -inform DER -in FILE -out FILE.pem"
    elif block["kind"] == b"TRUSTED ":
        reason = (
            "TRUSTED CERTIFICATE is a format of OpenSSL's own; convert it with: openssl x509 -in FILE -out FILE.pem"
        )
    else:
        try:
            return binascii.a2b_base64(block["base64"])
        except ValueError as error:
            reason = f"its first PEM block is not base64: {error}"
    raise StartupError(f"{path} (--tls-cert) holds no certificate that can be used: {reason}")


def certificate_trouble(files: CertificateFiles, error: Exception) -> StartupError:
    """Say why a certificate and its key cannot be used.

    :param error: what OpenSSL, the file system or :func:`~reserve.ssl.settings.password_of` raised.
    """
    key = f"{files.key or files.cert} ({'--tls-key' if files.key else '--tls-cert'})"
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    text = _SOURCE.sub("", str(reason)).lower().replace("_", " ")
    if "mismatch" in text:
        return StartupError(f"the private key {key} does not belong to the certificate {files.cert} (--tls-cert)")
    if isinstance(error, StartupError):
        return StartupError(f"the private key {key}: {error}")
    for option, path in (("--tls-cert", files.cert), ("--tls-key", files.key or files.cert)):
        try:
            content = Path(path).read_bytes()
        except OSError as cause:
            return StartupError(f"the file {path} ({option}) cannot be read: {cause.strerror or cause}")
    if b"PRIVATE KEY-----" not in content:
        hint = "" if files.key else "; --tls-key names the file that does"
        return StartupError(f"{key} holds no private key in PEM{hint}")
    if b"ENCRYPTED" in content:
        return StartupError(f"the password (--tls-password-file) does not open the private key {key}")
    return StartupError(f"the certificate {files.cert} (--tls-cert) with the key {key} cannot be used: {text}")

"""From the arguments that people give an adapter to the values that it works with, and from errors to sentences."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

from reserve.errors import StartupError, UsageError
from reserve.ssl.settings import CertificateFiles, Password, TLSSettings
from reserve.suggest import suggestion

__all__ = ["certificate_files", "certificate_trouble", "password_of", "tls_settings"]


def certificate_files(
    cert: str | os.PathLike[str] | Sequence[CertificateFiles], key: str | os.PathLike[str] | None, password: Password
) -> tuple[CertificateFiles, ...]:
    """One pair of files, or several. Raises UsageError."""
    if isinstance(cert, (str, os.PathLike)):
        return (CertificateFiles(cert=os.fspath(cert), key=os.fspath(key) if key else "", password=password),)
    several = tuple(cert)
    if key is not None or password is not None:
        raise UsageError("several certificates have their keys and passwords in their CertificateFiles")
    if not several:
        raise UsageError("TLS needs a certificate")
    return several


def tls_settings(settings: TLSSettings | None, options: dict[str, Any]) -> TLSSettings:
    """All settings at once, single ones over them. Raises UsageError for what nobody knows or does not fit."""
    names = [field.name for field in dataclasses.fields(TLSSettings)]
    for name in options:
        if name not in names:
            raise UsageError(f"TLS has no option {name!r}{suggestion(name, names)}")
    found = dataclasses.replace(settings if settings is not None else TLSSettings(), **options)
    if found.min_version not in ("1.2", "1.3"):
        raise UsageError(f"min_version (--tls-min-version) is '1.2' or '1.3', not {found.min_version!r}")
    if found.client_cert not in ("none", "optional", "required"):
        raise UsageError(
            f"client_cert (--tls-client-cert) is 'none', 'optional' or 'required', not {found.client_cert!r}"
        )
    if found.client_cert != "none" and not found.client_ca:
        raise UsageError(
            f"client_cert={found.client_cert!r} (--tls-client-cert) needs client_ca (--tls-client-ca): the authorities "
            "that are trusted"
        )
    if found.client_cert == "none" and (found.client_ca or found.crl):
        raise UsageError(
            "client_ca and crl (--tls-client-ca, --tls-crl) do nothing unless client_cert (--tls-client-cert) is "
            "'optional' or 'required'"
        )
    return found


def password_of(files: CertificateFiles) -> Callable[[], str | bytes]:
    """What OpenSSL asks when a key is encrypted. Never None: it would ask the terminal, and wait."""

    def password() -> str | bytes:
        given = files.password
        if given is None:
            raise StartupError("it is encrypted, and no password was given (--tls-password-file)")
        return given() if callable(given) else given

    return password


def certificate_trouble(files: CertificateFiles, error: Exception) -> str:
    """One sentence on why a certificate and its key cannot be used."""
    key = files.key or files.cert
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    text = str(reason).lower().replace("_", " ")
    key = f"{key} ({'--tls-key' if files.key else '--tls-cert'})"
    if "mismatch" in text:
        return f"the private key {key} does not belong to the certificate {files.cert} (--tls-cert)"
    if isinstance(error, StartupError):
        return f"the private key {key}: {error}"
    for option, path in (("--tls-cert", files.cert), ("--tls-key", files.key or files.cert)):
        try:
            with open(path, "rb") as file:
                pem = file.read()
        except OSError as cause:
            return f"the file {path} ({option}) cannot be read: {cause.strerror or cause}"
    if b"PRIVATE KEY-----" not in pem:
        return f"{key} holds no private key in PEM" + ("" if files.key else "; --tls-key names the file that does")
    if b"ENCRYPTED" in pem:
        return f"the password (--tls-password-file) does not open the private key {key}"
    return f"the certificate {files.cert} (--tls-cert) with the key {key} cannot be used: {text}"

"""From the TLS options of the command to an adapter. The certificates are loaded once, to find mistakes at start.

Runs on the main thread at start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from reserve.errors import StartupError, UsageError
from reserve.options.table import NEED_TLS

if TYPE_CHECKING:
    from reserve.options.sources import Values
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["make_adapter"]


def make_adapter(values: Values) -> SSLAdapter | None:
    """The adapter that the options describe; None without a certificate.

    :raises UsageError: options that contradict each other.
    :raises StartupError: a certificate, key or other file that cannot be used.
    """
    certs = cast("tuple[str, ...]", values["tls_cert"])
    if not certs:
        for setting in values.given.values():
            if setting.option.name == "handshake-timeout" and values["proxy_protocol"] != "off":
                continue  # it limits the header of the PROXY protocol, too
            if setting.option.name in NEED_TLS and setting.value not in ((), ""):
                raise UsageError(f"{setting.source} is for TLS, which needs a certificate: --tls-cert FILE")
        return None
    from reserve.ssl.settings import CertificateFiles

    keys = cast("tuple[str, ...]", values["tls_key"])
    if keys and len(keys) != len(certs):
        raise UsageError(
            f"{_count('--tls-cert', len(certs))} and {_count('--tls-key', len(keys))}; give one key for each "
            "certificate, in the same order, or no key if each key is in the file of its certificate"
        )
    path = values["tls_password_file"]
    password = None
    if path is not None:
        _read_password(str(path))  # now, because it is not read as long as no key is encrypted

        def password() -> bytes:
            return _read_password(str(path))

    files = [
        CertificateFiles(cert=cert, key=key, password=password)
        for cert, key in zip(certs, keys or ("",) * len(certs), strict=True)
    ]
    adapter = _adapter_class(str(values["tls_adapter"]))(files, settings=values.tls())
    adapter.prepare(())
    return cast("SSLAdapter", adapter)


def _read_password(path: str) -> bytes:
    """The first line of a file, without its line end. Raises StartupError, also for a pipe: the file is read again."""
    from reserve.ssl.certfiles import read_file

    try:
        return read_file(path).partition(b"\n")[0].rstrip(b"\r\n")
    except OSError as error:
        raise StartupError(
            f"the password file {path} (--tls-password-file) cannot be read: {error.strerror or error}"
        ) from None


def _adapter_class(name: str) -> type:
    import reserve.ssl

    try:
        return reserve.ssl.PyOpenSSLAdapter if name == "pyopenssl" else reserve.ssl.BuiltinSSLAdapter
    except ImportError as error:
        raise StartupError(f"this Python was built without OpenSSL, and so without TLS: {error}") from None


def _count(name: str, count: int) -> str:
    return f"{name} is given {'once' if count == 1 else f'{count} times'}"

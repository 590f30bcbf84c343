"""The files of the certificates: whether they have changed, what they hold, and why they cannot be used.

Reads files, so the thread that has the lead never calls it: it runs at start, and on the thread of a reload.
"""

from __future__ import annotations

import binascii
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from reserve.errors import StartupError
from reserve.ssl.settings import CertificateFiles

__all__ = [
    "FileStates",
    "certificate_error",
    "check_authorities",
    "check_revocation_list",
    "client_trust_error",
    "file_states",
    "read_certificate",
    "read_file",
    "without_mark",
]

_CERTIFICATE = re.compile(
    rb"-----BEGIN (?P<kind>X509 |TRUSTED |)CERTIFICATE-----(?P<base64>.*?)-----END (?P=kind)CERTIFICATE-----", re.DOTALL
)
"""The PEM blocks that OpenSSL takes for a certificate."""

_SOURCE_LINE = re.compile(r" \(_ssl\.c:\d+\)$")
"""The place in CPython's source that the standard library adds to some errors."""

_MARKED = b"\xef\xbb\xbf-----BEGIN"
"""A PEM block after a byte order mark, with which some editors begin each file, in UTF-8."""

FileStates = tuple[tuple[int, int, int] | None, ...]
"""(inode, modified in ns, bytes) of each file, None for one that does not exist."""


def file_states(paths: Iterable[str]) -> FileStates:
    """The states of files, without reading them: they differ when a file has changed."""
    states: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            info = os.stat(path)  # not lstat: such files are often links to the newest ones
        except OSError:
            states.append(None)
        else:
            states.append((info.st_ino, info.st_mtime_ns, info.st_size))
    return tuple(states)


def _open_nonblocking(path: str, flags: int) -> int:
    """For ``open(opener=)``: do not wait for the writer of a FIFO."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_file(path: str) -> bytes:
    """The content of a regular file. Raises OSError, also for a FIFO, whose reader would wait for a writer."""
    with open(path, "rb", opener=_open_nonblocking) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read()


@contextmanager
def without_mark(path: str) -> Iterator[str]:
    """The path of a PEM file, or, as long as the context lasts, of a copy without byte order marks.

    OpenSSL takes no block whose first line begins with a mark. It may be in the middle, where files were joined. The
    copy can be read by this user only. Raises StartupError for what is not a regular file, because OpenSSL would wait
    for the writer of a FIFO.
    """
    try:
        content = read_file(path)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise StartupError(f"the file {path} cannot be read: {error.strerror}") from None
        content = b""  # the caller reads it next, and says so
    if _MARKED not in content:
        yield path
        return
    fd, copy = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content.replace(_MARKED, _MARKED[3:]))
        yield copy
    finally:
        os.unlink(copy)


def check_authorities(path: str) -> None:
    """Raise StartupError unless a file holds certificates of authorities."""
    if b"CERTIFICATE-----" not in _read(path, "--tls-client-ca"):
        raise client_trust_error(path, "--tls-client-ca", "there is no PEM block CERTIFICATE in it")


def check_revocation_list(path: str) -> None:
    """Raise StartupError unless a file holds lists of revoked certificates, and no certificate: OpenSSL would trust it
    as an authority.
    """
    content = _read(path, "--tls-crl")
    if b"-----BEGIN X509 CRL-----" not in content:
        raise client_trust_error(path, "--tls-crl", "there is no PEM block X509 CRL in it")
    if b"CERTIFICATE-----" in content:
        raise client_trust_error(
            path, "--tls-crl", "there is a certificate in it; authorities belong to --tls-client-ca"
        )


def _read(path: str, option: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise client_trust_error(path, option, error.strerror or error) from None


def client_trust_error(path: str, option: str, reason: object) -> StartupError:
    """The error for a file that clients' certificates cannot be checked with."""
    return StartupError(f"{path} ({option}) cannot be used for clients' certificates: {reason}")


def read_certificate(path: str) -> bytes:
    """The first certificate of a PEM file in DER: the server's own. Raises StartupError.

    Its content, and the rest of its chain, are checked by OpenSSL when it loads the file.
    """
    try:
        content = read_file(path)
    except OSError as error:
        raise StartupError(f"the certificate {path} (--tls-cert) cannot be read: {error.strerror or error}") from None
    block = _CERTIFICATE.search(content)
    if block is None:
        reason = "there is no complete PEM block CERTIFICATE in it"
        if content[:1] == b"\x30":
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


def certificate_error(files: CertificateFiles, error: Exception) -> StartupError:
    """The error for a certificate and a key that cannot be used, with the reason in one sentence.

    :param error: what OpenSSL, the file system or :func:`~reserve.ssl.settings.password_of` raised.
    """
    key = f"{files.key or files.cert} ({'--tls-key' if files.key else '--tls-cert'})"
    reason = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
    reason = _SOURCE_LINE.sub("", reason).lower().replace("_", " ")
    if "mismatch" in reason:
        return StartupError(f"the private key {key} does not belong to the certificate {files.cert} (--tls-cert)")
    if isinstance(error, StartupError):
        return StartupError(f"the private key {key}: {error}")
    for option, path in (("--tls-cert", files.cert), ("--tls-key", files.key or files.cert)):
        try:
            content = read_file(path)
        except OSError as cause:
            return StartupError(f"the file {path} ({option}) cannot be read: {cause.strerror or cause}")
    if b"PRIVATE KEY-----" not in content:
        hint = "" if files.key else "; --tls-key names the file that does"
        return StartupError(f"{key} holds no private key in PEM{hint}")
    if b"ENCRYPTED" in content:
        return StartupError(f"the password (--tls-password-file) does not open the private key {key}")
    return StartupError(f"the certificate {files.cert} (--tls-cert) with the key {key} cannot be used: {reason}")

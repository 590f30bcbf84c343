"""The files of the certificates: what identifies one state of them on the disk, and what they hold.

Reads files, so it is never called by whoever leads: at the start, and on the thread of a reload.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from reserve.errors import StartupError
from reserve.ssl.x509 import Certificate, CertificateError, parse_certificate, pem_certificates

__all__ = ["Signature", "read_chain", "signature"]

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


def read_chain(path: str) -> list[Certificate]:
    """The certificates of a PEM file, the server's own first. Raises StartupError."""
    try:
        return [parse_certificate(der) for der in pem_certificates(Path(path).read_bytes())]
    except OSError as error:
        raise StartupError(f"the certificate {path} cannot be read: {error.strerror or error}") from None
    except (CertificateError, ValueError) as error:
        raise StartupError(f"{path} holds no certificate that can be used: {error}") from None

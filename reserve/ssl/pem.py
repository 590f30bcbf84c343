"""PEM (RFC 7468): the text form of certificates, read and written.

Runs on any thread; bytes in, values out. The work is linear in the size of the text.
"""

from __future__ import annotations

import binascii
import re

from reserve.errors import UsageError

__all__ = ["pem_certificates", "to_pem"]

LINE = 48
"""Octets that make a line of 64 characters (RFC 7468 section 2)."""

_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_TRUSTED = "TRUSTED CERTIFICATE"
_BOUNDARY = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


def pem_certificates(text: bytes) -> list[bytes]:
    """The DER of each certificate in a PEM file, in order; text around the blocks and other blocks are passed over.

    RFC 7468 sections 2 and 5.

    :raises UsageError: there is none, a block does not begin or end, or its inside is not base64.
    """
    found: list[bytes] = []
    passed: list[str] = []
    label = ""
    lines: list[bytes] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None:
            lines.append(line)
            continue
        name = boundary[2].decode("ascii")
        if boundary[1] == b"BEGIN":
            if label:
                raise UsageError(f"line {number}: a PEM block begins inside the block {label} (RFC 7468 section 2)")
            label, lines = name, []
            continue
        if label != name:
            raise UsageError(f"line {number}: END {name} ends no block of that name (RFC 7468 section 2)")
        if label in _CERTIFICATES:
            found.append(_decoded(b"".join(lines), number))
        elif label == _TRUSTED:
            raise UsageError(
                f"line {number}: a TRUSTED CERTIFICATE is a format of OpenSSL's own; "
                "convert it with: openssl x509 -in FILE -out FILE.pem"
            )
        else:
            passed.append(label)
        label = ""
    if label:
        raise UsageError(f"the PEM block {label} has no END line (RFC 7468 section 2)")
    if not found:
        raise UsageError(f"no PEM block CERTIFICATE in these {len(text)} bytes: {_what_instead(text, passed)}")
    return found


def to_pem(der: bytes) -> str:
    """One certificate as a PEM block, with a line end behind its last line."""
    lines = [binascii.b2a_base64(der[at : at + LINE]).decode("ascii") for at in range(0, len(der), LINE)]
    return f"-----BEGIN CERTIFICATE-----\n{''.join(lines)}-----END CERTIFICATE-----\n"


def _decoded(text: bytes, number: int) -> bytes:
    if _BASE64.fullmatch(text) is None or len(text) % 4:
        raise UsageError(f"the certificate that ends on line {number} is not base64 (RFC 7468 section 3)")
    return binascii.a2b_base64(text)


def _what_instead(text: bytes, passed: list[str]) -> str:
    if passed:
        return f"only {', '.join(passed[:5])}"
    if text[:1] == b"\x30":
        return "they look like DER; convert them with: openssl x509 -inform DER -in FILE -out FILE.pem"
    return "a certificate in PEM begins with -----BEGIN CERTIFICATE-----"

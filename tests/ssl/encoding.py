"""Certificates that no library would make: a small DER encoder, and one certificate whose every part can be replaced.

As a rule nothing is signed: what only reads a certificate checks no signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

UTF8, NUMERIC, PRINTABLE, TELETEX, IA5, VISIBLE, UNIVERSAL, BMP = 0x0C, 0x12, 0x13, 0x14, 0x16, 0x1A, 0x1C, 0x1E
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18


def tlv(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(encoded)]) + encoded + content


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(2, value.to_bytes((value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True))


def oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    encoded = bytearray()
    for arc in (first * 40 + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        encoded += bytes(reversed(groups))
    return tlv(6, bytes(encoded))


def attribute(kind: str, value: bytes) -> bytes:
    """``value`` is DER already."""
    return sequence(oid(kind), value)


def name(*relative_names: Sequence[bytes]) -> bytes:
    """A set is sorted in DER (X.690 section 11.6)."""
    return sequence(*(tlv(0x31, *sorted(attributes)) for attributes in relative_names))


def common_name(text: str) -> bytes:
    return name([attribute("2.5.4.3", tlv(UTF8, text.encode()))])


def extension(number: str, value: bytes, critical: bytes = b"") -> bytes:
    return sequence(oid(number), critical, tlv(4, value))


def alternative_names(*names: bytes) -> bytes:
    return extension("2.5.29.17", sequence(*names))


def extensions(*items: bytes) -> bytes:
    return tlv(0xA3, sequence(*items))


ED25519 = sequence(oid("1.3.101.112"))
V3 = tlv(0xA0, integer(2))


def certificate(
    *,
    version: bytes = V3,
    serial: bytes | None = None,
    algorithm: bytes = ED25519,
    issuer: bytes | None = None,
    validity: bytes | None = None,
    subject: bytes | None = None,
    key: bytes | None = None,
    extensions: bytes = b"",
    signer: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """Every argument is the DER of that part; ``signer`` makes a real signature."""
    signed = sequence(
        version,
        integer(1) if serial is None else serial,
        algorithm,
        common_name("issuer") if issuer is None else issuer,
        times("200101000000Z", "300101000000Z") if validity is None else validity,
        common_name("subject") if subject is None else subject,
        sequence(ED25519, tlv(3, b"\0", bytes(32))) if key is None else key,
        extensions,
    )
    signature = bytes(64) if signer is None else signer(signed)
    return sequence(signed, algorithm, tlv(3, b"\0", signature))


def times(*texts: str) -> bytes:
    return sequence(*(tlv(UTC_TIME if len(text) == 13 else GENERALIZED_TIME, text.encode()) for text in texts))

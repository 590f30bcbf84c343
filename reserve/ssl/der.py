"""DER (X.690): tags, lengths and the few value types that a certificate is made of.

Runs on any thread; plain functions from bytes to values. Strict where the encoding rules leave one form: definite
and shortest lengths, shortest integers and object identifiers, nothing behind the last element. Nothing here calls
itself, every octet is looked at a fixed number of times, and the two types whose conversion costs more than linear
time (integers and object identifiers in decimal) have a limit. The only error is :class:`DERError`.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import NamedTuple

__all__ = [
    "BIT_STRING",
    "BOOLEAN",
    "INTEGER",
    "OBJECT_IDENTIFIER",
    "OCTET_STRING",
    "SEQUENCE",
    "SET",
    "TEXT_CODECS",
    "DERError",
    "Element",
    "Reader",
    "check_bit_string",
    "read_boolean",
    "read_integer",
    "read_object_identifier",
    "read_text",
    "read_time",
]

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

TEXT_CODECS = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    0x14: "latin-1",  # TeletexString: T.61 in theory; what is issued, and what OpenSSL reads, is ISO 8859-1
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
"""The types that are shown as text, by tag."""

LONGEST_INTEGER = 128
"""Octets. RFC 5280 section 4.1.2.2 allows a serial number 20; the limit keeps the conversion to decimal short."""

LONGEST_OBJECT_IDENTIFIER = 128
"""Octets. The longest in use has about 20."""

LONGEST_LENGTH = 4
"""Octets of a length; four of them count to 4 GiB."""


class DERError(ValueError):
    """The bytes are not DER, or not of the type that stands here. The text says where and which rule."""


class Element(NamedTuple):
    """One tag, length and value."""

    tag: int
    content: bytes
    encoded: bytes


class Reader:
    """Takes the elements out of the content of a constructed one, from left to right.

    :param data: the content octets.
    :param where: what they are, for the errors.
    """

    __slots__ = ("_at", "_data", "_where")

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._at = 0
        self._where = where

    def more(self) -> bool:
        return self._at < len(self._data)

    def element(self) -> Element:
        """The next element, of any type. X.690 sections 8.1 and 10.1."""
        data, start, where = self._data, self._at, self._where
        if len(data) - start < 2:
            raise DERError(f"{where} ends where an element should begin (X.690 section 8.1)")
        tag, length = data[start], data[start + 1]
        if tag & 0x1F == 0x1F:
            raise DERError(f"{where} has a tag number above 30, which no certificate has (X.690 section 8.1.2.4)")
        at = start + 2
        if length >= 0x80:
            octets = length & 0x7F
            if not 1 <= octets <= LONGEST_LENGTH or len(data) - at < octets:
                raise DERError(f"{where} has a length that is indefinite, too long or cut (X.690 section 10.1)")
            length = int.from_bytes(data[at : at + octets], "big")
            if length < 0x80 or data[at] == 0:
                raise DERError(f"{where} has a length that is not in its shortest form (X.690 section 10.1)")
            at += octets
        end = at + length
        if end > len(data):
            raise DERError(f"{where} is cut: an element of {length} octets has {len(data) - at} (X.690 section 8.1.3)")
        self._at = end
        return Element(tag, data[at:end], data[start:end])

    def take(self, tag: int) -> bytes:
        """The content of the next element, which must have this tag."""
        element = self.element()
        if element.tag != tag:
            raise DERError(f"{self._where} has an element with tag {element.tag:#04x} where {tag:#04x} should stand")
        return element.content

    def take_optional(self, tag: int) -> bytes | None:
        """The same, or None (and nothing is taken) when another tag comes next, or none."""
        return self.take(tag) if self.more() and self._data[self._at] == tag else None

    def finish(self) -> None:
        """Refuse what is left."""
        if self.more():
            raise DERError(f"{self._where} has {len(self._data) - self._at} octets too many")


def read_boolean(content: bytes) -> bool:
    """X.690 section 11.1."""
    if content not in (b"\x00", b"\xff"):
        raise DERError("a BOOLEAN is neither 00 nor FF (X.690 section 11.1)")
    return content == b"\xff"


def read_integer(content: bytes) -> int:
    """X.690 section 8.3."""
    if not content or len(content) > LONGEST_INTEGER:
        raise DERError(f"an INTEGER has {len(content)} octets; 1 to {LONGEST_INTEGER} are read")
    if len(content) > 1 and (content[0], content[1] & 0x80) in ((0, 0), (0xFF, 0x80)):
        raise DERError("an INTEGER is not in its shortest form (X.690 section 8.3.2)")
    return int.from_bytes(content, "big", signed=True)


def read_object_identifier(content: bytes) -> str:
    """In dots and decimals. X.690 section 8.19."""
    if not content or len(content) > LONGEST_OBJECT_IDENTIFIER:
        raise DERError(f"an OBJECT IDENTIFIER has {len(content)} octets; 1 to {LONGEST_OBJECT_IDENTIFIER} are read")
    if content[-1] & 0x80:
        raise DERError("an OBJECT IDENTIFIER ends inside a number (X.690 section 8.19.2)")
    arcs: list[int] = []
    value, fresh = 0, True
    for octet in content:
        if fresh and octet == 0x80:
            raise DERError("an OBJECT IDENTIFIER is not in its shortest form (X.690 section 8.19.2)")
        value = value << 7 | octet & 0x7F
        fresh = octet < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - first * 40, *arcs[1:])))


def check_bit_string(content: bytes) -> None:
    """Refuse a BIT STRING whose count of unused bits is wrong. X.690 sections 8.6 and 11.2."""
    unused = content[0] if content else 8
    if unused > 7 or (len(content) == 1 and unused) or content[-1] & ((1 << unused) - 1):
        raise DERError("a BIT STRING has a wrong count of unused bits (X.690 sections 8.6 and 11.2)")


def read_text(tag: int, content: bytes) -> str:
    """A string of one of the types in :data:`TEXT_CODECS`."""
    try:
        return content.decode(TEXT_CODECS[tag])
    except UnicodeDecodeError:
        raise DERError(f"a string with tag {tag:#04x} is not valid {TEXT_CODECS[tag]}") from None


def read_time(element: Element) -> datetime:
    """UTCTime or GeneralizedTime in the one form that RFC 5280 sections 4.1.2.5.1 and 4.1.2.5.2 allow each; in UTC."""
    tag, content, _ = element
    year = {UTC_TIME: 2, GENERALIZED_TIME: 4}.get(tag)
    if year is None:
        raise DERError(f"a time has tag {tag:#04x}, neither UTCTime nor GeneralizedTime")
    digits = content[:-1]
    if len(content) != year + 11 or content[-1:] != b"Z" or not digits.isdigit():
        raise DERError("a time is not YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ (RFC 5280 section 4.1.2.5)")
    value = int(digits[:year])
    if tag == UTC_TIME:
        value += 1900 if value >= 50 else 2000
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(year, year + 10, 2))
    try:
        return datetime(value, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        raise DERError(f"a time names a moment that does not exist: {content.decode('ascii')}") from None

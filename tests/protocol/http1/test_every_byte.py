"""Every byte in every kind of place: the parsers accept exactly the bytes that the grammar allows there."""

from __future__ import annotations

import string

import pytest

from tests.protocol.http1.delivery import is_refusal, read_messages

LETTERS = frozenset((string.ascii_letters + string.digits).encode())
TOKEN = LETTERS | frozenset(b"!#$%&'*+-.^_`|~")  # RFC 9110 section 5.6.2
WHITESPACE = frozenset(b"\t ")
VISIBLE = frozenset(range(0x21, 0x7F))
HIGH = frozenset(range(0x80, 0x100))
VALUE = WHITESPACE | VISIBLE | HIGH  # RFC 9110 section 5.5
HOST = LETTERS | frozenset(b"-._~!$&'()*+,;=")  # RFC 3986 section 3.2.2
HEX = frozenset(string.hexdigits.encode())
QUOTED = VALUE - frozenset(b'"\\')  # RFC 9110 section 5.6.4

LINE = b"GET / HTTP/1.1\r\n"
NAMED = LINE + b"Host: a.test\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length:"
END = b"\r\n\r\n"

PLACES: dict[str, tuple[bytes, bytes, frozenset[int]]] = {
    "first of a method": (b"", b"X / HTTP/1.1\r\nHost: a" + END, TOKEN),
    "in a method": (b"G", b"T / HTTP/1.1\r\nHost: a" + END, TOKEN),
    "last of a method": (b"GET", b" / HTTP/1.1\r\nHost: a" + END, TOKEN),
    "after the method": (b"GET", b"/ HTTP/1.1\r\nHost: a" + END, frozenset(b" ")),
    "in a path": (b"GET /a", b"b HTTP/1.1\r\nHost: a" + END, VISIBLE - frozenset(b"#")),
    "in a query": (b"GET /?a", b"b HTTP/1.1\r\nHost: a" + END, VISIBLE - frozenset(b"#")),
    "before the version": (b"GET /", b"HTTP/1.1\r\nHost: a" + END, frozenset(b" ")),
    "the letter of the version": (b"GET / HTT", b"/1.1\r\nHost: a" + END, frozenset(b"P")),
    "the slash of the version": (b"GET / HTTP", b"1.1\r\nHost: a" + END, frozenset(b"/")),
    "the major version": (b"GET / HTTP/", b".1\r\nHost: a" + END, frozenset(b"1")),
    "the dot of the version": (b"GET / HTTP/1", b"1\r\nHost: a" + END, frozenset(b".")),
    "the minor version": (b"GET / HTTP/1.", b"\r\nHost: a" + END, frozenset(b"0123456789")),
    "after the version": (b"GET / HTTP/1.1", b"\r\nHost: a" + END, frozenset()),
    "CR of the request line": (b"GET / HTTP/1.1", b"\nHost: a" + END, frozenset(b"\r")),
    "LF of the request line": (b"GET / HTTP/1.1\r", b"Host: a" + END, frozenset(b"\n")),
    "first of the first name": (LINE, b"X: y\r\nHost: a" + END, TOKEN),
    "first of a name": (NAMED, b"X: y" + END, TOKEN),
    "in a name": (NAMED + b"X", b"Y: z" + END, TOKEN | frozenset(b":")),
    "last of a name": (NAMED + b"X", b": y" + END, TOKEN | frozenset(b":")),
    "before a value": (NAMED + b"X:", b"y" + END, VALUE),
    "in a value": (NAMED + b"X: y", b"z" + END, VALUE),
    "last of a value": (NAMED + b"X: y", END, VALUE),
    "CR of a field": (NAMED + b"X: y", b"\nY: z" + END, frozenset(b"\r")),
    "LF of a field": (NAMED + b"X: y\r", b"Y: z" + END, frozenset(b"\n")),
    "CR of the empty line": (NAMED, b"\nX: y" + END, frozenset(b"\r")),
    "first of a host": (LINE + b"Host:", b"a" + END, HOST | WHITESPACE),
    "in a host": (LINE + b"Host: a", b"b" + END, HOST),
    "last of a host": (LINE + b"Host: a", END, HOST | WHITESPACE | frozenset(b":")),
    "in a port": (LINE + b"Host: a:8", b"8" + END, frozenset(b"0123456789")),
    "in the host of a URI": (b"GET http://a", b"b/ HTTP/1.1\r\nHost: a" + END, HOST | frozenset(b"/?")),
    "before a length": (LENGTH, b"0" + END + b"x" * 90, WHITESPACE | frozenset(b"0123456789")),
    "in a length": (LENGTH + b"0", b"0" + END + b"x" * 90, frozenset(b"0123456789")),
    "after a length": (LENGTH + b"0", END + b"x" * 9, WHITESPACE | frozenset(b"0123456789")),
    "before a coding": (NAMED + b"Transfer-Encoding:", b"chunked" + END + b"0" + END, WHITESPACE),
    "in a coding": (NAMED + b"Transfer-Encoding: chun", b"ed" + END + b"0" + END, frozenset(b"kK")),
    "after a coding": (NAMED + b"Transfer-Encoding: chunked", END + b"0" + END, WHITESPACE),
    "before a size": (CHUNKED, b"1\r\nx\r\n0" + END, frozenset(b"0")),
    "a size": (CHUNKED, b"\r\n0123456789abcde\r\n0" + END, frozenset(b"fF")),
    "after a size": (CHUNKED + b"0", b"\r\n\r\n", frozenset(b"0")),
    "CR of a size": (CHUNKED + b"1", b"\nx\r\n0" + END, frozenset(b"\r")),
    "LF of a size": (CHUNKED + b"1\r", b"x\r\n0" + END, frozenset(b"\n")),
    "CR of the data": (CHUNKED + b"1\r\nx", b"\n0" + END, frozenset(b"\r")),
    "LF of the data": (CHUNKED + b"1\r\nx\r", b"0" + END, frozenset(b"\n")),
    "name of an extension": (CHUNKED + b"1;", b"\r\nx\r\n0" + END, TOKEN),
    "in an extension": (CHUNKED + b"1;a", b"b\r\nx\r\n0" + END, TOKEN | frozenset(b"=;")),
    "value of an extension": (CHUNKED + b"1;a=", b"\r\nx\r\n0" + END, TOKEN),
    "in a quoted value": (CHUNKED + b'1;a="', b'"\r\nx\r\n0' + END, QUOTED),
    "after a backslash": (CHUNKED + b'1;a="\\', b'"\r\nx\r\n0' + END, VALUE),
    "after a quoted value": (CHUNKED + b'1;a="b"', b"\r\nx\r\n0" + END, frozenset()),
    "in a trailer's name": (CHUNKED + b"0\r\nX", b"Y: z" + END, TOKEN | frozenset(b":")),
    "in a trailer's value": (CHUNKED + b"0\r\nX: y", b"z" + END, VALUE),
    "CR of a trailer field": (CHUNKED + b"0\r\nX: y", b"\nY: z" + END, frozenset(b"\r")),
    "CR of the end": (CHUNKED + b"0\r\n", b"\n", frozenset(b"\r")),
    "LF of the end": (CHUNKED + b"0\r\n\r", b"", frozenset(b"\n")),
}
"""For each place: the input before and after the byte, and the bytes that are accepted between them."""


@pytest.mark.parametrize("place", PLACES)
def test_exactly_the_bytes_of_the_grammar_are_accepted(place: str) -> None:
    before, after, allowed = PLACES[place]
    accepted = set()
    for byte in range(256):
        messages = read_messages([before + bytes([byte]) + after])
        if messages and messages[0] is not None and not is_refusal(messages[0]):
            accepted.add(byte)
    assert accepted == allowed


DECIDED_LATER = frozenset({
    "first of a host", "in a host", "last of a host", "in a port", "before a length", "in a length",
    "after a length", "before a coding", "in a coding", "after a coding",
})  # fmt: skip
"""Places in fields whose meaning is checked when the head is complete."""

OTHER_ROLES: dict[str, frozenset[int]] = {
    "first of a method": frozenset(b"\r"),
    "in a method": frozenset(b" "),
    "last of a method": frozenset(b" "),
    "after the method": TOKEN,
    "in a path": frozenset(b" "),
    "in a query": frozenset(b" "),
    "before the version": VISIBLE - frozenset(b"#"),
    "the major version": frozenset(b"023456789"),
    "after the version": frozenset(b"\r"),
    "first of the first name": frozenset(b"\r"),
    "first of a name": frozenset(b"\r"),
    "before a value": frozenset(b"\r"),
    "in a value": frozenset(b"\r"),
    "last of a value": frozenset(b"\r"),
    "CR of a field": VALUE,
    "CR of the empty line": TOKEN,
    "in the host of a URI": VISIBLE - frozenset(b"#") | frozenset(b" "),
    "before a size": HEX,
    "a size": HEX,
    "after a size": HEX | frozenset(b"\t ;\r"),
    "CR of a size": HEX | frozenset(b"\t ;"),
    "name of an extension": WHITESPACE,
    "in an extension": frozenset(b"\t \r"),
    "value of an extension": WHITESPACE | frozenset(b'"'),
    "in a quoted value": frozenset(b'"\\'),
    "after a quoted value": WHITESPACE | frozenset(b";\r"),
    "in a trailer's value": frozenset(b"\r"),
    "CR of a trailer field": VALUE,
    "CR of the end": TOKEN,
}
"""Bytes that are allowed there, but not before the input that follows in :data:`PLACES`."""


@pytest.mark.parametrize("place", sorted(PLACES.keys() - DECIDED_LATER))
@pytest.mark.parametrize("at_once", [True, False])
def test_a_byte_that_is_not_allowed_is_refused_when_it_arrives(place: str, at_once: bool) -> None:
    before, _, allowed = PLACES[place]
    valid = allowed | OTHER_ROLES.get(place, frozenset())
    for byte in range(256):
        pieces = [before, bytes([byte])]
        messages = read_messages([b"".join(pieces)] if at_once else pieces)
        refused = messages != [] and is_refusal(messages[-1])
        assert refused == (byte not in valid), (pieces, messages)


@pytest.mark.parametrize("place", [place for place in PLACES if place.startswith(("CR of", "LF of"))])
def test_the_reader_never_waits_after_an_invalid_line_end(place: str) -> None:
    """An invalid line end is not taken for the start of something that the client has yet to send."""
    before, after, allowed = PLACES[place]
    for byte in set(range(256)) - allowed:
        # Bytes with another role in this place, such as a longer value, do not end a line.
        messages = read_messages([before + bytes([byte]) + after + b"\nGET / HTTP/1.1\r\n\r\n"])
        assert is_refusal(messages[0]), (byte, messages)

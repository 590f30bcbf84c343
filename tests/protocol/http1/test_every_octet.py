"""Every octet in every kind of place: what is taken there is exactly what the grammar has."""

from __future__ import annotations

import string
from typing import Any

import pytest

from tests.protocol.http1.delivery import read_messages

LETTERS = frozenset((string.ascii_letters + string.digits).encode())
TOKEN = LETTERS | frozenset(b"!#$%&'*+-.^_`|~")  # RFC 9110 section 5.6.2
BLANK = frozenset(b"\t ")
VISIBLE = frozenset(range(0x21, 0x7F))
HIGH = frozenset(range(0x80, 0x100))
VALUE = BLANK | VISIBLE | HIGH  # RFC 9110 section 5.5
HOST = LETTERS | frozenset(b"-._~!$&'()*+,;=")  # RFC 3986 section 3.2.2
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
    "behind the method": (b"GET", b"/ HTTP/1.1\r\nHost: a" + END, frozenset(b" ")),
    "in a path": (b"GET /a", b"b HTTP/1.1\r\nHost: a" + END, VISIBLE - frozenset(b"#")),
    "in a query": (b"GET /?a", b"b HTTP/1.1\r\nHost: a" + END, VISIBLE - frozenset(b"#")),
    "in front of the version": (b"GET /", b"HTTP/1.1\r\nHost: a" + END, frozenset(b" ")),
    "the letter of the version": (b"GET / HTT", b"/1.1\r\nHost: a" + END, frozenset(b"P")),
    "the slash of the version": (b"GET / HTTP", b"1.1\r\nHost: a" + END, frozenset(b"/")),
    "the major version": (b"GET / HTTP/", b".1\r\nHost: a" + END, frozenset(b"1")),
    "the dot of the version": (b"GET / HTTP/1", b"1\r\nHost: a" + END, frozenset(b".")),
    "the minor version": (b"GET / HTTP/1.", b"\r\nHost: a" + END, frozenset(b"0123456789")),
    "behind the version": (b"GET / HTTP/1.1", b"\r\nHost: a" + END, frozenset()),
    "CR of the request line": (b"GET / HTTP/1.1", b"\nHost: a" + END, frozenset(b"\r")),
    "LF of the request line": (b"GET / HTTP/1.1\r", b"Host: a" + END, frozenset(b"\n")),
    "first of the first name": (LINE, b"X: y\r\nHost: a" + END, TOKEN),
    "first of a name": (NAMED, b"X: y" + END, TOKEN),
    "in a name": (NAMED + b"X", b"Y: z" + END, TOKEN | frozenset(b":")),
    "last of a name": (NAMED + b"X", b": y" + END, TOKEN | frozenset(b":")),
    "in front of a value": (NAMED + b"X:", b"y" + END, VALUE),
    "in a value": (NAMED + b"X: y", b"z" + END, VALUE),
    "last of a value": (NAMED + b"X: y", END, VALUE),
    "CR of a field": (NAMED + b"X: y", b"\nY: z" + END, frozenset(b"\r")),
    "LF of a field": (NAMED + b"X: y\r", b"Y: z" + END, frozenset(b"\n")),
    "CR of the empty line": (NAMED, b"\nX: y" + END, frozenset(b"\r")),
    "first of a host": (LINE + b"Host:", b"a" + END, HOST | BLANK),
    "in a host": (LINE + b"Host: a", b"b" + END, HOST),
    "last of a host": (LINE + b"Host: a", END, HOST | BLANK | frozenset(b":")),
    "in a port": (LINE + b"Host: a:8", b"8" + END, frozenset(b"0123456789")),
    "in the host of a URI": (b"GET http://a", b"b/ HTTP/1.1\r\nHost: a" + END, HOST | frozenset(b"/?")),
    "in front of a length": (LENGTH, b"0" + END + b"x" * 90, BLANK | frozenset(b"0123456789")),
    "in a length": (LENGTH + b"0", b"0" + END + b"x" * 90, frozenset(b"0123456789")),
    "behind a length": (LENGTH + b"0", END + b"x" * 9, BLANK | frozenset(b"0123456789")),
    "in front of a coding": (NAMED + b"Transfer-Encoding:", b"chunked" + END + b"0" + END, BLANK),
    "in a coding": (NAMED + b"Transfer-Encoding: chun", b"ed" + END + b"0" + END, frozenset(b"kK")),
    "behind a coding": (NAMED + b"Transfer-Encoding: chunked", END + b"0" + END, BLANK),
    "in front of a size": (CHUNKED, b"1\r\nx\r\n0" + END, frozenset(b"0")),
    "a size": (CHUNKED, b"\r\n0123456789abcde\r\n0" + END, frozenset(b"fF")),
    "behind a size": (CHUNKED + b"0", b"\r\n\r\n", frozenset(b"0")),
    "CR of a size": (CHUNKED + b"1", b"\nx\r\n0" + END, frozenset(b"\r")),
    "LF of a size": (CHUNKED + b"1\r", b"x\r\n0" + END, frozenset(b"\n")),
    "CR of the data": (CHUNKED + b"1\r\nx", b"\n0" + END, frozenset(b"\r")),
    "LF of the data": (CHUNKED + b"1\r\nx\r", b"0" + END, frozenset(b"\n")),
    "name of an extension": (CHUNKED + b"1;", b"\r\nx\r\n0" + END, TOKEN),
    "in an extension": (CHUNKED + b"1;a", b"b\r\nx\r\n0" + END, TOKEN | frozenset(b"=;")),
    "value of an extension": (CHUNKED + b"1;a=", b"\r\nx\r\n0" + END, TOKEN),
    "in a quoted value": (CHUNKED + b'1;a="', b'"\r\nx\r\n0' + END, QUOTED),
    "behind a backslash": (CHUNKED + b'1;a="\\', b'"\r\nx\r\n0' + END, VALUE),
    "behind a quoted value": (CHUNKED + b'1;a="b"', b"\r\nx\r\n0" + END, frozenset()),
    "in a trailer's name": (CHUNKED + b"0\r\nX", b"Y: z" + END, TOKEN | frozenset(b":")),
    "in a trailer's value": (CHUNKED + b"0\r\nX: y", b"z" + END, VALUE),
    "CR of a trailer field": (CHUNKED + b"0\r\nX: y", b"\nY: z" + END, frozenset(b"\r")),
    "CR of the end": (CHUNKED + b"0\r\n", b"\n", frozenset(b"\r")),
    "LF of the end": (CHUNKED + b"0\r\n\r", b"", frozenset(b"\n")),
}


def is_taken(data: bytes) -> bool:
    found: list[Any] = read_messages([data])
    return found != [] and found[0] is not None and isinstance(found[0][0], dict)


@pytest.mark.parametrize("place", PLACES)
def test_exactly_the_octets_of_the_grammar_are_taken(place: str) -> None:
    before, behind, allowed = PLACES[place]
    taken = {octet for octet in range(256) if is_taken(before + bytes([octet]) + behind)}
    assert taken == allowed


DECIDED_LATER = frozenset({
    "first of a host", "in a host", "last of a host", "in a port", "in front of a length", "in a length",
    "behind a length", "in front of a coding", "in a coding", "behind a coding",
})  # fmt: skip
"""What a field means is decided when the whole head is here; its octets are looked at before."""

GO_ON: dict[str, frozenset[int]] = {
    "first of a method": frozenset(b"\r"),
    "in a method": frozenset(b" "),
    "last of a method": frozenset(b" "),
    "behind the method": TOKEN,
    "in a path": frozenset(b" "),
    "in a query": frozenset(b" "),
    "in front of the version": VISIBLE - frozenset(b"#"),
    "the major version": frozenset(b"023456789"),
    "behind the version": frozenset(b"\r"),
    "first of the first name": frozenset(b"\r"),
    "first of a name": frozenset(b"\r"),
    "in front of a value": frozenset(b"\r"),
    "in a value": frozenset(b"\r"),
    "last of a value": frozenset(b"\r"),
    "CR of a field": VALUE,
    "CR of the empty line": TOKEN,
    "in the host of a URI": VISIBLE - frozenset(b"#") | frozenset(b" "),
    "in front of a size": frozenset(string.hexdigits.encode()),
    "a size": frozenset(string.hexdigits.encode()),
    "behind a size": frozenset(string.hexdigits.encode()) | frozenset(b"\t ;\r"),
    "CR of a size": frozenset(string.hexdigits.encode()) | frozenset(b"\t ;"),
    "name of an extension": BLANK,
    "in an extension": frozenset(b"\t \r"),
    "value of an extension": BLANK | frozenset(b'"'),
    "in a quoted value": frozenset(b'"\\'),
    "behind a quoted value": BLANK | frozenset(b";\r"),
    "in a trailer's value": frozenset(b"\r"),
    "CR of a trailer field": VALUE,
    "CR of the end": TOKEN,
}
"""Octets that are not taken there only because of what stands behind them in that place."""


@pytest.mark.parametrize("place", sorted(PLACES.keys() - DECIDED_LATER))
@pytest.mark.parametrize("whole", [True, False])
def test_an_octet_that_nothing_legal_can_follow_is_refused_at_once(place: str, whole: bool) -> None:
    before, _, allowed = PLACES[place]
    alive = allowed | GO_ON.get(place, frozenset())
    for octet in range(256):
        data = before + bytes([octet])
        found = read_messages([data] if whole else [before, bytes([octet])])
        refused = found != [] and found[-1] is not None and isinstance(found[-1][0], int)
        assert refused == (octet not in alive), (data, found)


BROKEN_LINES = [place for place in PLACES if place.startswith(("CR of", "LF of"))]


@pytest.mark.parametrize("place", BROKEN_LINES)
def test_no_broken_line_end_leaves_the_reader_waiting(place: str) -> None:
    """It must not be possible to have a wrong line end taken for the beginning of something that is still to come."""
    before, behind, allowed = PLACES[place]
    for octet in set(range(256)) - allowed:
        # The octets that may stand in this place in another role, such as a longer value, are no line ends.
        found = read_messages([before + bytes([octet]) + behind + b"\nGET / HTTP/1.1\r\n\r\n"])
        assert isinstance(found[0], tuple)
        assert isinstance(found[0][0], int), (octet, found)

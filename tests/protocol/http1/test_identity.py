"""What is written is read back: request heads, bodies in chunks, response heads, in any pieces; and what is refused
leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reserve.errors import ApplicationError, RemoteError
from reserve.protocol.http1 import body, headreader, trailer
from reserve.protocol.http1.body import ChunkedDecoder
from reserve.protocol.http1.fields import SINGLETONS, environ_key
from reserve.protocol.http1.head import HeadReader
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import LAST_CHUNK, Framing, response_head
from reserve.protocol.http1.trailer import FORBIDDEN_TRAILERS
from tests.protocol.http1.delivery import BASE, LIMITS, Work, read_messages

TCHARS = "!#$%&'*+-.^`|~" + string.digits + string.ascii_letters
TOKENS = st.text(TCHARS, min_size=1, max_size=12)
VALUES = st.text(
    st.characters(codec="latin-1").filter(lambda one: one == "\t" or " " <= one != "\x7f"), max_size=20
).map(lambda text: text.strip(" \t"))
BLANKS = st.text(" \t", max_size=3)
SPECIAL = {"", "CONNECTION", "EXPECT", "HOST", "CONTENT_LENGTH", "TRANSFER_ENCODING", "COOKIE"}
"""Keys without HTTP_ of fields that are dropped (such as Proxy), or mean something to the server."""
NAMES = TOKENS.filter(lambda name: environ_key(name).removeprefix("HTTP_") not in SPECIAL)
FIELDS = st.lists(st.tuples(NAMES, VALUES, BLANKS, BLANKS), max_size=6)
TARGETS = st.text("".join(chr(one) for one in range(33, 127) if chr(one) not in "#%?"), max_size=20).map("/{}".format)
QUERIES = st.text("".join(chr(one) for one in range(33, 127) if chr(one) != "#"), max_size=10)
CONTENTS = st.lists(st.binary(min_size=1, max_size=30), max_size=4)
EXTENSIONS = st.lists(st.tuples(BLANKS, TOKENS, st.one_of(st.none(), TOKENS, VALUES)), max_size=2)
TRAILERS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in FORBIDDEN_TRAILERS), VALUES, BLANKS, BLANKS), max_size=3
)


@st.composite
def pieces_of(draw: Any, data: bytes) -> list[bytes]:
    """The octets, cut in any number of places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def extension(blanks: str, name: str, value: str | None) -> str:
    if value is None:
        return f"{blanks};{blanks}{name}"
    quoted = (
        value if value and set(value) <= set(TCHARS) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
    return f"{blanks};{blanks}{name}{blanks}={blanks}{quoted}"


def field_lines(fields: list[tuple[str, str, str, str]]) -> str:
    return "".join(f"{name}:{before}{value}{behind}\r\n" for name, value, before, behind in fields)


@st.composite
def messages(draw: Any) -> tuple[bytes, dict[str, Any]]:
    """The octets of one request, and what has to be read from them."""
    method = draw(TOKENS.filter(lambda one: one != "CONNECT"))
    path, query, minor = draw(TARGETS), draw(st.none() | QUERIES), draw(st.sampled_from([0, 1]))
    target = path if query is None else f"{path}?{query}"
    fields = draw(FIELDS)
    environ: dict[str, Any] = {
        **BASE, "REQUEST_METHOD": method, "REQUEST_URI": target, "PATH_INFO": path, "QUERY_STRING": query or "",
        "SERVER_PROTOCOL": f"HTTP/1.{minor}", "HTTP_HOST": "a.test",
    }  # fmt: skip
    for name, value, _, _ in fields:
        key = environ_key(name)
        environ[key] = f"{environ[key]}, {value}" if key in environ else value
    pieces, trailers = draw(CONTENTS), []
    content = b"".join(pieces)
    framing = draw(st.sampled_from(["none", "length", "chunked"][: 2 + minor]))
    lines = f"{method} {target} HTTP/1.{minor}\r\nHost: a.test\r\n{field_lines(fields)}"
    data = b""
    if framing == "none":
        content = b""
    elif framing == "length":
        lines += f"Content-Length: {len(content):0{draw(st.integers(1, 19))}}\r\n"
        environ["CONTENT_LENGTH"] = str(len(content))
        data = content
    else:
        lines += "Transfer-Encoding: chunked\r\n"
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        for piece in [*pieces, b""]:
            extensions = "".join(extension(*one) for one in draw(EXTENSIONS))
            data += f"{len(piece):x}{extensions}\r\n".encode("latin-1") + (piece + b"\r\n" if piece else b"")
        sent = draw(TRAILERS)
        trailers = [(name, value) for name, value, _, _ in sent]
        data += field_lines(sent).encode("latin-1") + b"\r\n"
    length = {"none": 0, "length": len(content), "chunked": None}[framing]
    return (lines + "\r\n").encode("latin-1") + data, {
        "method": method, "target": target, "minor": minor, "length": length, "environ": environ, "content": content,
        "trailers": trailers, "keep_alive": minor == 1, "expect_continue": False,
    }  # fmt: skip


def repeats_a_singleton(data: bytes) -> bool:
    names = [line.partition(b":")[0].decode("latin-1") for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    keys = [key for key in map(environ_key, names) if key in SINGLETONS]
    return len(keys) != len(set(keys))


@settings(max_examples=300)
@given(st.data(), st.lists(messages().filter(lambda one: not repeats_a_singleton(one[0])), min_size=1, max_size=3))
def test_requests_in_any_pieces_are_read_as_they_were_written(
    data: Any, sent: list[tuple[bytes, dict[str, Any]]]
) -> None:
    octets = b"".join(one for one, _ in sent)
    found = read_messages(data.draw(pieces_of(octets)))
    assert [{**head, "content": content, "trailers": trailers} for head, content, trailers in found] == [
        expected for _, expected in sent
    ]


@given(
    st.sampled_from(
        ["200 OK", "404 Not Found", "204 No Content", "205 Reset Content", "304 Not Modified", "599 \xe9\t"]
    ),
    st.lists(st.tuples(TOKENS, VALUES), max_size=5),
    st.none() | st.integers(0, 10**12),
    st.none() | st.integers(0, 10**12),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.booleans(),
)
def test_a_response_head_is_read_as_it_was_written(
    status: str,
    fields: list[tuple[str, str]],
    stated: int | None,
    known: int | None,
    minor: int,
    head: bool,
    keep: bool,
) -> None:
    given_fields = [*fields, ("Content-Length", str(stated))] if stated is not None else fields
    try:
        made = response_head(
            status,
            given_fields,
            minor=minor,
            head_request=head,
            keep_alive=keep,
            length=known,
            date=b"Date: x\r\n",
            server=b"",
        )
    except ApplicationError:
        names = {name.lower() for name, _ in fields}
        assert names & {"connection", "te", "trailer", "trailers", "upgrade", "keep-alive", "content-length"}
        return
    line, *lines, last, behind = made.data.decode("latin-1").split("\r\n")
    assert (line, last, behind) == (f"HTTP/1.1 {status}", "", "")
    read = [tuple(one.split(": ", 1)) for one in lines]
    own = {"content-length", "transfer-encoding", "connection", "date"}
    assert [one for one in read if one[0].lower() not in own] == [one for one in fields if one[0].lower() not in own]
    framing = {name.lower(): value for name, value in read if name.lower() in own}
    assert len(framing) == len([one for one in read if one[0].lower() in own])
    # One reading of the head says the same as the orders to the caller (RFC 9112 section 6.3).
    code = status[:3]
    if head or code in ("204", "304"):
        expected: tuple[Framing, int | None] = (Framing.NONE, None)
    elif code == "205":
        expected = (Framing.NONE, None)
        assert framing["content-length"] == "0"
    elif "content-length" in framing:
        expected = (Framing.LENGTH, int(framing["content-length"]))
    elif "transfer-encoding" in framing:
        expected = (Framing.CHUNKED, None)
        assert minor == 1
    else:
        expected = (Framing.UNTIL_CLOSE, None)
    assert (made.framing, made.length) == expected
    assert not {"content-length", "transfer-encoding"} <= set(framing)
    assert code != "204" or not {"content-length", "transfer-encoding"} & set(framing)
    assert made.keep_alive == (framing.get("connection", "keep-alive" if minor else "close") == "keep-alive")
    assert made.keep_alive <= keep
    assert "date" in framing


# ---- what is refused ----

PARTS = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\nHost: a\r\n", b"Host: a\r\n", b"\r\n", b"\n", b"\r", b"X: y\r\n",
     b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n1\r\na\r\n", b"0\r\n\r\n", b"abc", b";a=b",
     b" ", b'"',
     b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"X_Y: z\r\n", b"\0", b"\xff", b"Trailer: x\r\n"]
)  # fmt: skip
STREAMS = st.one_of(
    st.binary(max_size=60), st.lists(st.one_of(PARTS, st.binary(max_size=2)), max_size=14).map(b"".join)
)
NARROW = Limits(
    max_request_line=30, max_field=20, max_head=90, max_fields=3, max_body=9, max_chunk_line=16, max_chunk_extensions=9,
    max_trailer=20, max_trailer_fields=1,
)  # fmt: skip


@settings(max_examples=300)
@given(st.data(), STREAMS, st.sampled_from([LIMITS, NARROW]), st.booleans())
def test_any_octets_in_any_pieces_are_read_alike(data: Any, octets: bytes, limits: Limits, strict: bool) -> None:
    whole = read_messages([octets], limits, refuse_underscores=strict)  # anything but a refusal would be raised
    assert read_messages(data.draw(pieces_of(octets)), limits, refuse_underscores=strict) == whole


@given(STREAMS, STREAMS)
def test_a_reader_that_refused_is_like_a_new_one(refused: bytes, then: bytes) -> None:
    reader, new = HeadReader(NARROW), HeadReader(NARROW)
    with contextlib.suppress(RemoteError):
        while (block := reader.feed(refused)) is not None:
            refused = reader.rest
            assert block
        return  # nothing was refused
    assert (reader.started, reader.rest) == (False, b"")
    outcomes = []
    for one in (reader, new):
        try:
            outcomes.append((one.feed(then), one.rest, one.started))
        except RemoteError as error:
            outcomes.append((error.status, error.message, one.started))
    assert outcomes[0] == outcomes[1]


@given(STREAMS, STREAMS)
def test_a_body_that_was_refused_gives_nothing_more(refused: bytes, then: bytes) -> None:
    decoder = ChunkedDecoder(NARROW)
    try:
        decoder.feed(refused)
    except RemoteError:
        received = decoder.received
        for octets in (then, LAST_CHUNK, b"5\r\nhello\r\n0\r\n\r\n"):
            if octets:
                with pytest.raises(RemoteError):
                    decoder.feed(octets)
        assert (decoder.complete, decoder.trailers, decoder.rest, decoder.received) == (False, [], b"", received)


@settings(max_examples=200)
@given(st.data(), STREAMS, st.integers(1, 40))
def test_work_is_linear_in_any_octets_in_any_pieces(data: Any, octets: bytes, times: int) -> None:
    pieces = data.draw(pieces_of(octets * times))
    work = Work()
    with pytest.MonkeyPatch.context() as patch:
        for module in (headreader, body, trailer):
            patch.setattr(module, "bytearray", work.buffer, raising=False)
        read_messages(pieces)
    # What is kept when a piece ends may be looked at once more: as many octets as a CRLF and a first octet have.
    assert work.octets <= 6 * len(octets) * times + 8 * len(pieces)

"""Requests and response heads are read back as they were written, however the input is split; and a refusal leaves
nothing in a reader or decoder.
"""

from __future__ import annotations

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reserve.errors import ApplicationError, RemoteError
from reserve.protocol.http1.body import ChunkedDecoder
from reserve.protocol.http1.fields import SINGLETONS, environ_key
from reserve.protocol.http1.head import HeadReader
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import LAST_CHUNK, Framing, response_head
from reserve.protocol.http1.trailer import FORBIDDEN_TRAILERS
from tests.protocol.http1.delivery import BASE, LIMITS, read_messages
from tests.protocol.http1.strategies import STREAMS, pieces_of

TCHARS = "!#$%&'*+-.^`|~" + string.digits + string.ascii_letters
TOKENS = st.text(TCHARS, min_size=1, max_size=12)
VALUES = st.text(
    st.characters(codec="latin-1").filter(lambda char: char == "\t" or " " <= char != "\x7f"), max_size=20
).map(lambda text: text.strip(" \t"))
SPACES = st.text(" \t", max_size=3)
SPECIAL = {"", "CONNECTION", "EXPECT", "HOST", "CONTENT_LENGTH", "TRANSFER_ENCODING", "COOKIE"}
"""Keys without HTTP_ of fields that are dropped (such as Proxy), or mean something to the server."""
NAMES = TOKENS.filter(lambda name: environ_key(name).removeprefix("HTTP_") not in SPECIAL)
FIELDS = st.lists(st.tuples(NAMES, VALUES, SPACES, SPACES), max_size=6)
VISIBLE = [chr(code) for code in range(33, 127)]
TARGETS = st.text([char for char in VISIBLE if char not in "#%?"], max_size=20).map("/{}".format)
QUERIES = st.text([char for char in VISIBLE if char != "#"], max_size=10)
CONTENTS = st.lists(st.binary(min_size=1, max_size=30), max_size=4)
EXTENSIONS = st.lists(st.tuples(SPACES, TOKENS, st.one_of(st.none(), TOKENS, VALUES)), max_size=2)
TRAILERS = st.lists(
    st.tuples(TOKENS.filter(lambda name: name.lower() not in FORBIDDEN_TRAILERS), VALUES, SPACES, SPACES), max_size=3
)


def extension(spaces: str, name: str, value: str | None) -> str:
    if value is None:
        return f"{spaces};{spaces}{name}"
    quoted = (
        value if value and set(value) <= set(TCHARS) else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )
    return f"{spaces};{spaces}{name}{spaces}={spaces}{quoted}"


def field_lines(fields: list[tuple[str, str, str, str]]) -> str:
    return "".join(f"{name}:{before}{value}{after}\r\n" for name, value, before, after in fields)


@st.composite
def messages(draw: Any) -> tuple[bytes, dict[str, Any]]:
    """The bytes of one request, and what has to be read from them."""
    method = draw(TOKENS.filter(lambda token: token != "CONNECT"))
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
            extensions = "".join(extension(*drawn) for drawn in draw(EXTENSIONS))
            data += f"{len(piece):x}{extensions}\r\n".encode("latin-1") + (piece + b"\r\n" if piece else b"")
        sent = draw(TRAILERS)
        trailers = [(name, value) for name, value, _, _ in sent]
        data += field_lines(sent).encode("latin-1") + b"\r\n"
    length = {"none": 0, "length": len(content), "chunked": None}[framing]
    return (lines + "\r\n").encode("latin-1") + data, {
        "method": method, "target": target, "minor": minor, "length": length, "environ": environ, "content": content,
        "trailers": trailers, "keep_alive": minor == 1, "expect_continue": False, "remote_addr": "",
        "untrusted_fields": False,
        "from_proxy": False,
    }  # fmt: skip


def has_no_repeated_singleton(message: tuple[bytes, dict[str, Any]]) -> bool:
    data, _ = message
    names = [line.partition(b":")[0].decode("latin-1") for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    keys = [key for key in map(environ_key, names) if key in SINGLETONS]
    return len(keys) == len(set(keys))


@settings(max_examples=300)
@given(st.data(), st.lists(messages().filter(has_no_repeated_singleton), min_size=1, max_size=3))
def test_requests_are_read_as_they_were_written(data: Any, sent: list[tuple[bytes, dict[str, Any]]]) -> None:
    stream = b"".join(request for request, _ in sent)
    received = read_messages(data.draw(pieces_of(stream)))
    assert [{**head, "content": content, "trailers": trailers} for head, content, trailers in received] == [
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
    content_length: int | None,
    known_length: int | None,
    minor: int,
    head_request: bool,
    keep_alive: bool,
) -> None:
    headers = [*fields, ("Content-Length", str(content_length))] if content_length is not None else fields
    try:
        head = response_head(
            status,
            headers,
            minor=minor,
            head_request=head_request,
            keep_alive=keep_alive,
            length=known_length,
            date=b"Date: x\r\n",
            server=b"",
        )
    except ApplicationError:
        names = {name.lower() for name, _ in fields}
        assert names & {"connection", "te", "trailer", "trailers", "upgrade", "keep-alive", "content-length"}
        return
    line, *lines, last, after = head.data.decode("latin-1").split("\r\n")
    assert (line, last, after) == (f"HTTP/1.1 {status}", "", "")
    read = [tuple(text.split(": ", 1)) for text in lines]
    own = {"content-length", "transfer-encoding", "connection", "date"}
    others = [field for field in fields if field[0].lower() not in own]
    assert [field for field in read if field[0].lower() not in own] == others
    framing = {name.lower(): value for name, value in read if name.lower() in own}
    assert len(framing) == len(read) - len(others)
    # A client that reads the head finds the framing that the caller is told (RFC 9112 section 6.3).
    code = status[:3]
    if head_request or code in ("204", "304"):
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
    assert (head.framing, head.length) == expected
    assert not {"content-length", "transfer-encoding"} <= set(framing)
    assert code != "204" or not {"content-length", "transfer-encoding"} & set(framing)
    assert head.keep_alive == (framing.get("connection", "keep-alive" if minor else "close") == "keep-alive")
    assert head.keep_alive <= keep_alive
    assert "date" in framing


# ---- refusals ----

NARROW = Limits(
    max_request_line=30, max_field=20, max_head=90, max_fields=3, max_body=9, max_chunk_line=16, max_chunk_extensions=9,
    max_trailer=20, max_trailer_fields=1,
)  # fmt: skip


@settings(max_examples=300)
@given(st.data(), STREAMS, st.sampled_from([LIMITS, NARROW]), st.booleans())
def test_the_outcome_does_not_depend_on_how_the_input_is_split(
    data: Any, stream: bytes, limits: Limits, strict: bool
) -> None:
    at_once = read_messages([stream], limits, refuse_underscores=strict)  # any error but a refusal is raised
    assert read_messages(data.draw(pieces_of(stream)), limits, refuse_underscores=strict) == at_once


@given(STREAMS, STREAMS)
def test_a_reader_that_has_refused_behaves_like_a_new_one(refused: bytes, following: bytes) -> None:
    used, new = HeadReader(NARROW), HeadReader(NARROW)
    with contextlib.suppress(RemoteError):
        while (block := used.feed(refused)) is not None:
            refused = used.rest
            assert block
        return  # nothing was refused
    assert (used.started, used.rest) == (False, b"")
    outcomes = []
    for reader in (used, new):
        try:
            outcomes.append((reader.feed(following), reader.rest, reader.started))
        except RemoteError as error:
            outcomes.append((error.status, error.message, reader.started))
    assert outcomes[0] == outcomes[1]


@given(STREAMS, STREAMS)
def test_a_decoder_that_has_refused_returns_no_more_content(refused: bytes, following: bytes) -> None:
    decoder = ChunkedDecoder(NARROW)
    try:
        decoder.feed(refused)
    except RemoteError:
        received = decoder.received
        for data in (following, LAST_CHUNK, b"5\r\nhello\r\n0\r\n\r\n"):
            if data:
                with pytest.raises(RemoteError):
                    decoder.feed(data)
        assert (decoder.complete, decoder.trailers, decoder.rest, decoder.received) == (False, [], b"", received)

"""An incomplete body never looks complete, in both directions and over real sockets."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.adversity.holding import ReadsUploads, Watched, honest, watched
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import request, split, take
from tests.clients import close_with_reset, until_closed
from tests.waiting import eventually

SETTINGS = {
    "buffered": HTTPSettings(access_log=False),
    "in a file": HTTPSettings(access_log=False, body_memory=10),
    "streamed": HTTPSettings(access_log=False, stream_bodies=True),
}
each_way = pytest.mark.parametrize("how", SETTINGS)
each_framing = pytest.mark.parametrize("chunks", [0, 20], ids=["length", "chunks"])


def exchange(site: Watched, raw: bytes, *later: bytes) -> tuple[bytes, bool]:
    """Everything that arrives for these bytes until the server closes the connection; True when it was reset."""
    with site.connect() as client:
        client.sendall(raw)
        for piece in later:
            client.recv(1, socket.MSG_PEEK)  # the response has begun
            client.sendall(piece)
        with contextlib.suppress(OSError):  # the connection has been reset already
            client.shutdown(socket.SHUT_WR)
        return until_closed(client)


# ---- requests ----


@each_way
@each_framing
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the response"])
def test_an_unread_body_never_becomes_the_next_request(how: str, chunks: int, late: bool) -> None:
    app = Gate(honest)
    inner = request("GET", "/smuggled") * 20
    raw = request("POST", "/first", body=inner, chunks=chunks)
    cut = raw.index(b"\r\n\r\n") + 4 + (4 if chunks else 0)
    following = request("GET", "/last", "Connection: close")
    with watched(app, http=SETTINGS[how]) as site:
        for _ in range(20):
            if late and how == "streamed":
                received, _ = exchange(site, raw[:cut], raw[cut:] + following)
                expected = ["/first"]  # the end of the body came too late to find the next request
            else:
                received, _ = exchange(site, raw + following)
                expected = ["/first", "/last"]
            responses = [(response.status, response.body, response.whole) for response in split(received)]
            assert responses == [(200, b"honest", True)] * len(expected)
            assert app.paths == expected
            app.paths.clear()
        site.assert_nothing_left()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two hosts"),
        pytest.param(
            b"POST /bad HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody", id="two lengths"
        ),
        pytest.param(
            b"POST /bad HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="both framings",
        ),
        pytest.param(
            b"POST /bad HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n\r\n", id="bad chunk"
        ),
    ],
)
def test_no_request_after_a_refused_one_is_ever_run(bad: bytes) -> None:
    """In any pieces: a refusal that closes the connection also ends its input."""
    app = Gate(honest)
    raw = request("GET", "/first") + bad + request("GET", "/canary") * 3
    choice = random.Random(1)
    with watched(app, http=SETTINGS["buffered"]) as site:
        for _ in range(100):
            cuts = sorted(choice.sample(range(1, len(raw)), choice.randrange(1, 8)))
            with site.connect() as client:
                for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        client.sendall(raw[start:end])
                received, _ = until_closed(client)
            responses = split(received)
            assert [one.status for one in responses] == [200, 400]
            assert app.paths == ["/first"]
            app.paths.clear()
        site.assert_nothing_left()


LINES = b"one\ntwo\n\nthe third is longer than a chunk, or a few of them\r\nfour without an end"
READERS: dict[str, Callable[[Any], list[bytes]]] = {
    "readline": lambda body: list(iter(body.readline, b"")),
    "iteration": list,
    "readlines": lambda body: body.readlines(),
    "readline(n)": lambda body: joined(iter(lambda: body.readline(7), b"")),
    "read(n)": lambda body: b"".join(iter(lambda: body.read(3), b"")).splitlines(keepends=True),
    "read": lambda body: body.read().splitlines(keepends=True),
}


def joined(pieces: Iterator[bytes]) -> list[bytes]:
    pieces = list(pieces)  # type: ignore[assignment]
    assert all(len(piece) <= 7 and b"\n" not in piece[:-1] for piece in pieces)
    return b"".join(pieces).splitlines(keepends=True)


@each_way
@each_framing
@pytest.mark.parametrize("reader", READERS)
def test_lines_are_read_alike_with_every_framing(how: str, chunks: int, reader: str) -> None:
    found: list[list[bytes]] = []

    def app(environ: Any, start_response: Any) -> Any:
        found.append(READERS[reader](environ["wsgi.input"]))
        assert environ["wsgi.input"].read() == environ["wsgi.input"].readline() == b""
        return honest(environ, start_response)

    raw = request("POST", body=LINES, chunks=chunks)
    following = request("GET", "/", "Connection: close")
    with watched(app, http=SETTINGS[how]) as site, site.connect() as client:
        for at in range(0, len(raw), 11):
            client.sendall(raw[at : at + 11])
        client.sendall(following)
        assert [one.body for one in split(until_closed(client)[0])] == [b"honest"] * 2
    assert found == [LINES.splitlines(keepends=True), []]
    assert site.log == []


@each_way
@each_framing
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("missing", [1, 5, 30])
def test_a_short_upload_never_looks_complete(how: str, chunks: int, reset: bool, missing: int) -> None:
    app = ReadsUploads()
    raw = request("POST", body=b"x" * 100, chunks=chunks)[:-missing]
    with watched(app, http=SETTINGS[how]) as site:
        for number in range(10):
            client = site.connect()
            client.sendall(raw)
            if how == "streamed":
                eventually(lambda wanted=number + 1: app.events.count("called") == wanted)  # type: ignore[misc]
            close_with_reset(client) if reset else client.close()
        site.assert_nothing_left()
        site.assert_serves()
    times = 10 if how == "streamed" else 0  # a body that is received first never reaches the application
    assert sorted(app.events) == ["called"] * times + ["raised"] * times


# ---- responses ----


class Half:
    """Two pieces, and then a failure."""

    def __iter__(self) -> Iterator[bytes]:
        yield b"12345"
        yield b"67890"
        raise ValueError("the other half")


@pytest.mark.parametrize(
    ("minor", "headers"),
    [(1, []), (1, [("Content-Length", "20")]), (0, []), (0, [("Content-Length", "20")])],
    ids=["chunks", "length", "1.0 until close", "1.0 length"],
)
def test_a_response_that_failed_half_way_never_looks_complete(minor: int, headers: list[tuple[str, str]]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", headers)
        return Half()

    with watched(app, http=SETTINGS["buffered"]) as site:
        for _ in range(10):
            received, reset = exchange(site, request("GET", "/half", "Connection: keep-alive", minor=minor) + request())
            assert b"honest" not in received  # nothing may be taken for the rest of the body
            responses = split(received)
            if not minor and not headers:
                assert reset
            else:
                assert [(one.whole, one.body) for one in responses] == [(False, b"1234567890")]
        site.assert_serves()
        site.assert_nothing_left()


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
@pytest.mark.parametrize("pieces", [[b"123"], [b"123", b"4567", b"8901"]], ids=["too few", "too many"])
def test_a_response_of_another_length_than_stated_closes_the_connection(kind: Any, pieces: list[bytes]) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", [("Content-Length", "6")])
        return kind(pieces)

    with watched(app, http=SETTINGS["buffered"]) as site:
        for _ in range(10):
            received, _ = exchange(site, request("GET", "/wrong") + request())
            (response,) = split(received)
            if kind is list:  # known before the head leaves
                assert (response.status, response.whole) == (500, True)
                continue
            assert (response.status, response.body) == (200, b"".join(pieces)[:6])
            assert response.whole == (len(pieces) > 1)
        site.assert_serves()
        site.assert_nothing_left()
    assert len(site.log) == 10


@pytest.mark.parametrize("kind", [list, iter], ids=["list", "generator"])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 Not Modified")]
)
@pytest.mark.parametrize("headers", [[], [("Content-Length", "4")]], ids=["", "with a length"])
def test_nothing_follows_a_head_that_has_no_body(
    kind: Any, method: str, status: str, headers: list[tuple[str, str]]
) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response(status, headers)
        return kind([b"body"])

    with watched(app, http=SETTINGS["buffered"]) as site:
        received, _ = exchange(site, request(method, "/none") + request("GET", "/", "Connection: close"))
        first, rest = take(received, head=method == "HEAD")
        assert first.status == int(status[:3])
        assert rest.startswith(b"HTTP/1.1 200 OK\r\n")
        assert [one.body for one in split(rest)] == [b"honest"]


EVIL = "evil: 1"


@pytest.mark.parametrize("text", ["\r", "\n", "\0", "\r\n", "\r\n\r\n"], ids=["CR", "LF", "NUL", "CRLF", "CRLFCRLF"])
@pytest.mark.parametrize("place", ["status", "name", "value", "late"])
def test_no_line_break_leaves_in_a_head(text: str, place: str) -> None:
    poison = f"x{text}{EVIL}"

    def app(environ: Any, start_response: Any) -> Any:
        if place == "status":
            start_response(f"200 {poison}", [])
        elif place == "name":
            start_response("200 OK", [(poison, "v")])
        elif place == "value":
            start_response("200 OK", [("X-Name", poison)])
        else:  # added to the list after the check
            headers = [("X-Name", "good")]
            start_response("200 OK", headers)
            headers.append(("X-Name", poison))
        return [b"body"]

    with watched(app, http=SETTINGS["buffered"]) as site:
        received, _ = exchange(site, request("GET", "/", "Connection: close"))
        head = received.partition(b"\r\n\r\n")[0]
        assert EVIL.encode() not in head
        assert b"\0" not in received
        assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
        (response,) = split(received)
        assert (response.status, response.whole) == (200 if place == "late" else 500, True)

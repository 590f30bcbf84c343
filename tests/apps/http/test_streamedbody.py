"""``--stream-bodies`` and ``--expect app``: the application runs at the end of the head and reads the body itself."""

from __future__ import annotations

import dataclasses
import io
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.apps.http.streamedbody import BodyRefused
from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.testing import FakeClock, MemoryClient, running
from tests.apps.http.doubles import STREAM, hooks_logging_to
from tests.apps.http.responses import CONTINUE, fetch, receive, request, split

EXPECT = HTTPSettings(expect="app")
BODY = b"one\ntwo\n\nlast line without an end" + b"z" * 200

Read = Callable[[Any], bytes]
WAYS: dict[str, Read] = {
    "read": lambda stream: stream.read(),
    "read(n)": lambda stream: b"".join(iter(lambda: stream.read(7), b"")),
    "readline": lambda stream: b"".join(iter(stream.readline, b"")),
    "readline(n)": lambda stream: b"".join(iter(lambda: stream.readline(3), b"")),
    "readlines": lambda stream: b"".join(stream.readlines()),
    "readlines(n)": lambda stream: b"".join(iter(lambda: b"".join(stream.readlines(5)), b"")),
    "iteration": lambda stream: b"".join(stream),
    "mixed": lambda stream: stream.readline() + stream.read(5) + next(iter(stream), b"") + stream.read(),
}


def echo(read: Read, bodies: list[bytes] | None = None) -> Any:
    """An application that responds with the body; ``bodies`` gets it, too."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        data = read(stream)
        assert stream.read() == stream.read(9) == stream.readline() == b""
        assert list(stream) == stream.readlines() == []
        if bodies is not None:
            bodies.append(data)
        start_response("200 OK", [])
        return [data]

    return app


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("segment", [None, 1])
@pytest.mark.parametrize("chunks", [0, 1, 50, 9999])
def test_every_way_to_read_returns_the_body_and_nothing_after_it(way: str, segment: int | None, chunks: int) -> None:
    client = MemoryClient(echo(WAYS[way]), STREAM)
    client.socket.segment = segment
    raw = request("POST", "/", body=BODY, chunks=chunks)
    responses = split(client.send(raw + request("GET") + raw + request("POST", body=b"")))
    assert [response.body for response in responses] == [BODY, b"", BODY, b""]
    assert all("connection" not in response.fields for response in responses)
    assert client.log == []
    client.close()


def test_lines_are_those_of_a_file() -> None:
    lines: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        lines.extend(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    client = MemoryClient(app, STREAM)
    client.send(request("POST", body=BODY, chunks=3))
    assert lines == list(io.BytesIO(BODY))
    client.close()


@pytest.mark.parametrize("settings", [STREAM, EXPECT])
@pytest.mark.parametrize("chunks", [0, 20])
@pytest.mark.parametrize("part", [0, 10])
@pytest.mark.parametrize("segment", [None, 1])
def test_a_body_that_the_application_does_not_read_is_not_taken_for_a_request(
    settings: HTTPSettings, chunks: int, part: int, segment: int | None
) -> None:
    inner = request("GET", "/smuggled") * 20
    paths = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        environ["wsgi.input"].read(part)
        start_response("200 OK", [])
        return [b"unread"]

    client = MemoryClient(app, settings)
    client.socket.segment = segment
    fields = ["Expect: 100-continue"] if settings is EXPECT else []
    raw = request("POST", "/a", *fields, body=inner, chunks=chunks)
    responses = split(client.send(raw + request("GET", "/b")).replace(CONTINUE, b""))
    # The end of the body has arrived: what follows is a request, and the connection is kept.
    assert paths == ["/a", "/b"]
    assert [response.text for response in responses] == ["unread", "unread"]
    client.close()


@pytest.mark.parametrize("sent", [0, 1000, 200_000])
def test_a_body_that_has_not_arrived_when_the_response_begins_closes_the_connection(sent: int) -> None:
    paths = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        paths.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"early"]

    client = MemoryClient(app, STREAM)
    raw = request("POST", "/a", body=b"x" * 300_000)
    (response,) = split(client.send(raw[: len(raw) - 300_000 + sent]))
    assert (response.text, response.fields["connection"], client.closed) == ("early", "close", True)
    assert paths == ["/a"]


@pytest.mark.parametrize("order", ["length first", "echo", "write"])
@pytest.mark.parametrize("segment", [None, 1])
@pytest.mark.parametrize("chunks", [0, 11])
@pytest.mark.parametrize("copies", [1, 1000])
def test_reading_after_the_response_has_begun(order: str, segment: int | None, chunks: int, copies: int) -> None:
    body = BODY * (copies if segment is None else 1)

    def app(environ: Any, start_response: Any) -> Any:
        stream = environ["wsgi.input"]
        if order == "length first":
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [stream.read()]
        write = start_response("200 OK", [])
        if order == "write":
            for piece in iter(lambda: stream.read(7 * copies), b""):
                write(piece)
            return []
        return iter(lambda: stream.read(7 * copies), b"")

    client = MemoryClient(app, STREAM)
    client.socket.segment = segment
    (response,) = split(client.send(request("POST", body=body, chunks=chunks)))
    assert response.body == body
    assert client.log == []
    client.close()


def test_the_100_is_sent_at_the_first_read() -> None:
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(bytes(client.socket.outgoing))
        stream = environ["wsgi.input"]
        client.socket.incoming += b"content"
        seen.append(stream.read(3))
        seen.append(bytes(client.socket.outgoing))
        seen.append(stream.read())
        start_response("200 OK", [])
        return [b"done"]

    client = MemoryClient(app, EXPECT)
    raw = request("POST", "/", "Expect: 100-continue", body=b"content")
    out = client.send(raw[:-7])
    assert seen == [b"", b"con", CONTINUE, b"tent"]
    assert out.startswith(CONTINUE)
    (response,) = split(out.removeprefix(CONTINUE))
    assert (response.text, "connection" in response.fields, client.closed) == ("done", False, False)
    client.close()


def test_without_a_read_no_100_is_sent_and_the_connection_closes() -> None:
    paths = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        paths.append(1)
        start_response("403 Forbidden", [])
        return [b"no"]

    client = MemoryClient(app, EXPECT)
    (response,) = split(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 7")))
    assert (response.status, response.fields["connection"], client.closed) == (403, "close", True)
    client.send(request())
    assert paths == [1]


def test_no_100_is_sent_within_a_response() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun "
        client.socket.incoming += b"content"
        yield environ["wsgi.input"].read()

    client = MemoryClient(app, EXPECT)
    (response,) = split(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 7")))
    assert (response.text, response.fields["connection"], client.closed) == ("begun content", "close", True)


def test_with_expect_app_bodies_without_an_expectation_are_buffered() -> None:
    bodies: list[bytes] = []
    client = MemoryClient(echo(WAYS["read"], bodies), EXPECT)
    raw = request("POST", body=b"12345")
    client.send(raw[:-1])
    assert bodies == []
    client.send(raw[-1:])
    assert bodies == [b"12345"]
    client.close()


# ---- bodies that fail ----


def malformed(status: int) -> tuple[HTTPSettings, bytes]:
    if status == 413:
        limits = Limits(max_body=10)
        return HTTPSettings(stream_bodies=True, limits=limits), request("POST", body=b"x" * 20, chunks=5)
    if status == 431:
        limits = Limits(max_trailer=20)
        raw = request("POST", body=b"x", chunks=1)[:-2] + b"A: " + b"a" * 30 + b"\r\n\r\n"
        return HTTPSettings(stream_bodies=True, limits=limits), raw
    return STREAM, request("POST", body=b"x" * 20, chunks=5)[:-5] + b"nonsense\r\n"


@pytest.mark.parametrize("status", [400, 413, 431])
def test_a_body_that_breaks_a_rule_is_refused_and_logged_without_a_traceback(status: int) -> None:
    settings, raw = malformed(status)
    client = MemoryClient(echo(WAYS["read"]), settings)
    (response,) = split(client.send(raw + request("GET", "/next")))
    assert (response.status, response.fields["connection"], client.closed) == (status, "close", True)
    (line,) = client.log
    assert line.startswith(f"127.0.0.1:50000: {status} ")
    assert "Traceback" not in line


def test_a_malformed_body_aborts_a_response_that_has_begun() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        environ["wsgi.input"].read()

    settings, raw = malformed(400)
    client = MemoryClient(app, settings)
    (response,) = split(client.send(raw))
    assert (response.status, response.text, response.whole, client.closed) == (200, "begun", False, True)


def test_an_application_may_respond_to_a_malformed_body_itself() -> None:
    caught: list[Exception] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except OSError as error:  # what frameworks expect of an upload that fails
                caught.append(error)
        start_response("422 Unprocessable Content", [])
        return [b"mine"]

    settings, raw = malformed(400)
    client = MemoryClient(app, settings)
    (response,) = split(client.send(raw + request("GET", "/next")))
    assert (response.status, response.text, client.closed) == (422, "mine", True)
    assert caught[0] is caught[1]
    assert isinstance(caught[0], BodyRefused)
    assert isinstance(caught[0], RemoteError)
    assert isinstance(caught[0], ClientDisconnected)


@pytest.mark.parametrize("chunks", [0, 6])
@pytest.mark.parametrize("missing", [1, 10])
def test_a_short_upload_never_looks_complete(chunks: int, missing: int) -> None:
    bodies: list[bytes] = []
    client = MemoryClient(echo(WAYS["read"], bodies), STREAM)
    client.socket.ended = True
    assert client.send(request("POST", body=BODY, chunks=chunks)[:-missing]) == b""
    assert (bodies, client.closed) == ([], True)


def test_reading_from_a_client_that_sends_no_more_raises_client_disconnected() -> None:
    caught: list[Exception] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except ClientDisconnected as error:
            caught.append(error)
            raise
        raise AssertionError

    client = MemoryClient(app, STREAM)
    client.send(request("POST", body=b"x" * 100)[:-1])  # no thread can send more while the application waits
    assert len(caught) == 1
    assert client.closed
    assert client.log == []


# ---- with real sockets ----


def test_a_slow_body_is_refused_and_the_refusal_arrives() -> None:
    settings = dataclasses.replace(STREAM, body_timeout=0.05, body_rate=0)
    logged: list[str] = []
    with running(echo(WAYS["read"]), http=settings, threads=1, hooks=hooks_logging_to(logged)) as served:
        with served.connect() as client:
            client.sendall(request("POST", body=b"x" * 100)[:-1])
            response = receive(client)
            assert (response.status, response.fields["connection"]) == (408, "close")
            assert client.recv(1) == b""
        assert fetch(served).status == 200
    assert len(logged) == 1
    assert "408" in logged[0]


def test_the_time_that_the_application_takes_does_not_count_for_the_client() -> None:

    def app(environ: Any, start_response: Any) -> list[bytes]:
        clock.advance(1000)  # much longer than any deadline
        data = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [data]

    clock = FakeClock()
    settings = HTTPSettings(expect="app", access_log=False)
    with running(app, http=settings, clock=clock) as served, served.connect() as client:
        client.sendall(request("POST", "/", "Expect: 100-continue", "Content-Length: 7"))
        assert client.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        client.sendall(b"content")
        assert receive(client).text == "content"


def test_a_client_that_reads_before_it_sends_more() -> None:
    """An echo of pieces: neither side may wait for the other while bytes wait in the server's output."""
    size, piece = 8_000_000, 65_536

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(size))])
        return iter(lambda: environ["wsgi.input"].read(piece), b"")

    body = bytes(range(256)) * (size // 256)
    with running(app, http=STREAM, threads=1) as served, served.connect(30) as client:
        sender = threading.Thread(target=client.sendall, args=(request("POST", body=body),))
        sender.start()
        response = receive(client)
        sender.join()
    assert response.body == body

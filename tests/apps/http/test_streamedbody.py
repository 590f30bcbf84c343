"""``--stream-bodies`` and ``--expect app``: the application runs at the end of the head and reads for itself."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.apps.http.streamedbody import BodyRefused
from reserve.engine.server import Hooks
from reserve.errors import ClientDisconnected, RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.testing import FakeClock, MemoryClient, running
from tests.apps.http.responses import receive, request, split

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STREAM = HTTPSettings(stream_bodies=True)
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


def echo(read: Read, found: list[bytes] | None = None) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        data = read(stream)
        assert stream.read() == stream.read(9) == stream.readline() == b""
        assert list(stream) == stream.readlines() == []
        if found is not None:
            found.append(data)
        start_response("200 OK", [])
        return [data]

    return app


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("segment", [None, 1])
@pytest.mark.parametrize("chunks", [0, 1, 50, 9999])
def test_every_way_to_read_gives_the_body_and_nothing_behind_it(way: str, segment: int | None, chunks: int) -> None:
    client = MemoryClient(echo(WAYS[way]), STREAM)
    client.socket.segment = segment
    raw = request("POST", "/", body=BODY, chunks=chunks)
    responses = split(client.send(raw + request("GET") + raw + request("POST", body=b"")))
    assert [response.body for response in responses] == [BODY, b"", BODY, b""]
    assert all("connection" not in response.fields for response in responses)
    assert client.log == []
    client.close()


def test_what_a_line_is() -> None:
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        found.extend(environ["wsgi.input"])
        start_response("200 OK", [])
        return []

    client = MemoryClient(app, STREAM)
    client.send(request("POST", body=BODY, chunks=3))
    assert found == list(io.BytesIO(BODY))
    client.close()


@pytest.mark.parametrize("settings", [STREAM, EXPECT])
@pytest.mark.parametrize("chunks", [0, 20])
@pytest.mark.parametrize("part", [0, 10])
@pytest.mark.parametrize("segment", [None, 1])
def test_an_unread_body_is_no_request(settings: HTTPSettings, chunks: int, part: int, segment: int | None) -> None:
    inner = request("GET", "/smuggled") * 20
    calls = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        environ["wsgi.input"].read(part)
        start_response("200 OK", [])
        return [b"unread"]

    client = MemoryClient(app, settings)
    client.socket.segment = segment
    fields = ["Expect: 100-continue"] if settings is EXPECT else []
    raw = request("POST", "/a", *fields, body=inner, chunks=chunks)
    responses = split(client.send(raw + request("GET", "/b")).replace(CONTINUE, b""))
    # All of it is there, so it can be told apart from what follows, and the connection goes on.
    assert calls == ["/a", "/b"]
    assert [response.text for response in responses] == ["unread", "unread"]
    client.close()


@pytest.mark.parametrize("sent", [0, 1000, 200_000])
def test_a_body_that_is_not_there_at_the_response_ends_the_connection(sent: int) -> None:
    calls = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"early"]

    client = MemoryClient(app, STREAM)
    raw = request("POST", "/a", body=b"x" * 300_000)
    (response,) = split(client.send(raw[: len(raw) - 300_000 + sent]))
    assert (response.text, response.fields["connection"], client.closed) == ("early", "close", True)
    assert calls == ["/a"]


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


def test_the_100_goes_out_with_the_first_read() -> None:
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


def test_without_a_read_there_is_no_100_and_the_connection_ends() -> None:
    calls = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(1)
        start_response("403 Forbidden", [])
        return [b"no"]

    client = MemoryClient(app, EXPECT)
    (response,) = split(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 7")))
    assert (response.status, response.fields["connection"], client.closed) == (403, "close", True)
    client.send(request())
    assert calls == [1]


def test_no_100_stands_in_the_midst_of_a_response() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun "
        client.socket.incoming += b"content"
        yield environ["wsgi.input"].read()

    client = MemoryClient(app, EXPECT)
    (response,) = split(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 7")))
    assert (response.text, response.fields["connection"], client.closed) == ("begun content", "close", True)


def test_expect_app_receives_other_bodies_itself() -> None:
    app: list[bytes] = []
    client = MemoryClient(echo(WAYS["read"], app), EXPECT)
    raw = request("POST", body=b"12345")
    client.send(raw[:-1])
    assert app == []
    client.send(raw[-1:])
    assert app == [b"12345"]
    client.close()


# ---- bodies that fail ----


def broken(status: int) -> tuple[HTTPSettings, bytes]:
    if status == 413:
        limits = Limits(max_body=10)
        return HTTPSettings(stream_bodies=True, limits=limits), request("POST", body=b"x" * 20, chunks=5)
    if status == 431:
        limits = Limits(max_trailer=20)
        raw = request("POST", body=b"x", chunks=1)[:-2] + b"A: " + b"a" * 30 + b"\r\n\r\n"
        return HTTPSettings(stream_bodies=True, limits=limits), raw
    return STREAM, request("POST", body=b"x" * 20, chunks=5)[:-5] + b"nonsense\r\n"


@pytest.mark.parametrize("status", [400, 413, 431])
def test_a_body_that_breaks_a_rule_is_the_clients_fault(status: int) -> None:
    settings, raw = broken(status)
    client = MemoryClient(echo(WAYS["read"]), settings)
    (response,) = split(client.send(raw + request("GET", "/next")))
    assert (response.status, response.fields["connection"], client.closed) == (status, "close", True)
    (line,) = client.log
    assert line.startswith(f"127.0.0.1:50000: {status} ")
    assert "Traceback" not in line


def test_a_broken_body_behind_the_beginning_of_a_response_breaks_it_off() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"begun"
        environ["wsgi.input"].read()

    settings, raw = broken(400)
    client = MemoryClient(app, settings)
    (response,) = split(client.send(raw))
    assert (response.status, response.text, response.whole, client.closed) == (200, "begun", False, True)


def test_an_application_may_response_for_a_broken_body_itself() -> None:
    caught: list[Exception] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        for _ in range(2):
            try:
                environ["wsgi.input"].read()
            except OSError as error:  # what frameworks expect of an upload that fails
                caught.append(error)
        start_response("422 Unprocessable Content", [])
        return [b"mine"]

    settings, raw = broken(400)
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
    found: list[bytes] = []
    client = MemoryClient(echo(WAYS["read"], found), STREAM)
    client.socket.ended = True
    assert client.send(request("POST", body=BODY, chunks=chunks)[:-missing]) == b""
    assert (found, client.closed) == ([], True)


def test_a_lost_connection_is_told_to_who_reads() -> None:
    caught: list[Exception] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except ClientDisconnected as error:
            caught.append(error)
            raise
        raise AssertionError

    client = MemoryClient(app, STREAM)
    client.send(request("POST", body=b"x" * 100)[:-1])  # it waits, and nobody could send meanwhile
    assert len(caught) == 1
    assert client.closed
    assert client.log == []


# ---- with real sockets ----


def test_a_slow_body_is_refused_and_the_refusal_arrives() -> None:
    settings = HTTPSettings(stream_bodies=True, body_timeout=0.05, body_rate=0, access_log=False)
    logged: list[str] = []
    with running(
        echo(WAYS["read"]), http=settings, threads=1, hooks=Hooks(error_log=lambda level, text: logged.append(text))
    ) as served:
        with served.connect() as client:
            client.sendall(request("POST", body=b"x" * 100)[:-1])
            response = receive(client)
            assert (response.status, response.fields["connection"]) == (408, "close")
            assert client.recv(1) == b""
        assert receive_one(served, request()).status == 200
    assert len(logged) == 1
    assert "408" in logged[0]


def test_an_application_that_is_slow_itself_makes_no_client_late() -> None:

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
    """An echo of pieces: neither side may wait for the other while bytes lie in the server's output."""
    size, piece = 8_000_000, 65_536

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", str(size))])
        return iter(lambda: environ["wsgi.input"].read(piece), b"")

    body = bytes(range(256)) * (size // 256)
    settings = HTTPSettings(stream_bodies=True, access_log=False)
    with running(app, http=settings, threads=1) as served, served.connect(30) as client:
        sender = threading.Thread(target=client.sendall, args=(request("POST", body=body),))
        sender.start()
        response = receive(client)
        sender.join()
    assert response.body == body


def receive_one(served: Any, raw: bytes) -> Any:
    with served.connect() as client:
        client.sendall(raw)
        return receive(client)

"""Requests on one connection, limits, deadlines and the stop of a server: in memory, with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.apps._accesslog.log import AccessLog
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.http1.limits import Limits
from reserve.testing import MemoryClient
from tests.apps.http.doubles import Recorder, returning
from tests.apps.http.responses import only, request, split


def limited(**limits: int) -> HTTPSettings:
    return HTTPSettings(limits=Limits(**limits))


# ---- one request after another ----


@pytest.mark.parametrize(
    ("minor", "field", "kept", "connection"),
    [
        (1, None, True, None),
        (1, "Connection: close", False, "close"),
        (1, "Connection: keep-alive", True, None),
        (1, "Connection: keep-alive, close", False, "close"),
        (0, None, False, "close"),
        (0, "Connection: keep-alive", True, "keep-alive"),
        (0, "Connection: close", False, "close"),
    ],
)
def test_keep_alive_of_both_versions(minor: int, field: str | None, kept: bool, connection: str | None) -> None:
    client = MemoryClient(Recorder())
    response = only(client.send(request("GET", "/a", *([field] if field else []), minor=minor)))
    assert response.text == "/a "
    assert response.fields.get("connection") == connection
    assert client.closed is not kept
    if kept:
        assert only(client.send(request("GET", "/b", "Connection: close"))).text == "/b "
    assert client.closed


IDENTITY: ContextVar[str] = ContextVar("IDENTITY", default="nobody")


class Identified:
    """Sets :data:`IDENTITY` from the path, and notes what it is before that, at each item and in ``close()``."""

    def __init__(self, seen: list[str], name: str) -> None:
        self.seen = seen
        self.name = name

    def __iter__(self) -> Iterator[bytes]:
        for step in ("first", "second"):
            self.seen.append(IDENTITY.get())
            IDENTITY.set(f"{self.name} {step}")
            yield step.encode()

    def close(self) -> None:
        self.seen.append(IDENTITY.get())
        if self.name == "/raises":
            raise RuntimeError("on purpose")


@pytest.mark.parametrize("path", ["/a", "/raises"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("settings", [None, HTTPSettings(stream_bodies=True)])
def test_one_request_has_one_context_and_the_next_has_another(
    path: str, method: str, settings: HTTPSettings | None
) -> None:
    seen: list[str] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(IDENTITY.get())
        IDENTITY.set("called")
        start_response("200 OK", [])
        return Identified(seen, environ["PATH_INFO"])

    client = MemoryClient(app, settings)
    for _ in range(3):
        client.send(request(method, path))
        # For HEAD the iteration ends at the first piece, and close() follows it.
        assert seen == ["nobody", "called", f"{path} first", f"{path} second"][: 3 if method == "HEAD" else 4]
        seen.clear()
    assert IDENTITY.get() == "nobody"
    client.close()


def test_a_request_that_fails_leaves_nothing_in_the_context() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        assert IDENTITY.get() == "nobody"
        IDENTITY.set("somebody")
        raise RuntimeError("on purpose")

    for _ in range(2):
        client = MemoryClient(app)
        client.send(request())
        (line,) = client.log
        assert "on purpose" in line
        client.close()


def test_keep_alive_can_be_turned_off() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(keep_alive=0))
    assert only(client.send(request())).fields["connection"] == "close"
    assert client.closed


def test_the_application_can_close_the_connection() -> None:
    client = MemoryClient(returning("200 OK", [("Connection", "close")], b"last"))
    (response,) = split(client.send(request() + request()))
    assert (response.text, response.fields["connection"], client.closed) == ("last", "close", True)


@pytest.mark.parametrize("count", [1, 16, 17, 100])
@pytest.mark.parametrize("segment", [None, 1, 7])
def test_pipelined_requests_get_their_responses_in_order(count: int, segment: int | None) -> None:
    app = Recorder()
    client = MemoryClient(app)
    client.socket.segment = segment
    shapes = [{}, {"body": b"x" * 30}, {"body": b"y" * 30, "chunks": 7}, {"body": b""}]
    raw = b"".join(
        request("POST" if shapes[n % 4] else "GET", f"/{n}", **shapes[n % 4])  # type: ignore[arg-type]
        for n in range(count)
    )
    responses = split(client.send(raw))
    bodies = [str(shapes[n % 4].get("body", b"").decode()) for n in range(count)]  # type: ignore[attr-defined]
    assert [response.text for response in responses] == [f"/{n} {body}" for n, body in enumerate(bodies)]
    assert not client.closed
    client.close()


def test_input_larger_than_one_receive_is_read_to_its_end() -> None:
    # The first receive returns a part of a later request, too; the rest waits in the socket.
    app = Recorder()
    client = MemoryClient(app)
    padding = "X-Padding: " + "p" * 9000
    assert len(split(client.send(b"".join(request("GET", f"/{n}", padding) for n in range(30))))) == 30
    client.close()


def test_the_next_request_begins_when_the_response_has_left() -> None:
    app = Recorder()
    client = MemoryClient(app)
    client.read(10)
    assert len(client.send(request("GET", "/one") + request("GET", "/two"))) == 10
    assert app.paths == ["/one"]
    client.read(100_000)
    assert app.paths == ["/one", "/two"]
    client.close()


def test_empty_lines_before_a_request_are_dropped() -> None:
    client = MemoryClient(Recorder())
    assert only(client.send(b"\r\n\r\n" + request())).status == 200
    assert only(client.send(b"\r\n" + request())).status == 200
    client.close()


# ---- limits ----


@pytest.mark.parametrize(
    ("settings", "raw", "status", "option"),
    [
        (limited(max_request_line=50), request("GET", "/" + "x" * 50), 414, "--max-request-line"),
        (limited(max_request_line=50), b"M" * 60, 501, "method"),
        (limited(max_field=50), request("GET", "/", "X: " + "x" * 50), 431, "--max-field"),
        (limited(max_head=80), request("GET", "/", "X: " + "x" * 30, "Y: " + "y" * 30), 431, "--max-head"),
        (limited(max_fields=2), request("GET", "/", "A: 1", "B: 2"), 431, "--max-fields"),
        (limited(max_body=10), request("POST", body=b"x" * 11), 413, "--max-body"),
        (limited(max_body=10), request("POST", body=b"x" * 11, chunks=4), 413, "--max-body"),
        (limited(max_trailer=20), request("POST", body=b"", chunks=1)[:-2] + b"A: " + b"x" * 20, 431, "--max-trailer"),
        (limited(), b"GET / HTTP/2.0\r\n\r\n", 505, "HTTP/2.0"),
        (limited(), b"GET / HTTP/1.1\r\n\r\n", 400, "Host"),
        (limited(), request("GET", "/", "Expect: magic"), 417, "Expect"),
        (limited(), request("GET", "/", "Transfer-Encoding: gzip"), 501, "chunked"),
        (limited(), b"\x16\x03\x01", 400, "TLS"),
    ],
)
@pytest.mark.parametrize("segment", [None, 1])
def test_a_request_that_breaks_a_rule_is_refused_once(
    settings: HTTPSettings, raw: bytes, status: int, option: str, segment: int | None
) -> None:
    app = Recorder()
    client = MemoryClient(app, settings)
    client.socket.segment = segment
    response = only(client.send(raw))
    assert (response.status, response.fields["connection"]) == (status, "close")
    assert option in response.text
    assert client.closed
    assert app.environs == []
    (line,) = client.log
    assert line.startswith(f"127.0.0.1:50000: {status} ")
    assert option in line


@pytest.mark.parametrize("settings", [limited(max_body=10), limited(max_body=10, max_chunk_line=20)])
@pytest.mark.parametrize("chunks", [0, 4])
def test_the_limit_itself_is_allowed(settings: HTTPSettings, chunks: int) -> None:
    client = MemoryClient(Recorder(), settings)
    assert only(client.send(request("POST", body=b"0123456789", chunks=chunks))).text == "/ 0123456789"
    client.close()


@pytest.mark.parametrize("raw", [b"HEAD / HTTP/1.1\r\n\r\n", request("HEAD", "/", "Content-Length: 99")])
def test_a_refused_head_request_gets_no_body(raw: bytes) -> None:
    client = MemoryClient(Recorder(), limited(max_body=10))
    response = client.send(raw)
    assert response.startswith(b"HTTP/1.1 4")
    assert response.endswith(b"\r\n\r\n")
    assert client.closed


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_refused_head_request_gets_no_body_wherever_its_bytes_are_split(cut: int) -> None:
    sent = b"HEAD /a b HTTP/1.1\r\nHost: a\r\n\r\n"
    client = MemoryClient(Recorder())
    response = client.send(sent[:cut]) + (b"" if client.closed else client.send(sent[cut:]))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert response.endswith(b"\r\n\r\n")


def test_a_head_request_that_is_too_slow_gets_no_body() -> None:
    client = MemoryClient(Recorder())
    assert client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n") == b""
    response = client.advance(HTTPSettings().head_timeout + 1)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert response.endswith(b"\r\n\r\n")


# ---- time ----


def test_a_connection_on_which_nothing_is_sent_closes_without_a_response() -> None:
    client = MemoryClient(Recorder())
    assert client.advance(9.9) == b""
    assert not client.closed
    assert client.advance(0.1) == b""
    assert (client.closed, client.log) == (True, [])


def test_a_slow_head_is_refused_at_its_total_deadline() -> None:
    client = MemoryClient(Recorder())
    for byte in request()[:9]:
        client.send(bytes([byte]))
        assert client.advance(1.0) == b""
    assert not client.closed
    response = only(client.advance(1.0))
    assert (response.status, client.closed) == (408, True)
    assert "--head-timeout" in client.log[0]


def test_the_time_of_a_later_head_begins_with_its_first_byte() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(keep_alive=15, head_timeout=10))
    client.send(request())
    client.advance(14)
    client.send(b"GET")
    assert client.advance(9) == b""
    assert only(client.send(request()[3:])).status == 200
    assert client.advance(14) == b""
    assert not client.closed
    assert client.advance(1) == b""
    assert (client.closed, client.log) == (True, [])


def test_empty_lines_do_not_prolong_a_connection() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(keep_alive=15))
    client.send(request())
    client.advance(10)
    client.send(b"\r\n")
    client.advance(5)
    assert client.closed


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_body_must_keep_up_its_rate(chunks: int) -> None:
    settings = HTTPSettings(body_timeout=20, body_rate=10)
    client = MemoryClient(Recorder(), settings)
    raw = request("POST", body=b"x" * 1000, chunks=chunks)
    head, body = raw[: raw.index(b"\r\n\r\n") + 4], raw[raw.index(b"\r\n\r\n") + 4 :]
    step = len(body) // 100  # 10 bytes of content, with their chunk lines
    client.send(head)
    sent = 0
    for _ in range(60):  # longer than body_timeout, at the rate that is asked for
        client.send(body[sent : sent + step])
        sent += step
        assert client.advance(1.0) == b""
    assert not client.closed
    response = only(client.advance(25))
    assert (response.status, client.closed) == (408, True)
    assert "--body-timeout, --body-rate" in client.log[0]


def test_without_a_rate_the_timeout_is_for_the_complete_body() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(body_timeout=20, body_rate=0))
    client.send(request("POST", body=b"x" * 1000)[:-1])
    client.advance(19)
    assert not client.closed
    assert only(client.advance(1)).status == 408


def test_a_client_that_does_not_read_is_disconnected() -> None:
    client = MemoryClient(Recorder())
    client.read(0)
    client.send(request())
    client.advance(29)
    assert not client.closed
    client.read(5)  # its time begins again
    client.advance(29)
    assert not client.closed
    client.advance(1)
    assert client.closed


# ---- the stop of the server ----


def test_a_stop_closes_idle_connections() -> None:
    fresh, idle = MemoryClient(Recorder()), MemoryClient(Recorder())
    idle.send(request())
    assert (fresh.stop(), fresh.closed) == (b"", True)
    assert (idle.stop(), idle.closed) == (b"", True)


@pytest.mark.parametrize("sent", [5, -3])
def test_a_stop_waits_for_a_request_that_has_begun(sent: int) -> None:
    client = MemoryClient(Recorder())
    raw = request("POST", body=b"abcdef")
    client.send(raw[:sent])
    assert client.stop() == b""
    assert not client.closed
    response = only(client.send(raw[sent:]))
    assert (response.text, response.fields["connection"], client.closed) == ("/ abcdef", "close", True)


def test_the_response_of_an_application_that_runs_during_a_stop_says_close() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        client.server.retiring = client.server.stopping = True
        start_response("200 OK", [])
        return [b"whole"]

    client = MemoryClient(app)
    response = only(client.send(request()))
    assert (response.text, response.fields["connection"], client.closed) == ("whole", "close", True)


def test_a_request_that_is_refused_for_overload_gets_a_503() -> None:
    client = MemoryClient(Recorder())
    response = only(client._driver.refuse("overload") or b"")
    assert (response.status, response.fields["retry-after"], response.fields["connection"]) == (503, "1", "close")
    client.close()


# ---- what a request holds while its client is slow ----


def test_the_environ_of_a_head_with_many_fields_is_the_same_when_its_body_comes_later() -> None:
    fields = [f"X-{number}: {number}" for number in range(100)]
    raw = request("POST", "/a%41?b", "Referer: r", *fields, body=b"content")
    app = Recorder()
    at_once, later = MemoryClient(app), MemoryClient(app)
    assert only(at_once.send(raw)).status == 200
    for size in (7, 3, 0):
        sent, raw = raw[: len(raw) - size], raw[len(raw) - size :]
        assert app.bodies == [b"content"]
        received = later.send(sent)
        if size == 7:
            head = later._driver._head  # type: ignore[attr-defined]
            assert head.environ == {}
    assert only(received).status == 200
    first, second = app.environs
    for environ in app.environs:
        for key in ("wsgi.input", "wsgi.errors", "REMOTE_PORT"):
            environ.pop(key, None)
        for key in [key for key, value in environ.items() if callable(value)]:  # of two servers, so not the same
            environ[key] = "a callable"
    assert first == second
    assert (second["PATH_INFO"], second["HTTP_X_99"]) == ("/aA", "99")


def test_the_access_log_has_the_fields_of_a_head_with_many_fields_whose_body_came_too_slowly() -> None:
    records: list[Any] = []
    app = HTTPApp(WSGIGateway(Recorder()), HTTPSettings())
    app.access_log = cast(AccessLog, SimpleNamespace(put=records.append))
    client = MemoryClient(app)
    fields = [f"X-{number}: {number}" for number in range(100)]
    client.send(request("POST", "/", "Referer: from", "User-Agent: me", *fields, body=b"x" * 10)[:-10])
    assert only(client.advance(1000)).status == 408
    assert [(record[5], *record[7:]) for record in records] == [(408, "from", "me")]

"""Whatever an application returns, its client gets one response with one end (RFC 9112, PEP 3333)."""

from __future__ import annotations

from typing import Any

import pytest

from reserve.testing import MemoryClient
from tests.apps.http.doubles import STREAM
from tests.apps.http.responses import Response, request, split, take

NO_CONTENT = ("204 No Content", "205 Reset Content", "304 Not Modified")


def responding(status: str, headers: list[tuple[str, str]], pieces: list[bytes], kind: str) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", [("Content-Length", "4")])
            return [b"next"]
        write = start_response(status, list(headers))
        if kind == "write":
            for piece in pieces:
                write(piece)
            return []
        return list(pieces) if kind == "list" else iter(pieces)

    return app


def exchange(app: Any, method: str, minor: int) -> tuple[list[Response], MemoryClient]:
    """Send one request, and another to /next if the connection is kept."""
    client = MemoryClient(app)
    raw = client.send(request(method, "/", "Connection: keep-alive", minor=minor))
    response, remaining = take(raw, head=method == "HEAD")
    assert remaining == b"", "bytes after the end of the response"
    responses = [response]
    if not client.closed:
        responses += split(client.send(request("GET", "/next", "Connection: close")))
        assert responses[1].body == b"next"
    assert client.closed
    return responses, client


@pytest.mark.parametrize("status", [*NO_CONTENT, "200 OK", "404 Not Found"])
@pytest.mark.parametrize("stated", [None, "0", "5", "9"])
@pytest.mark.parametrize("pieces", [[], [b""], [b"hello"], [b"he", b"llo"]])
@pytest.mark.parametrize("kind", ["list", "iterator", "write"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("minor", [0, 1])
def test_the_client_gets_one_response_with_one_end(
    status: str, stated: str | None, pieces: list[bytes], kind: str, method: str, minor: int
) -> None:
    headers = [] if stated is None else [("Content-Length", stated)]
    (response, *following), client = exchange(responding(status, headers, pieces, kind), method, minor)
    fields = response.fields
    assert not {"content-length", "transfer-encoding"} <= set(fields)
    assert {"date", "server"} <= set(fields)
    assert fields.get("connection", "keep-alive" if minor else None) in ("keep-alive", "close")
    if client.log == []:  # a response that fails after its head can only be cut
        assert (fields.get("connection") == "close") == (not following)
    body = b"".join(pieces)
    if status in NO_CONTENT:
        # A body or a length that the application gives here is not sent; no client could tell where it ends.
        assert response.body == b""
        assert response.status == int(status[:3])
        assert "transfer-encoding" not in fields
        assert fields.get("content-length") == {"204": None, "205": "0", "304": stated}[status[:3]]
        assert following != []
    elif method == "HEAD":
        assert following != []
        assert fields.get("content-length", stated) == stated or stated is None
    elif stated is None or int(stated) == len(body):
        assert (response.status, response.body, response.whole) == (int(status[:3]), body, True)
        assert client.log == []
    elif response.status == 500:
        # It was known before the head was sent, which write() and an iterator do not wait for.
        assert kind == "list" or len(pieces[0] if pieces else b"") > int(stated) or body == b""
        assert (response.whole, following, len(client.log)) == (True, [], 1)
    elif kind == "list":
        raise AssertionError("the length of a list is known before its head is sent")
    elif int(stated) < len(body):
        assert (response.body, response.whole, following) == (body[: int(stated)], True, [])
    else:
        assert not response.whole or response.status == 500
        assert following == []


REFUSED: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a status without a reason": ("200", []),
    "a status without a blank": ("200OK", []),
    "a status of two digits": ("20 OK", []),
    "a status of other digits": ("\xb200 OK", []),
    "an interim status": ("100 Continue", []),
    "another interim status": ("101 Switching Protocols", []),
    "a status below 100": ("000 Nothing", []),
    "a status above 599": ("600 Much", []),
    "a line break in the reason": ("200 OK\r\nX-A: b", []),
    "CR in the reason": ("200 OK\r", []),
    "NUL in the reason": ("200 O\0K", []),
    "a reason beyond latin-1": ("200 \u20ac", []),
    "a line break in a value": ("200 OK", [("X-A", "b\r\nX-C: d")]),
    "LF in a value": ("200 OK", [("X-A", "b\nc")]),
    "CR in a value": ("200 OK", [("X-A", "b\rc")]),
    "NUL in a value": ("200 OK", [("X-A", "b\0c")]),
    "a control in a value": ("200 OK", [("X-A", "b\x1bc")]),
    "DEL in a value": ("200 OK", [("X-A", "b\x7f")]),
    "a value beyond latin-1": ("200 OK", [("X-A", "\u20ac")]),
    "an empty name": ("200 OK", [("", "b")]),
    "a line break in a name": ("200 OK", [("X-A\r\nX-B", "c")]),
    "a blank after a name": ("200 OK", [("X-A ", "b")]),
    "a blank before a name": ("200 OK", [(" X-A", "b")]),
    "a colon in a name": ("200 OK", [("X-A:", "b")]),
    "a name beyond ASCII": ("200 OK", [("X-\xe9", "b")]),
    "a transfer coding": ("200 OK", [("Transfer-Encoding", "chunked")]),
    "a transfer coding in capitals": ("200 OK", [("TRANSFER-ENCODING", "identity")]),
    "a transfer coding where nothing follows": ("204 No Content", [("Transfer-Encoding", "chunked")]),
    "keep-alive": ("200 OK", [("Connection", "keep-alive")]),
    "an upgrade": ("200 OK", [("Connection", "Upgrade"), ("Upgrade", "websocket")]),
    "a list for Connection": ("200 OK", [("Connection", "close, X-A")]),
    "Keep-Alive": ("200 OK", [("Keep-Alive", "timeout=5")]),
    "Proxy-Authenticate": ("407 Proxy Authentication Required", [("Proxy-Authenticate", "Basic")]),
    "Proxy-Connection": ("200 OK", [("Proxy-Connection", "close")]),
    "TE": ("200 OK", [("TE", "trailers")]),
    "Trailer": ("200 OK", [("Trailer", "X-A")]),
    "two lengths": ("200 OK", [("Content-Length", "4"), ("content-length", "5")]),
    "the same length twice": ("200 OK", [("Content-Length", "4"), ("Content-Length", "4")]),
    "two lengths where nothing follows": ("304 Not Modified", [("Content-Length", "4"), ("Content-Length", "5")]),
    "a list of lengths": ("200 OK", [("Content-Length", "4, 4")]),
    "no length": ("200 OK", [("Content-Length", "")]),
    "a negative length": ("200 OK", [("Content-Length", "-1")]),
    "a signed length": ("200 OK", [("Content-Length", "+4")]),
    "a length with an underscore": ("200 OK", [("Content-Length", "1_0")]),
    "a length with a blank": ("200 OK", [("Content-Length", " 4")]),
    "a length of other digits": ("200 OK", [("Content-Length", "\xb2")]),
    "too long a length": ("200 OK", [("Content-Length", "1" * 20)]),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("kind", ["list", "iterator", "write"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_head_that_an_application_may_not_send_becomes_a_500_and_is_logged(name: str, kind: str, method: str) -> None:
    status, headers = REFUSED[name]
    (response, *following), client = exchange(responding(status, headers, [b"body"], kind), method, 1)
    assert (response.status, response.fields["connection"], following) == (500, "close", [])
    assert "x-c" not in response.fields
    assert len(client.log) == 1
    assert "ApplicationError" in client.log[0]


def test_a_length_is_sent_without_leading_zeros() -> None:
    (response, *_), _ = exchange(responding("200 OK", [("Content-Length", "0004")], [b"body"], "list"), "GET", 1)
    assert (response.fields["content-length"], response.body) == ("4", b"body")


def test_date_and_server_of_the_application_replace_those_of_the_server() -> None:
    headers = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("SERVER", "mine")]
    (response, *_), _ = exchange(responding("200 OK", headers, [b"body"], "list"), "GET", 1)
    assert (response.fields["date"], response.fields["server"]) == ("Sun, 06 Nov 1994 08:49:37 GMT", "mine")


@pytest.mark.parametrize("value", ["close", "Close", " close\t"])
def test_an_application_may_close_and_no_later_request_is_served(value: str) -> None:
    client = MemoryClient(responding("200 OK", [("connection", value)], [b"body"], "list"))
    (response,) = split(client.send(request("GET", "/") + request("GET", "/next")))
    assert (response.body, response.fields["connection"], client.closed) == (b"body", "close", True)


# ---- trailers ----


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("segment", [None, 1])
def test_the_environ_has_the_trailers_at_the_end_of_the_body(stream: bool, segment: int | None) -> None:
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        trailers = environ.get("wsgi.trailers")
        found.append(None if trailers is None else list(trailers))
        environ["wsgi.input"].read()
        found.append(None if trailers is None else list(trailers))
        assert trailers is environ.get("wsgi.trailers")
        assert not [name for name in environ if "SUM" in name]
        start_response("200 OK", [])
        return []

    client = MemoryClient(app, STREAM if stream else None)
    client.socket.segment = segment
    raw = request("POST", "/", "Trailer: X-Sum", body=b"hello", chunks=2)[:-2] + b"X-Sum: \t1\r\nx-sum: \xe9 \r\n\r\n"
    raw = raw.replace(b"Trailer: X-Sum\r\n", b"")
    client.send(raw + request("POST", "/", body=b"hello", chunks=2) + request("POST", "/", body=b"x") + request())
    fields = [("X-Sum", "1"), ("x-sum", "\xe9")]
    assert found == [[] if stream else fields, fields, [], [], None, None, None, None]
    client.close()


def test_the_environ_has_no_field_of_a_trailer_that_is_refused() -> None:
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        finally:
            found.append(list(environ["wsgi.trailers"]))
        return []

    client = MemoryClient(app, STREAM)
    raw = request("POST", "/", body=b"hello", chunks=2)[:-2] + b"X-Sum: 1\r\nHost: b.test\r\n\r\n"
    (response,) = split(client.send(raw))
    assert (response.status, found) == (400, [[]])

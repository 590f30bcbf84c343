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
    "a status without a blank": ("200OK", []),
    "a status of two digits": ("20 OK", []),
    "a status of other digits": ("\xb200 OK", []),
    "an interim status": ("100 Continue", []),
    "another interim status": ("101 Switching Protocols", []),
    "a status below 100": ("000 Nothing", []),
    "a status of four digits": ("6000 Much", []),
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
    "two lengths": ("200 OK", [("Content-Length", "4"), ("content-length", "5")]),
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


HOP_BY_HOP: dict[str, tuple[str, list[tuple[str, str]], set[str]]] = {
    "a transfer coding": ("200 OK", [("Transfer-Encoding", "chunked")], {"transfer-encoding"}),
    "a transfer coding in capitals": ("200 OK", [("TRANSFER-ENCODING", "identity")], {"transfer-encoding"}),
    "a transfer coding where nothing follows": (
        "204 No Content", [("Transfer-Encoding", "chunked")], {"transfer-encoding"}
    ),
    "keep-alive": ("200 OK", [("Connection", "keep-alive")], {"connection"}),
    "no option": ("200 OK", [("Connection", "")], {"connection"}),
    "an upgrade": ("200 OK", [("Connection", "Upgrade"), ("Upgrade", "websocket")], {"connection", "upgrade"}),
    "Keep-Alive": ("200 OK", [("Keep-Alive", "timeout=5")], {"keep-alive"}),
    "Proxy-Authenticate": (
        "407 Proxy Authentication Required", [("Proxy-Authenticate", "Basic")], {"proxy-authenticate"}
    ),
    "Proxy-Authentication-Info": ("200 OK", [("Proxy-Authentication-Info", "a=b")], {"proxy-authentication-info"}),
    "Proxy-Connection": ("200 OK", [("Proxy-Connection", "close")], {"proxy-connection"}),
    "TE": ("200 OK", [("TE", "trailers")], {"te"}),
    "Trailer": ("200 OK", [("Trailer", "X-A")], {"trailer"}),
    "two of a kind": ("200 OK", [("Trailer", "X-A"), ("trailer", "X-B")], {"trailer"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOP_BY_HOP)
@pytest.mark.parametrize("kind", ["list", "iterator", "write"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_hop_by_hop_field_is_dropped_and_logged_once(name: str, kind: str, method: str) -> None:
    status, headers, dropped = HOP_BY_HOP[name]
    app = responding(status, [*headers, ("X-A", "b")], [b"body"], kind)
    client = MemoryClient(app)
    for _ in range(2):
        response, remaining = take(client.send(request(method, "/")), head=method == "HEAD")
        assert (response.status, response.fields["x-a"], remaining) == (int(status[:3]), "b", b"")
        assert set(response.fields) <= {"x-a", "date", "server", "content-length", "transfer-encoding"}
        assert response.fields.get("transfer-encoding", "chunked") == "chunked"
        assert response.body == (b"" if method == "HEAD" or status[:3] == "204" else b"body")
    assert not client.closed
    assert len(client.log) == len(dropped)
    for line in client.log:
        assert f"{method} /: " in line
        assert any(repr(field) in line for field in dropped)
    client.close()


def test_proxy_status_is_no_hop_by_hop_field() -> None:
    (response, *_), client = exchange(responding("200 OK", [("Proxy-Status", "a")], [b""], "list"), "GET", 1)
    assert (response.fields["proxy-status"], client.log) == ("a", [])


@pytest.mark.parametrize("second", ["4", "04"])
def test_a_length_that_is_repeated_is_sent_once(second: str) -> None:
    headers = [("Content-Length", "4"), ("content-length", second)]
    (response, *_), client = exchange(responding("200 OK", headers, [b"body"], "iterator"), "GET", 1)
    assert (response.fields["content-length"], response.body, client.log) == ("4", b"body", [])


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", ["list", "iterator"])
@pytest.mark.parametrize("status", ["600 Much", "703 Meh", "999", "599 "])
def test_a_status_of_no_class_is_framed_like_any_error(status: str, kind: str, method: str, minor: int) -> None:
    (response, *_), client = exchange(responding(status, [], [b"bo", b"dy"], kind), method, minor)
    assert (response.status, response.whole, client.log) == (int(status[:3]), True, [])
    assert response.body == (b"" if method == "HEAD" else b"body")


@pytest.mark.parametrize(
    ("status", "line"),
    [("204", b"204 No Content"), ("413", b"413 Content Too Large"), ("703", b"703 "), ("204 ", b"204 ")],
)
def test_a_status_without_a_reason_has_its_standard_reason_or_an_empty_one(status: str, line: bytes) -> None:
    client = MemoryClient(responding(status, [], [], "list"))
    assert client.send(request("GET", "/")).startswith(b"HTTP/1.1 " + line + b"\r\n")
    assert client.log == []
    client.close()


def test_a_length_is_sent_without_leading_zeros() -> None:
    (response, *_), _ = exchange(responding("200 OK", [("Content-Length", "0004")], [b"body"], "list"), "GET", 1)
    assert (response.fields["content-length"], response.body) == ("4", b"body")


def test_date_and_server_of_the_application_replace_those_of_the_server() -> None:
    headers = [("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("SERVER", "mine")]
    (response, *_), _ = exchange(responding("200 OK", headers, [b"body"], "list"), "GET", 1)
    assert (response.fields["date"], response.fields["server"]) == ("Sun, 06 Nov 1994 08:49:37 GMT", "mine")


@pytest.mark.parametrize("value", ["close", "Close", " close\t", "close, X-A", "keep-alive,close"])
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

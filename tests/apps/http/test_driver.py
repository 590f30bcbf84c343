"""Heads, bodies, deadlines and the way from one request to the next: in memory, with a clock that stands still."""

from __future__ import annotations

import dataclasses
import errno
import io
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.bufferedbody import BodyStore
from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.http1.limits import Limits
from reserve.testing import MemoryClient
from tests.apps.http.responses import Response, request, split

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Recorder:
    """A WSGI application that keeps what it got; its response is the target and the body."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        self.environs.append(environ)
        self.bodies.append(body)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode() + b" " + body]


def limited(**limits: int) -> HTTPSettings:
    return HTTPSettings(limits=Limits(**limits))


def only(raw: bytes, methods: str = "") -> Response:
    (response,) = split(raw, methods)
    assert response.whole
    return response


# ---- one request after another ----


@pytest.mark.parametrize(
    ("minor", "field", "goes_on", "says"),
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
def test_keep_alive_of_both_versions(minor: int, field: str | None, goes_on: bool, says: str | None) -> None:
    client = MemoryClient(Recorder())
    response = only(client.send(request("GET", "/a", *([field] if field else []), minor=minor)))
    assert response.text == "/a "
    assert response.fields.get("connection") == says
    assert client.closed is not goes_on
    if goes_on:
        assert only(client.send(request("GET", "/b", "Connection: close"))).text == "/b "
    assert client.closed


def test_keep_alive_can_be_turned_off() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(keep_alive=0))
    assert only(client.send(request())).fields["connection"] == "close"
    assert client.closed


def test_the_application_can_close() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Connection", "close")])
        return [b"last"]

    client = MemoryClient(app)
    (response,) = split(client.send(request() + request()))
    assert (response.text, response.fields["connection"], client.closed) == ("last", "close", True)


@pytest.mark.parametrize("count", [1, 16, 17, 100])
@pytest.mark.parametrize("segment", [None, 1, 7])
def test_pipelined_requests_with_bodies_are_responseed_in_order(count: int, segment: int | None) -> None:
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
    # The receive that brings the head brings half of the next request, too; the rest waits in the socket.
    app = Recorder()
    client = MemoryClient(app)
    padding = "X-Padding: " + "p" * 9000
    assert len(split(client.send(b"".join(request("GET", f"/{n}", padding) for n in range(30))))) == 30
    client.close()


def test_the_next_request_starts_when_the_response_has_left() -> None:
    app = Recorder()
    client = MemoryClient(app)
    client.read(10)
    assert len(client.send(request("GET", "/one") + request("GET", "/two"))) == 10
    assert [environ["PATH_INFO"] for environ in app.environs] == ["/one"]
    client.read(100_000)
    assert [environ["PATH_INFO"] for environ in app.environs] == ["/one", "/two"]
    client.close()


def test_empty_lines_before_a_request_are_dropped() -> None:
    client = MemoryClient(Recorder())
    assert only(client.send(b"\r\n\r\n" + request())).status == 200
    assert only(client.send(b"\r\n" + request())).status == 200
    client.close()


# ---- bodies that are received before the application runs ----


@pytest.mark.parametrize("size", [0, 1, 5, 65_536, 65_537, 262_144, 700_000])
@pytest.mark.parametrize("chunks", [0, 3, 8192, 300_000])
@pytest.mark.parametrize("segment", [None, 1, 4096])
def test_a_body_arrives_whole(size: int, chunks: int, segment: int | None, tmp_path: Path) -> None:
    if size > 5 and (segment == 1 or chunks == 3):
        size = 300
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(body_memory=100 if segment == 1 else 65536, spool_dir=str(tmp_path)))
    client.socket.segment = segment
    raw = request("POST", "/", body=body, chunks=chunks) + request("GET", "/next")
    first, second = split(client.send(raw))
    assert (app.bodies[0] == body, first.status, second.text) == (True, 200, "/next ")
    environ = app.environs[0]
    assert environ["CONTENT_LENGTH"] == str(size)
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert environ["wsgi.input_terminated"] is True
    assert environ["wsgi.input"].closed == (size > 0 or chunks > 0)  # nothing of the disk is held any longer
    assert list(tmp_path.iterdir()) == []
    client.close()


@pytest.mark.parametrize("size", [40, 400_000])
def test_every_way_to_read_a_stored_body(size: int, tmp_path: Path) -> None:
    body = (b"one\ntwo\n\nthree" * (size // 14 + 1))[:size]
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        found.append(stream.read(5))
        found.append(stream.readline())
        found.append(stream.readline(2))
        found.append(b"".join(stream.readlines(10)))
        found.append(next(iter(stream)))
        found.append(stream.read(0))
        found.append(b"".join(stream))
        found.append(stream.read() + stream.read(5) + stream.readline() + b"".join(stream.readlines()))
        start_response("200 OK", [])
        return []

    client = MemoryClient(app, HTTPSettings(spool_dir=str(tmp_path)))
    assert only(client.send(request("POST", body=body))).status == 200
    expected = io.BytesIO(body)
    assert found[:4] == [
        expected.read(5), expected.readline(), expected.readline(2), b"".join(expected.readlines(10)),
    ]  # fmt: skip
    assert b"".join(found) == body
    assert found[-1] == b""
    client.close()


@pytest.mark.parametrize("chunks", [0, 10])
def test_an_unread_body_is_no_request(chunks: int) -> None:
    inner = request("GET", "/smuggled")
    calls = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        calls.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b"unread"]

    client = MemoryClient(app)
    assert len(split(client.send(request("POST", "/a", body=inner, chunks=chunks) + request("GET", "/b")))) == 2
    assert calls == ["/a", "/b"]
    client.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nHost: t",
        b"\r\n",
        request("POST", body=b"0123456789")[:-1],
        request("POST", body=b"0123456789", chunks=4)[:-1],
        request("POST", body=b"0123456789", chunks=4)[:-14],
        request("POST", body=b"x" * 400_000)[:-1],
    ],
)
def test_a_client_that_stops_half_way_never_reaches_the_application(raw: bytes, tmp_path: Path) -> None:
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(spool_dir=str(tmp_path)))
    assert client.send(raw) == b""
    assert client.end() == b""
    assert client.closed
    assert app.environs == []
    assert len(client.log) == (1 if b"POST" in raw else 0)


def test_an_expectation_is_met_off_the_worker() -> None:
    app = Recorder()
    client = MemoryClient(app)
    raw = request("POST", "/", "Expect: 100-continue", body=b"content")
    assert client.send(raw[:-7]) == CONTINUE
    assert app.environs == []
    assert only(client.send(b"content")).text == "/ content"
    # Bytes of the body have come, or there is none: nobody waits for a 100.
    assert only(client.send(raw)).text == "/ content"
    assert only(client.send(request("POST", "/", "Expect: 100-continue", body=b""))).text == "/ "
    assert only(client.send(request("GET", "/", "Expect: 100-continue"))).text == "/ "
    client.close()


def test_a_head_that_is_refused_gets_no_100() -> None:
    client = MemoryClient(Recorder(), limited(max_body=5))
    response = only(client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 6")))
    assert (response.status, client.closed) == (413, True)


class FullDisk(BodyStore):
    """The disk fails as soon as something is written to it."""

    error = errno.ENOSPC

    def spill(self) -> None:
        raise OSError(self.error, "No space left on device")


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EACCES, 500)])
def test_a_full_disk_refuses_the_request(number: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.apps.http.bufferedbody.BodyStore", FullDisk)
    monkeypatch.setattr(FullDisk, "error", number)
    app = Recorder()
    client = MemoryClient(app)
    response = only(client.send(request("POST", body=b"x" * 500_000)))
    assert (response.status, response.fields["connection"], client.closed) == (status, "close", True)
    assert app.environs == []
    (line,) = client.log
    assert "--spool-dir" in line
    assert "No space left on device" in line
    assert "No space" not in response.text


def test_a_body_whose_end_does_not_fit_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(store: BodyStore) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BodyStore, "open", no_room)
    app = Recorder()
    client = MemoryClient(app)
    assert only(client.send(request("POST", body=b"x"))).status == 507
    assert (app.environs, client.closed) == ([], True)


def test_a_folder_that_is_gone_is_a_server_error(tmp_path: Path) -> None:
    client = MemoryClient(Recorder(), HTTPSettings(spool_dir=str(tmp_path / "gone")))
    assert only(client.send(request("POST", body=b"x" * 500_000))).status == 500
    assert str(tmp_path / "gone") in client.log[0]


def test_the_file_of_a_body_that_was_refused_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []
    make = tempfile.TemporaryFile

    def keep(**options: Any) -> Any:
        files.append(make(**options))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", keep)
    client = MemoryClient(Recorder(), HTTPSettings(spool_dir=str(tmp_path)))
    raw = request("POST", body=b"x" * 400_000, chunks=100_000)
    assert only(client.send(raw[:-5] + b"nonsense\r\n")).status == 400
    assert [file.closed for file in files] == [True]


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
def test_what_breaks_a_rule_is_refused_once(
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


# ---- time ----


def test_a_silent_connection_is_closed_without_a_word() -> None:
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


def test_the_time_of_a_later_head_starts_with_its_first_byte() -> None:
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
    step = len(body) // 100  # about ten bytes of content
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


def test_without_a_rate_the_time_is_total() -> None:
    client = MemoryClient(Recorder(), HTTPSettings(body_timeout=20, body_rate=0))
    client.send(request("POST", body=b"x" * 1000)[:-1])
    client.advance(19)
    assert not client.closed
    assert only(client.advance(1)).status == 408


def test_a_client_that_does_not_read_is_cut_off() -> None:
    client = MemoryClient(Recorder())
    client.read(0)
    client.send(request())
    client.advance(29)
    assert not client.closed
    client.read(5)  # it has taken something: its time starts again
    client.advance(29)
    assert not client.closed
    client.advance(1)
    assert client.closed


# ---- the end of the server ----


def test_a_stop_closes_what_is_idle() -> None:
    fresh, idle = MemoryClient(Recorder()), MemoryClient(Recorder())
    idle.send(request())
    assert (fresh.stop(), fresh.closed) == (b"", True)
    assert (idle.stop(), idle.closed) == (b"", True)


@pytest.mark.parametrize("sent", [5, -3])
def test_a_stop_lets_a_request_that_has_begun_finish(sent: int) -> None:
    client = MemoryClient(Recorder())
    raw = request("POST", body=b"abcdef")
    client.send(raw[:sent])
    assert client.stop() == b""
    assert not client.closed
    response = only(client.send(raw[sent:]))
    assert (response.text, response.fields["connection"], client.closed) == ("/ abcdef", "close", True)


def test_a_stop_while_the_application_runs_is_told_to_its_client() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        client.server.stopping = True
        start_response("200 OK", [])
        return [b"whole"]

    client = MemoryClient(app)
    response = only(client.send(request()))
    assert (response.text, response.fields["connection"], client.closed) == ("whole", "close", True)


def test_overload_has_words() -> None:
    client = MemoryClient(Recorder())
    response = only(client._driver.refuse("overload") or b"")
    assert (response.status, response.fields["retry-after"], response.fields["connection"]) == (503, "1", "close")
    client.close()


# ---- the environ ----


def test_the_environ_of_a_tcp_connection() -> None:
    app = Recorder()
    client = MemoryClient(app)
    client.send(request("POST", "/a%20b//c?q=%20", "Content-Type: text/x", "X-A: 1", "X-A: 2", body=b"12"))
    environ = app.environs[0]
    expected = {
        "REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": "/a b//c", "QUERY_STRING": "q=%20",
        "REQUEST_URI": "/a%20b//c?q=%20", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000", "HTTP_HOST": "test",
        "CONTENT_TYPE": "text/x", "CONTENT_LENGTH": "2", "HTTP_X_A": "1, 2", "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True, "wsgi.multithread": True, "SERVER_SOFTWARE": "reserve",
    }  # fmt: skip
    assert {key: environ[key] for key in expected} == expected
    assert type(environ) is dict
    assert "X_REMOTE_PID" not in environ
    client.send(request())
    assert "CONTENT_LENGTH" not in app.environs[1]  # nothing of one request is in the next
    assert "HTTP_X_A" not in app.environs[1]
    client.close()


def test_the_environ_tells_whether_the_client_is_still_there() -> None:
    seen = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        gone = environ["reserve.client_disconnected"]
        seen.append(gone())
        client.socket.ended = True
        seen.append(gone())
        start_response("200 OK", [])
        return []

    client = MemoryClient(app)
    client.send(request())
    assert seen == [False, True]
    assert client.closed


def test_an_ipv6_name_has_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Recorder()
    for here, name in ((("::1", 8080, 0, 0), "[::1]"), (("::ffff:10.0.0.1", 8080, 0, 0), "10.0.0.1")):
        monkeypatch.setattr("reserve.testing.MemorySocket.getsockname", lambda self, here=here: here)
        MemoryClient(app).send(request("GET", "/", "Connection: close"))
        assert (app.environs[-1]["SERVER_NAME"], app.environs[-1]["SERVER_PORT"]) == (name, "8080")


def test_a_connection_without_a_name_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(self: object) -> None:
        raise OSError(errno.EINVAL, "reset before its turn")

    monkeypatch.setattr("reserve.testing.MemorySocket.getsockname", reset)
    app = Recorder()
    MemoryClient(app).send(request("GET", "/", "Connection: close"))
    assert (app.environs[0]["SERVER_NAME"], app.environs[0]["SERVER_PORT"]) == ("localhost", "80")


def test_a_root_path() -> None:
    app = Recorder()
    client = MemoryClient(app, dataclasses.replace(HTTPSettings(), root_path="/shop/"))
    client.send(request("GET", "/shop/a") + request("GET", "/b"))
    assert [(environ["SCRIPT_NAME"], environ["PATH_INFO"]) for environ in app.environs] == [
        ("/shop", "/a"), ("/shop", "/b"),
    ]  # fmt: skip
    client.close()


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_head_request_that_is_refused_gets_no_body_however_it_came(cut: int) -> None:
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

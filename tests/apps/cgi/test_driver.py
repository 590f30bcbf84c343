"""A connection with a web server, in memory: the request in any pieces, its response, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from reserve.apps._accesslog.record import Record
from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.cgi.environ import OTHERS
from reserve.protocol.fastcgi.records import STDIN
from reserve.protocol.http1.limits import Limits
from reserve.testing import MemoryClient
from tests.apps.cgi.protocols import FASTCGI, Protocol, each_broken_frame, each_protocol
from tests.apps.http.doubles import STREAM, Recorder, hello, returning
from tests.protocol.fastcgi import messages as fastcgi
from tests.protocol.http1.delivery import deliveries


@each_protocol
def test_a_request_in_any_pieces_gets_its_response_and_the_connection_ends(protocol: Protocol) -> None:
    raw = protocol.request("/a%20b?c=d", b"body", {"HTTP_X": "y"}, "POST")
    for pieces in deliveries(raw):
        app = Recorder()
        client = protocol.client(app)
        out = b"".join(client.send(piece) for piece in pieces)
        assert client.closed
        assert protocol.read(out).body.endswith(b" body")
        assert app.bodies == [b"body"]
        assert app.environs[0]["REQUEST_URI"] == "/a%20b?c=d"
        assert app.environs[0]["HTTP_X"] == "y"
        assert client.log == []


@each_protocol
def test_the_environ_is_that_of_pep_3333(protocol: Protocol) -> None:
    app = Recorder()
    protocol.client(app).send(protocol.request("/x", b"", {"REMOTE_PORT": "5", "SERVER_NAME": "a.test"}))
    environ = app.environs[0]
    assert all(type(value) is str for name, value in environ.items() if "." not in name)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("", "/x", "")
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"], environ["SERVER_NAME"]) == ("192.0.2.7", "5", "a.test")
    assert (environ["wsgi.url_scheme"], environ["wsgi.input_terminated"]) == ("http", True)
    assert environ["reserve.stopping"]() is False
    assert "wsgi.trailers" not in environ


@each_protocol
def test_the_environ_has_what_the_server_offers_and_there_are_no_early_hints(protocol: Protocol) -> None:
    calls: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        environ["reserve.after_response"](lambda: calls.append("after"))
        environ["reserve.deadline"](5)
        with environ["reserve.waiting"]() as granted:
            calls.append(str(granted))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"a"]

    out = protocol.client(app).send(protocol.request())
    assert protocol.read(out).body == b"a"
    assert b"103" not in out
    assert calls == ["False", "after"]


@each_protocol
def test_the_header_fields_of_the_connection_are_left_to_the_web_server(protocol: Protocol) -> None:
    app = returning("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")], b"a", b"b", kind=iter)
    out = protocol.client(app).send(protocol.request())
    assert protocol.decode(out) == protocol.line + b"200 OK\r\nContent-Type: text/plain\r\n\r\nab"


@each_protocol
def test_a_head_request_gets_no_body(protocol: Protocol) -> None:
    out = protocol.client(hello).send(protocol.request("/", b"", {}, "HEAD"))
    assert protocol.read(out, head=True).body == b""


@each_protocol
def test_large_bodies_go_to_a_file(protocol: Protocol, tmp_path: Any) -> None:
    app = Recorder()
    body = bytes(range(256)) * 4000
    client = protocol.client(app, HTTPSettings(access_log=False, spool_dir=str(tmp_path), body_memory=1000))
    raw = protocol.request("/", body, {}, "POST")
    client.send(raw[:-100])
    assert protocol.read(client.send(raw[-100:])).status == 200
    assert app.bodies == [body]
    assert list(tmp_path.iterdir()) == []


@each_protocol
def test_an_application_may_read_the_body_while_it_arrives(protocol: Protocol) -> None:
    out = protocol.client(hello, STREAM).send(protocol.request("/", b"streamed", {}, "POST"))
    assert protocol.read(out).body == b"hello streamed"


@each_protocol
def test_a_body_that_is_too_large_is_refused(protocol: Protocol) -> None:
    app = Recorder()
    client = protocol.client(app, HTTPSettings(access_log=False, limits=Limits(max_body=3)))
    response = protocol.read(client.send(protocol.request("/", b"1234", {}, "POST")))
    assert (response.status, app.environs) == (413, [])
    assert client.log == [f"127.0.0.1:50000: 413 {response.text}".rstrip()]


@each_protocol
def test_what_follows_a_request_is_no_request(protocol: Protocol) -> None:
    app = Recorder()
    client = protocol.client(app)
    assert protocol.read(client.send(protocol.request("/1") + protocol.request("/2"))).body == b"/1 "
    assert app.paths == ["/1"]


@each_broken_frame
def test_a_broken_frame_is_refused_in_any_pieces(protocol: Protocol, frame: bytes) -> None:
    app = Recorder()
    expected: list[Any] = []
    for pieces in deliveries(frame):
        client = protocol.client(app)
        out = b"".join(client.send(piece) for piece in pieces)
        response = protocol.read(out)
        assert response.status in (400, 411, 431, 501)
        assert client.closed
        assert client.log == [f"127.0.0.1:50000: {response.status} {response.text}".rstrip()]
        expected = expected or client.log
        assert client.log == expected
    assert app.environs == []


@each_protocol
@pytest.mark.parametrize("size", range(1, 12))
def test_a_web_server_that_disconnects_in_its_request_is_forgotten(protocol: Protocol, size: int) -> None:
    app = Recorder()
    raw = protocol.request("/", b"body", {}, "POST")
    client = protocol.client(app)
    assert client.send(raw[:-size]) == b""
    assert client.end() == b""
    assert client.closed
    assert app.environs == []
    assert len(client.log) == (
        size <= 4 + protocol.overhead
    )  # within the body, and whole without its last byte only with the head


@each_protocol
def test_a_slow_head_and_a_slow_body_are_refused(protocol: Protocol) -> None:
    raw = protocol.request("/", b"body", {}, "POST")
    for end, seconds in ((-10 - protocol.overhead, 11), (-2, 21)):
        client = protocol.client(hello)
        assert client.send(raw[:end]) == b""
        assert protocol.read(client.advance(seconds)).status == 408
        assert client.closed
    silent = protocol.client(hello)
    assert silent.advance(11) == b""
    assert silent.closed


@each_protocol
def test_the_health_path_is_the_whole_path(protocol: Protocol) -> None:
    settings = HTTPSettings(access_log=False, health_path="/app/health", root_path="/app")
    app = Recorder()
    for more in ({"PATH_INFO": "/app/health"}, {"SCRIPT_NAME": "/app", "PATH_INFO": "/health"}):
        out = protocol.client(app, settings).send(protocol.request("/app/health", b"", more))
        assert protocol.read(out).body == b"ok\n"
    head = protocol.client(app, settings).send(
        protocol.request("/app/health", b"", {"PATH_INFO": "/app/health"}, "HEAD")
    )
    assert protocol.read(head, head=True).status == 200
    assert app.environs == []


@each_protocol
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"PATH_INFO": "/app/x"}, ("/app", "/x")),
        ({"SCRIPT_NAME": "/app", "PATH_INFO": "/x"}, ("/app", "/x")),
        ({"SCRIPT_NAME": "/app/more", "PATH_INFO": "/x"}, ("/app/more", "/x")),
        ({"PATH_INFO": "/app"}, ("/app", "")),
        ({"PATH_INFO": "/x"}, ("/app", "/x")),
    ],
)
def test_a_root_path_is_not_added_twice(protocol: Protocol, more: dict[str, str], expected: tuple[str, str]) -> None:
    app = Recorder()
    protocol.client(app, HTTPSettings(access_log=False, root_path="/app")).send(protocol.request("/app/x", b"", more))
    assert (app.environs[0]["SCRIPT_NAME"], app.environs[0]["PATH_INFO"]) == expected


@each_protocol
def test_an_application_that_fails_is_a_500(protocol: Protocol) -> None:
    client = protocol.client(returning("200 OK", [], ValueError("no"), kind=lambda pieces: iter([b"", *pieces, 1])))
    assert protocol.read(client.send(protocol.request())).status == 500
    assert client.closed


@each_protocol
def test_an_expectation_is_the_web_servers(protocol: Protocol) -> None:
    client = protocol.client(hello)
    raw = protocol.request("/", b"body", {"HTTP_EXPECT": "100-continue"}, "POST")
    assert client.send(raw[:-4]) == b""
    assert protocol.read(client.send(raw[-4:])).body == b"hello body"


@each_protocol
def test_the_access_log_has_the_client_of_the_web_server(protocol: Protocol) -> None:
    app = protocol.app(hello)
    records: list[Any] = []

    class Log:
        put = records.append

    app.access_log = Log()  # type: ignore[assignment]
    more = {"HTTP_REFERER": "r", "HTTP_USER_AGENT": "u", "SERVER_PROTOCOL": "HTTP/2.0"}
    MemoryClient(app).send(protocol.request("/a?b", b"", more))
    MemoryClient(app).send(protocol.broken[-1])
    first, second = map(Record._make, records)
    assert (first.host, first.request, first.status) == ("192.0.2.7", "GET /a?b HTTP/2.0", 200)
    assert (first.referer, first.user_agent, first.bytes_sent) == ("r", "u", 6)
    assert second.status in (400, 411)
    assert second.bytes_sent > 0


@each_protocol
def test_a_head_with_many_variables_is_made_again_after_a_slow_body(protocol: Protocol) -> None:
    """The environ of such a head is not kept while the web server sends the body."""
    app = Recorder()
    client = protocol.client(app)
    fields = {f"HTTP_X{number}": str(number) for number in range(60)}
    raw = protocol.request("/a", b"body", fields, "POST")
    assert client.send(raw[:-2]) == b""
    assert protocol.read(client.send(raw[-2:])).status == 200
    environ = app.environs[0]
    assert {name: environ[name] for name in fields} == fields
    assert (environ["PATH_INFO"], environ["REMOTE_ADDR"], app.bodies) == ("/a", "192.0.2.7", [b"body"])


@each_protocol
def test_a_slow_head_with_many_variables_is_logged_with_its_client(protocol: Protocol) -> None:
    app = protocol.app(hello)
    records: list[Any] = []

    class Log:
        put = records.append

    app.access_log = Log()  # type: ignore[assignment]
    client = MemoryClient(app)
    fields = {f"HTTP_X{number}": str(number) for number in range(60)} | {"HTTP_REFERER": "r", "HTTP_USER_AGENT": "u"}
    assert client.send(protocol.request("/a", b"body", fields, "POST")[:-2]) == b""
    assert protocol.read(client.advance(21)).status == 408
    record = Record._make(records[0])
    assert (record.host, record.request, record.status) == ("192.0.2.7", "POST /a HTTP/1.1", 408)
    assert (record.referer, record.user_agent) == ("r", "u")


@each_protocol
def test_what_is_kept_of_a_request_during_its_response_still_names_its_client(protocol: Protocol) -> None:
    reader = protocol.make_app.codec.make_reader(Limits(), lambda data: None)
    block = reader.feed(protocol.request("/a" * 200))
    assert block is not None
    head = protocol.make_app.codec.parse_head(block, {"REMOTE_ADDR": "", "SCRIPT_NAME": ""}, Limits())
    kept = head.without_environ(200)
    assert (kept.remote_addr, kept.version, kept.method) == ("192.0.2.7", "HTTP/1.1", "GET")
    assert (kept.environ, kept.length, len(kept.target), len(head.target)) == ({}, 0, 200, 400)


@each_protocol
@pytest.mark.parametrize("name", ["V", "HTTP_V"])
def test_the_variables_of_a_request_are_limited(protocol: Protocol, name: str) -> None:
    first = [("CONTENT_LENGTH", "0"), ("SCGI", "1"), ("REQUEST_METHOD", "GET")]
    most = OTHERS + 5
    settings = HTTPSettings(access_log=False, limits=Limits(max_fields=5))
    for count in (most, most + 1, 4000):
        app = Recorder()
        client = protocol.client(app, settings)
        variables = [*first, *((f"{name}{number}", "") for number in range(count - len(first)))]
        frame = protocol.frame(protocol.encode(*variables))
        response = protocol.read(client.send(frame + (fastcgi.raw(STDIN) if protocol is FASTCGI else b"")))
        if count > most:
            assert (response.status, len(app.bodies)) == (431, 0)
            assert b"more than 1005 variables: 1000 and --max-fields" in response.body
        elif name == "V":
            assert response.status == 200
        else:
            assert b"more than 5 fields (--max-fields)" in response.body


@each_protocol
@pytest.mark.parametrize(
    ("address", "host", "shown"),
    [
        ("127.0.0.1", "localhost", True),
        ("192.0.2.7", "localhost", False),
        ("", "localhost", False),
        ("127.0.0.1", "evil.example", False),
    ],
)
def test_debug_shows_a_traceback_if_the_client_of_the_web_server_is_on_this_machine(
    protocol: Protocol, address: str, host: str, shown: bool
) -> None:
    def fail(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("the secret")

    client = protocol.client(fail, HTTPSettings(access_log=False, debug=True))
    response = protocol.read(client.send(protocol.request("/", b"", {"REMOTE_ADDR": address, "HTTP_HOST": host})))
    assert response.status == 500
    assert (b"the secret" in response.body) is shown

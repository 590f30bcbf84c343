"""What the connections of one application share: the base of the environ, the Date line and the Server line."""

from __future__ import annotations

import errno
import weakref
from typing import Any, cast

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.context import DateCache
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.connection import Connection
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock, MemoryClient, MemorySocket
from reserve.testing.memoryserver import MemoryServer
from tests.apps.http.doubles import Recorder, failing, hello
from tests.apps.http.responses import only, request

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


def test_the_environ_tells_whether_the_client_has_disconnected() -> None:
    results = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        disconnected = environ["reserve.client_disconnected"]
        results.append(disconnected())
        client.socket.ended = True
        results.append(disconnected())
        start_response("200 OK", [])
        return []

    client = MemoryClient(app)
    client.send(request())
    assert results == [False, True]
    assert client.closed


def test_the_environ_tells_whether_the_server_is_stopping() -> None:
    results = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        stopping = environ["reserve.stopping"]
        results.append(stopping())
        client.server.stopping = True
        results.append(stopping())
        start_response("200 OK", [])
        return []

    client = MemoryClient(app)
    client.send(request())
    assert results == [False, True]
    assert client.closed


def test_connections_to_one_address_share_all_but_their_client() -> None:
    app = HTTPApp(WSGIGateway(hello))
    server = MemoryServer(FakeClock())
    made = []
    for host, port in (("127.0.0.1", 50000), ("::ffff:192.0.2.1", 50001), ("2001:db8::1", 50002)):
        connection = Connection(cast(Any, server), cast(Any, MemorySocket()), (host, port))
        environ = app.base_environ(connection)
        assert environ.pop("reserve.client_disconnected") == connection.peer_closed
        made.append((environ.pop("REMOTE_ADDR"), environ.pop("REMOTE_PORT"), environ))
    assert [environ[:2] for environ in made] == [
        ("127.0.0.1", "50000"), ("192.0.2.1", "50001"), ("2001:db8::1", "50002"),
    ]  # fmt: skip
    assert made[0][2] == made[1][2] == made[2][2]
    assert made[0][2]["SERVER_PORT"] is made[2][2]["SERVER_PORT"], "it was made for the first connection"
    made[1][2]["SERVER_NAME"] = "changed"
    assert made[2][2]["SERVER_NAME"] == "127.0.0.1"
    held = weakref.ref(connection)
    del connection
    assert held() is None, "what is kept refers to no connection"


def test_what_is_kept_of_an_environ_follows_the_settings_and_the_server() -> None:
    app = HTTPApp(WSGIGateway(hello), HTTPSettings(server_header="one"))

    def made(server: MemoryServer) -> dict[str, Any]:
        return app.base_environ(Connection(cast(Any, server), cast(Any, MemorySocket()), ("127.0.0.1", 50000)))

    first, second = MemoryServer(FakeClock()), MemoryServer(FakeClock())
    assert [made(first)["SERVER_SOFTWARE"] for _ in range(2)] == ["one", "one"]
    app.use_settings(HTTPSettings(server_header="two"))
    assert made(first)["SERVER_SOFTWARE"] == "two"
    assert made(first)["reserve.stopping"]() is made(second)["reserve.stopping"]() is False
    first.stopping = True
    assert made(first)["reserve.stopping"]()
    assert not made(second)["reserve.stopping"]()


def test_the_addresses_of_a_whole_network_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    app = HTTPApp(WSGIGateway(hello))
    server = MemoryServer(FakeClock())
    for number in range(200):
        address = (f"2001:db8::{number:x}", 80, 0, 0)
        monkeypatch.setattr("reserve.testing.MemorySocket.getsockname", lambda self, address=address: address)
        connection = Connection(cast(Any, server), cast(Any, MemorySocket()), ("127.0.0.1", 50000))
        assert app.base_environ(connection)["SERVER_NAME"] == f"[2001:db8::{number:x}]"
        assert len(app._bases) <= 64


def test_a_server_name_that_is_an_ipv6_address_has_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    app = Recorder()
    for address, name in ((("::1", 8080, 0, 0), "[::1]"), (("::ffff:10.0.0.1", 8080, 0, 0), "10.0.0.1")):
        monkeypatch.setattr("reserve.testing.MemorySocket.getsockname", lambda self, address=address: address)
        MemoryClient(app).send(request("GET", "/", "Connection: close"))
        assert (app.environs[-1]["SERVER_NAME"], app.environs[-1]["SERVER_PORT"]) == (name, "8080")


def test_a_connection_whose_address_the_system_has_forgotten_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.testing.MemorySocket.getsockname", failing(errno.EINVAL))
    app = Recorder()
    MemoryClient(app).send(request("GET", "/", "Connection: close"))
    assert (app.environs[0]["SERVER_NAME"], app.environs[0]["SERVER_PORT"]) == ("localhost", "80")


def test_a_root_path_becomes_the_script_name() -> None:
    app = Recorder()
    client = MemoryClient(app, HTTPSettings(root_path="/shop/"))
    client.send(request("GET", "/shop/a") + request("GET", "/b"))
    assert [(environ["SCRIPT_NAME"], environ["PATH_INFO"]) for environ in app.environs] == [
        ("/shop", "/a"), ("/shop", "/b"),
    ]  # fmt: skip
    client.close()


# ---- lines of every response ----


def test_the_date_line_is_made_once_a_second_and_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [784111777.2]
    monkeypatch.setattr("reserve.apps.http.context.time.time", lambda: now[0])
    cache = DateCache()
    first = cache.line()
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    now[0] += 0.7
    assert cache.line() is first
    now[0] += 0.2
    assert cache.line() == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"
    now[0] -= 3600
    assert cache.line() == b"Date: Sun, 06 Nov 1994 07:49:38 GMT\r\n"


def test_the_server_line_has_the_setting() -> None:
    for header, expected in (("reserve", "reserve"), ("x/1", "x/1"), ("", None)):
        client = MemoryClient(hello, HTTPSettings(server_header=header))
        assert only(client.send(request())).fields.get("server") == expected
        client.close()

"""Gateways of programs: what a request has, how its response is sent, and what becomes of mistakes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reserve.compat.cheroot.request import HTTPConnection, user_and_group
from reserve.compat.cheroot.server import Gateway, HTTPRequest, HTTPServer
from tests.compat.cheroot.serving import Serving, quiet
from tests.waiting import PATIENCE


def serving(respond: Callable[[Any], None], **options: Any) -> Serving:
    """A server whose gateway calls ``respond`` with the request."""

    class Own(Gateway):
        def respond(self) -> None:
            respond(self.req)

    server = HTTPServer(("127.0.0.1", 0), Own, minthreads=2, **options)
    return Serving(server)


def test_the_attributes_of_a_request() -> None:
    seen: dict[str, Any] = {}

    def respond(req: Any) -> None:
        for name in (
            "method", "uri", "scheme", "authority", "path", "qs", "request_protocol", "response_protocol", "inheaders",
            "chunked_read", "ready", "started_request", "close_connection", "sent_headers",
        ):  # fmt: skip
            seen[name] = getattr(req, name)
        seen["body"] = req.rfile.read()
        seen["client"] = req.conn.remote_addr, req.conn.remote_port, req.conn.ssl_env
        seen["server"] = req.server
        req.status = b"201 Created"
        req.outheaders.append((b"X-Own", b"yes"))
        req.ensure_headers_sent()
        assert req.sent_headers
        req.write(b"one, ")
        req.write(b"two")

    with serving(respond) as served:
        status, headers, body = served.fetch(
            "/a%2Fb%20c?d=1", method="PUT", body=b"content", headers={"X-A": "1", "Content-Type": "text/plain"}
        )
        assert (status, headers["X-Own"], body) == (201, "yes", b"one, two")
        assert headers["Server"] == served.server.server_name
        inheaders = seen.pop("inheaders")
        assert inheaders[b"X-A"] == b"1"
        assert (inheaders[b"Content-Type"], inheaders[b"Content-Length"]) == (b"text/plain", b"7")
        address, port, tls = seen.pop("client")
        assert (address, tls) == ("127.0.0.1", {})
        assert isinstance(port, int)
        assert seen.pop("server") is served.server
        assert seen == {
            "method": b"PUT",
            "uri": b"/a%2Fb%20c?d=1",
            "scheme": b"http",
            "authority": b"",
            "path": b"/a%2Fb c",
            "qs": b"d=1",
            "request_protocol": b"HTTP/1.1",
            "response_protocol": "HTTP/1.1",
            "chunked_read": False,
            "ready": True,
            "started_request": True,
            "close_connection": False,
            "sent_headers": False,
            "body": b"content",
        }


def test_a_target_in_absolute_form_has_an_authority() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def respond(req: Any) -> None:
        seen.append((req.authority, req.path))
        req.simple_response("200 OK", "seen")

    with serving(respond) as served:
        assert served.fetch("http://a.test:80/x")[2] == b"seen"
        assert seen == [(b"a.test:80", b"/x")]


def test_a_chunked_body_is_read_to_its_end() -> None:
    def respond(req: Any) -> None:
        assert req.chunked_read
        req.simple_response(200, "+".join(line.decode().strip() for line in req.rfile))

    with serving(respond) as served, socket.create_connection(served.server.bind_addr, PATIENCE) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"3\r\na\nb\r\n2\r\n\nc\r\n0\r\n\r\n"
        )
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"\r\n\r\na+b+c")


def test_the_connection_stays_open_unless_the_gateway_closes_it() -> None:
    def respond(req: Any) -> None:
        req.close_connection = req.path == b"/close"
        req.status = "200 OK"
        req.outheaders = [("Content-Length", "2")]
        req.ensure_headers_sent()
        req.write(b"ok")

    with serving(respond) as served:
        client = served.client()
        for target, connection in (("/", None), ("/", None), ("/close", "close")):
            client.request("GET", target)
            response = client.getresponse()
            assert (response.read(), response.headers["Connection"]) == (b"ok", connection)
        client.close()


def test_a_gateway_may_send_only_a_head() -> None:
    def respond(req: Any) -> None:
        req.status = b"204 No Content"

    with serving(respond) as served:
        assert served.fetch()[::2] == (204, b"")


@pytest.mark.parametrize(("status", "connection"), [("404 Not Found", None), ("413 Too Large", "close")])
def test_a_simple_response_is_complete(status: str, connection: str | None) -> None:
    with serving(lambda req: req.simple_response(status, "no h\xe4t")) as served:
        client = served.client()
        client.request("GET", "/")
        response = client.getresponse()
        assert (f"{response.status} {response.reason}", response.read().decode()) == (status, "no h\xe4t")
        assert (response.headers["Content-Length"], response.headers["Connection"]) == ("7", connection)
        client.close()


@pytest.mark.parametrize(
    ("respond", "text"),
    [
        (lambda req: None, "the gateway has not set req.status"),
        (lambda req: Gateway(req).respond(), "Gateway has no method respond()"),
        (lambda req: req.conn.resolve_peer_creds(), "names of users are looked up only with"),
        (lambda req: req.conn.peer_pid, "the client's process is known only on a UNIX socket"),
    ],
)
def test_mistakes_of_a_gateway_are_a_500(respond: Callable[[Any], Any], text: str) -> None:
    served = serving(respond)
    log = quiet(served.server)
    with served:
        assert served.fetch()[0] == 500
    assert any(text in line for line in log)


def test_the_gateway_and_the_class_of_requests_can_be_replaced() -> None:
    class Counted(HTTPRequest):
        seen = 0

        def respond(self) -> None:
            Counted.seen += 1
            super().respond()

    class Connection(HTTPConnection):
        RequestHandlerClass = Counted

    class Other(Gateway):
        def respond(self) -> None:
            self.req.simple_response("200 OK", "other")

    with serving(lambda req: req.simple_response("200 OK", "first")) as served:
        assert served.fetch()[2] == b"first"
        served.server.gateway = Other
        served.server.ConnectionClass = Connection
        assert served.fetch()[2] == b"other"
        assert Counted.seen == 1


def test_the_client_of_a_unix_socket(short_path: Path) -> None:
    def respond(req: Any) -> None:
        conn = req.conn
        pid, uid, gid = conn.get_peer_creds()
        assert (conn.peer_pid, conn.peer_uid, conn.peer_gid) == (pid, uid, gid)
        assert (conn.peer_user, conn.peer_group) == user_and_group(uid, gid)
        req.simple_response(200, f"{pid} {uid} {conn.remote_addr} {conn.remote_port}")

    class Own(Gateway):
        def respond(self) -> None:
            respond(self.req)

    path = str(short_path / "s")
    server = HTTPServer(path, Own, minthreads=1, peercreds_enabled=True, peercreds_resolve_enabled=True)
    with Serving(server), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(path)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        response = b"".join(iter(lambda: client.recv(4096), b""))
        assert response.endswith(f"\r\n\r\n{os.getpid()} {os.getuid()} None None".encode())


def test_users_without_a_name() -> None:
    with pytest.raises(RuntimeError, match="have no names here"):
        user_and_group(4_000_000_001, 4_000_000_002)

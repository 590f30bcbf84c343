"""A server of SCGI or uwsgi on real sockets: TCP, UNIX and TLS, busy workers, broken frames, a stop."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.fastcgi.codec import ABORT
from reserve.testing import RunningServer, running
from tests import tls
from tests.apps.cgi.protocols import Protocol, each_broken_frame, each_protocol
from tests.apps.http.doubles import QUIET, Gate, Recorder, hello, hooks_logging_to
from tests.apps.http.responses import Response
from tests.clients import until_closed
from tests.protocol.proxy.headers import V1
from tests.waiting import eventually


def ask(served: RunningServer, protocol: Protocol, raw: bytes = b"") -> Response:
    return protocol.read(served.exchange(raw or protocol.request()))


@each_protocol
@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_requests_are_served_over_tcp_and_unix_sockets(protocol: Protocol, family: str, short_path: Path) -> None:
    app = Recorder()
    address = "127.0.0.1:0" if family == "tcp" else f"unix:{short_path}/socket"
    with running(protocol.app(app), address=address) as served:
        for number in range(3):
            assert ask(served, protocol, protocol.request(f"/{number}", b"x" * 100_000, {}, "POST")).status == 200
    assert app.paths == ["/0", "/1", "/2"]
    assert {environ["REMOTE_ADDR"] for environ in app.environs} == {"192.0.2.7"}
    assert not {name for name in app.environs[0] if name.startswith("X_REMOTE")}  # those of the web server


@each_protocol
def test_header_fields_are_believed_if_the_client_of_the_web_server_is_a_trusted_proxy(
    protocol: Protocol, short_path: Path
) -> None:
    """A second frontend is in front of the web server, which passes its fields on."""
    app = Recorder()
    told = {
        "HTTP_X_FORWARDED_FOR": "1.1.1.1, 203.0.113.9",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_FORWARDED": "for=1.1.1.1",
    }
    every = {"trusted_proxies": "192.0.2.7"}
    for more in (told, {**told, "REMOTE_ADDR": "192.0.2.8"}, {**told, "REMOTE_ADDR": ""}):
        with running(protocol.app(app), **every) as served:
            assert ask(served, protocol, protocol.request("/", b"", more)).status == 200
    with running(protocol.app(app), address=f"unix:{short_path}/s", trusted_proxies="unix,127.0.0.1") as served:
        for address in ("", "unix:", "192.0.2.7"):
            assert ask(served, protocol, protocol.request("/", b"", {**told, "REMOTE_ADDR": address})).status == 200
    first, *others = app.environs
    assert (first["REMOTE_ADDR"], first["wsgi.url_scheme"]) == ("203.0.113.9", "https")
    assert not any("HTTP_FORWARDED" in environ for environ in app.environs)
    for environ in others:
        assert environ["REMOTE_ADDR"] in ("192.0.2.7", "192.0.2.8", "", "unix:")
        assert environ["wsgi.url_scheme"] == "http"
        assert "HTTP_X_FORWARDED_FOR" not in environ


@each_protocol
def test_a_header_of_the_proxy_protocol_is_read_before_the_frame(protocol: Protocol) -> None:
    app = Recorder()
    with running(protocol.app(app), proxy_protocol="any", trusted_proxies="127.0.0.1") as served:
        assert ask(served, protocol, V1 + protocol.request()).status == 200
    assert app.environs[0]["REMOTE_ADDR"] == "192.0.2.7"  # the web server knows its client better than its own frontend


@each_protocol
def test_tls_is_that_of_the_web_server_and_not_of_its_client(protocol: Protocol) -> None:
    app = Recorder()
    with running(protocol.app(app), ssl_adapter=tls.adapter()) as served:
        for more in ({}, {"HTTPS": "on"}):
            with tls.wrap_client(served.connect()) as client:
                client.sendall(protocol.request("/", b"", more))
                received, unclean = until_closed(client)
                assert (protocol.read(received).status, unclean) == (200, False)
        with served.connect() as client:
            client.sendall(protocol.request())
            assert until_closed(client)[0] == b""
    plain, secure = app.environs
    assert (plain["wsgi.url_scheme"], secure["wsgi.url_scheme"]) == ("http", "https")
    assert not {name for name in plain if name.startswith(("SSL_", "HTTPS"))}


@each_broken_frame
def test_a_broken_frame_costs_one_line_and_no_worker(protocol: Protocol, frame: bytes) -> None:
    log: list[str] = []
    with running(protocol.app(hello), threads=1, hooks=hooks_logging_to(log)) as served:
        with served.connect() as client:
            client.sendall(frame)
            received, _ = until_closed(client)
            assert protocol.read(received).status in (400, 411, 431, 501)
        assert ask(served, protocol).body == b"hello "
        assert served.server.stats().threads == 1
    assert len(log) == 1


@each_protocol
def test_health_checks_need_no_worker_and_a_full_queue_refuses(protocol: Protocol) -> None:
    gate = Gate()
    settings = HTTPSettings(access_log=False, health_path="/health")
    with (
        running(protocol.app(gate, settings), threads=1, max_queued=1) as served,
        served.connect() as busy,
        served.connect() as queued,
    ):
        busy.sendall(protocol.request("/wait"))
        gate.wait_entered()
        queued.sendall(protocol.request("/queued"))
        eventually(lambda: served.server.stats().queued == 1)
        assert ask(served, protocol, protocol.request("/health")).body == b"ok\n"
        refused = ask(served, protocol, protocol.request("/refused"))
        assert (refused.status, refused.fields["retry-after"]) == (503, "1")
        gate.release()
        assert [protocol.read(until_closed(client)[0]).body for client in (busy, queued)] == [b"served"] * 2


@each_protocol
def test_clients_of_the_web_server_have_limits_and_its_connections_none(protocol: Protocol) -> None:
    gate, log = Gate(), list[str]()
    limits: Any = {"max_running_per_client": 1, "max_connections_per_client": 1}

    def sent(path: str, client: str) -> bytes:
        return protocol.request(path, b"", {"REMOTE_ADDR": client})

    with (
        running(protocol.app(gate), threads=3, hooks=hooks_logging_to(log), **limits) as served,
        served.connect() as busy,
        served.connect() as waiting,
    ):
        eventually(lambda: log)
        assert "--max-connections-per-client has no effect" in log[0]
        limit = served.server._runtime.clients.running
        assert limit is not None
        busy.sendall(sent("/wait", "192.0.2.7"))
        gate.wait_entered()
        waiting.sendall(sent("/late", "::ffff:192.0.2.7"))
        eventually(lambda: limit.holding() == ({"192.0.2.7": 1}, 1))
        refused = ask(served, protocol, sent("/", "192.0.2.7"))
        assert (refused.status, refused.fields["retry-after"]) == (429, "1")
        assert ask(served, protocol, sent("/", "192.0.2.8")).body == b"served"
        gate.release()
        assert [protocol.read(until_closed(client)[0]).body for client in (busy, waiting)] == [b"served"] * 2
        eventually(lambda: limit.holding() == ({}, 0))


@each_protocol
def test_a_stop_waits_for_requests_in_flight(protocol: Protocol) -> None:
    gate = Gate()
    with running(protocol.app(gate), threads=1) as served, served.connect() as busy, served.connect() as idle:
        busy.sendall(protocol.request("/wait"))
        gate.wait_entered()
        served.server.request_stop()
        assert until_closed(idle) == (b"", False)
        gate.release()
        assert protocol.read(until_closed(busy)[0]).body == b"served"


@each_protocol
@pytest.mark.parametrize("headers", [[], [("Content-Length", "100")]], ids=["without a length", "with a length"])
def test_a_response_that_fails_half_way_does_not_look_complete(
    protocol: Protocol, headers: list[tuple[str, str]]
) -> None:
    """Even one with a length, which some web servers drop."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        yield b"half"
        raise ValueError("no")

    with running(protocol.app(app), hooks=hooks_logging_to([])) as served, served.connect() as client:
        client.sendall(protocol.request())
        received, reset = until_closed(client)
    if protocol.name == "fcgi":
        assert received[-8:] == ABORT
    else:
        assert reset, "its end looks like that of a complete response"


@each_protocol
def test_a_request_timeout_is_a_503(protocol: Protocol) -> None:
    gate = Gate()
    with running(protocol.app(gate, QUIET), threads=1, request_timeout=0.05, hooks=hooks_logging_to([])) as served:
        with served.connect() as client:
            client.sendall(protocol.request("/wait"))
            gate.wait_entered()
            assert protocol.read(until_closed(client)[0]).status == 503
        gate.release()


@each_protocol
def test_a_web_server_may_shut_its_side_down_after_the_request(protocol: Protocol) -> None:
    with running(protocol.app(hello)) as served, served.connect() as client:
        client.sendall(protocol.request("/", b"body", {}, "POST"))
        client.shutdown(socket.SHUT_WR)
        assert protocol.read(until_closed(client)[0]).body == b"hello body"

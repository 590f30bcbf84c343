"""A FastCGI server on sockets: kept connections, web servers that may connect, aborted requests, a timeout."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from reserve.apps.fcgi.app import FastCGIApp, web_server_addresses
from reserve.errors import StartupError
from reserve.gateways.wsgi import WSGIGateway
from reserve.protocol.fastcgi.records import ABORT_REQUEST, END_REQUEST, GET_VALUES, HEADER
from reserve.testing import running
from tests.apps.http.doubles import QUIET, Gate, hello, hooks_logging_to
from tests.clients import until_closed
from tests.protocol.fastcgi.messages import Record, outcome, pairs, raw, records, request
from tests.waiting import PATIENCE

WAITING = request(REQUEST_URI="/wait", SCRIPT_NAME="/wait")


def app_of(wsgi: Any) -> FastCGIApp:
    return FastCGIApp(WSGIGateway(wsgi), QUIET)


def receive_record(client: socket.socket) -> tuple[Record, bytes]:
    """The next record, and its bytes."""
    client.settimeout(PATIENCE)
    data = b""
    while len(data) < 8 or len(data) < 8 + sum(HEADER.unpack_from(data)[3:5]):
        more = client.recv(8 - len(data) if len(data) < 8 else 8 + sum(HEADER.unpack_from(data)[3:5]) - len(data))
        assert more, f"closed within a record: {data!r}"
        data += more
    return records(data)[0], data


def receive_response(client: socket.socket) -> bytes:
    """Everything up to the next END_REQUEST."""
    received = b""
    while True:
        record, data = receive_record(client)
        received += data
        if record.kind == END_REQUEST:
            return received


def test_many_requests_on_one_connection() -> None:
    with running(app_of(hello)) as served, served.connect() as client:
        for number in range(1, 101):
            body = b"x" * (number * 997)
            client.sendall(request(body, number))
            assert outcome(receive_response(client), number).stdout.endswith(b"hello " + body)
        assert served.server.stats().connections == 1


def test_the_values_are_those_of_the_server() -> None:
    with running(app_of(hello), max_connections=77) as served, served.connect() as client:
        client.sendall(raw(GET_VALUES, 0, pairs([("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", "")])))
        assert receive_record(client)[0].content == pairs([("FCGI_MAX_CONNS", "77"), ("FCGI_MAX_REQS", "77")])


def test_only_the_web_servers_of_the_environment_may_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setenv("FCGI_WEB_SERVER_ADDRS", "192.0.2.1,::1")
    with running(app_of(hello), hooks=hooks_logging_to(log)) as served:
        assert served.exchange(b"") == b""
    assert len(log) == 1
    assert log[0].endswith(": closed: FCGI_WEB_SERVER_ADDRS does not have this address")
    monkeypatch.setenv("FCGI_WEB_SERVER_ADDRS", "192.0.2.1, 127.0.0.1")
    with running(app_of(hello)) as served:
        assert outcome(served.exchange(request(keep=False))).stdout.endswith(b"hello ")


def test_a_unix_socket_has_no_address_that_could_be_excluded(monkeypatch: pytest.MonkeyPatch, short_path: Any) -> None:
    monkeypatch.setenv("FCGI_WEB_SERVER_ADDRS", "192.0.2.1")
    with running(app_of(hello), address=f"unix:{short_path}/x") as served:
        assert outcome(served.exchange(request(keep=False))).stdout.endswith(b"hello ")


def test_the_addresses_of_web_servers_are_checked() -> None:
    assert web_server_addresses("") == web_server_addresses(" , ") == frozenset()
    assert web_server_addresses("10.0.0.1,2001:DB8:0::1") == {"10.0.0.1", "2001:db8::1"}
    with pytest.raises(StartupError, match=r"FCGI_WEB_SERVER_ADDRS: 'localhost' does not appear to be .* separated by"):
        web_server_addresses("127.0.0.1,localhost")


@pytest.mark.parametrize("how", ["abort", "close"])
def test_an_application_that_waits_notices_the_end_of_its_request(how: str) -> None:
    gate = Gate()
    found: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        found.append(environ["reserve.client_disconnected"]())
        gate(environ, start_response)
        found.append(environ["reserve.client_disconnected"]())
        return [b"done"]

    with running(app_of(app), threads=1) as served, served.connect() as client:
        client.sendall(WAITING)
        gate.wait_entered()
        if how == "abort":
            client.sendall(raw(ABORT_REQUEST, 1))
        else:
            client.shutdown(socket.SHUT_WR)
        gate.release()
        received = until_closed(client)[0] if how == "close" else receive_response(client)
        assert outcome(received).stdout.endswith(b"done")
        if how == "abort":  # the connection goes on
            client.sendall(request(number=2))
            assert outcome(receive_response(client), 2).stdout.endswith(b"done")
    assert found[:2] == [False, True]


def test_errors_of_a_request_that_takes_too_long_come_with_its_refusal() -> None:
    gate = Gate()

    def app(environ: Any, start_response: Any) -> Any:
        print("I wait", file=environ["wsgi.errors"])
        return gate(environ, start_response)

    with running(app_of(app), threads=1, request_timeout=0.05, hooks=hooks_logging_to([])) as served:
        with served.connect() as client:
            client.sendall(WAITING)
            gate.wait_entered()
            received = outcome(until_closed(client)[0])
            assert received.stdout.startswith(b"Status: 503 ")
            assert received.stderr == b"I wait\n"
        gate.release()


def test_a_large_response_to_a_slow_reader_is_whole() -> None:
    body = bytes(range(256)) * 40_000

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for at in range(0, len(body), 1_000_000):
            print("at", at, file=environ["wsgi.errors"])
            yield body[at : at + 1_000_000]

    with running(app_of(app), threads=1) as served, served.connect() as client:
        client.sendall(request())
        received = outcome(receive_response(client))
    assert received.stdout.partition(b"\r\n\r\n")[2] == body
    assert received.stderr == b"".join(b"at %d\n" % at for at in range(0, len(body), 1_000_000))


def test_a_kept_connection_of_a_retiring_server_ends_after_its_response() -> None:
    with running(app_of(hello)) as served, served.connect() as client:
        client.sendall(request(b"1", 1))
        assert outcome(receive_response(client), 1).stdout.endswith(b"hello 1")
        served.server.retire()
        client.sendall(request(b"2", 1))
        received, reset = until_closed(client)
        assert outcome(received, 1).stdout.endswith(b"hello 2")
        assert not reset
        assert served.server._lifecycle.finished.wait(PATIENCE)

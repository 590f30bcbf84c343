"""Slow clients of the protocols that web servers speak: 200 bad ones at once, two threads, and a clock that stands."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.fastcgi.records import GET_VALUES, STDIN
from reserve.protocol.fastcgi.scanner import MOST_REPLIES
from tests.adversity.holding import Watched, honest, watched
from tests.apps.cgi.protocols import FASTCGI, Protocol, each_protocol
from tests.clients import until_closed
from tests.protocol.fastcgi import messages as fastcgi
from tests.waiting import eventually

COUNT = 200
HEAD, BODY, IDLE, WRITE, LINGER = 10.0, 20.0, 15.0, 30.0, 2.0  # the deadlines, by default
HTTP = HTTPSettings(access_log=False)


def assert_serves(site: Watched, protocol: Protocol) -> None:
    """An honest web server is served; its request may overtake those that wait."""
    for _ in range(3):
        with site.connect() as client:
            client.sendall(protocol.request("/honest"))
            assert protocol.read(until_closed(client)[0]).body == b"honest"


def assert_disconnected(site: Watched, clients: list[socket.socket]) -> None:
    """All of them, although they keep their sockets open."""
    site.clock.advance(LINGER + 1)
    eventually(lambda: site.server.stats().connections == 0)
    for client in clients:
        client.close()
    site.assert_nothing_left()


@each_protocol
@pytest.mark.parametrize(
    ("missing", "deadline", "refused"),
    [
        pytest.param(None, HEAD, False, id="silent"),
        pytest.param(-120, HEAD, True, id="half a head"),
        pytest.param(-50, BODY, True, id="half a body"),
    ],
)
def test_web_servers_that_stop_sending_are_closed_at_the_deadline(
    protocol: Protocol, missing: int | None, deadline: float, refused: bool
) -> None:
    sent = b"" if missing is None else protocol.request("/", b"x" * 100, {}, "POST")[:missing]
    with watched(protocol.app(honest, HTTP)) as site, site.crowd(COUNT, sent) as clients:
        site.wait_until_parked(COUNT)
        assert_serves(site, protocol)
        eventually(lambda: site.server.stats().handled == 3)  # none of the others has used a thread
        site.clock.advance(deadline - 1)
        assert_serves(site, protocol)
        eventually(lambda: site.server.stats().connections == COUNT)
        site.clock.advance(2 + BODY * refused)  # the bytes of the half bodies have earned a little more time
        for client in clients:
            received, _ = until_closed(client)
            assert protocol.read(received).status == 408 if refused else received == b""
        assert_disconnected(site, clients)


@each_protocol
@pytest.mark.parametrize(
    ("missing", "total"), [pytest.param(-150, HEAD, id="head"), pytest.param(-90, BODY, id="body")]
)
def test_web_servers_that_send_a_byte_now_and_then_are_closed_at_the_deadline(
    protocol: Protocol, missing: int, total: float
) -> None:
    raw = protocol.request("/", b"x" * 100, {}, "POST")
    sent = raw[:missing]
    with watched(protocol.app(honest, HTTP)) as site, site.crowd(COUNT, sent) as clients:
        site.wait_until_parked(COUNT)
        for number in range(int(total // 3)):
            site.clock.advance(3)
            for client in clients:
                client.sendall(raw[len(sent) + number : len(sent) + number + 1])
            assert_serves(site, protocol)
        eventually(lambda: site.server.stats().connections == COUNT)
        site.clock.advance(3)  # the deadline holds for the whole, however recent the last byte is
        for client in clients:
            assert protocol.read(until_closed(client)[0]).status == 408
        assert_disconnected(site, clients)


@each_protocol
@pytest.mark.parametrize("length", [True, False], ids=["with a length", "without a length"])
def test_web_servers_that_do_not_read_their_responses_are_reset_at_the_deadline(
    protocol: Protocol, length: bool
) -> None:
    whole = b"x" * 200_000

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/honest":
            return honest(environ, start_response)
        start_response("200 OK", [("Content-Length", str(len(whole)))] if length else [])
        return iter([whole[:100_000], whole[100_000:]])

    with watched(protocol.app(app, HTTP)) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with site.crowd(COUNT, protocol.request("/large"), window=2048) as clients:
            eventually(lambda: (now := site.server.stats()).flushing == COUNT and not now.busy)
            assert_serves(site, protocol)
            slow = until_closed(clients[0])  # this one is only slow: it receives everything while the others wait
            assert (protocol.read(slow[0]).body == whole, slow[1]) == (True, False)
            site.clock.advance(WRITE + 1)
            eventually(lambda: site.server.stats().connections == 0)
            for client in clients[1:]:
                received, reset = until_closed(client)
                assert reset
                assert len(received) < len(whole)
            assert_serves(site, protocol)
        site.assert_nothing_left()


@each_protocol
@pytest.mark.parametrize("missing", [-150, -50], ids=["head", "body"])
def test_web_servers_that_disconnect_in_their_request_leave_nothing(protocol: Protocol, missing: int) -> None:
    sent = protocol.request("/", b"x" * 100, {}, "POST")[:missing]
    with watched(protocol.app(honest, HTTP)) as site:
        with site.crowd(COUNT, sent):
            site.wait_until_parked(COUNT)
        assert_serves(site, protocol)
        site.assert_nothing_left()


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"", id="silent"),
        pytest.param(fastcgi.raw(STDIN, 9, b"x"), id="records of another request"),
        pytest.param(fastcgi.raw(GET_VALUES, 0), id="management records"),
    ],
)
def test_kept_connections_are_closed_at_the_deadline_whatever_comes_between_two_requests(noise: bytes) -> None:
    with watched(FASTCGI.app(honest, HTTP)) as site, site.crowd(COUNT, fastcgi.request()) as clients:
        eventually(lambda: site.server.stats().handled == COUNT)
        for _ in range(3):
            site.clock.advance(IDLE / 4)
            for client in clients:
                client.sendall(noise)
            assert_serves(site, FASTCGI)
        eventually(lambda: site.server.stats().connections == COUNT)
        site.clock.advance(IDLE / 4 + 1)
        for client in clients:
            received, _ = until_closed(client)
            assert b"honest" in b"".join(record.content for record in fastcgi.records(received))
        assert_disconnected(site, clients)


def test_web_servers_that_only_send_what_needs_a_reply_are_closed() -> None:
    """They read no reply either."""
    noise = fastcgi.raw(GET_VALUES, 0) * 1000
    with watched(FASTCGI.app(honest, HTTP)) as site, site.crowd(COUNT, noise) as clients:
        assert_serves(site, FASTCGI)
        for client in clients:
            received, _ = until_closed(client)
            assert len(fastcgi.records(received)) == MOST_REPLIES
        assert_disconnected(site, clients)

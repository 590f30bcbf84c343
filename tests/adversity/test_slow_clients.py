"""200 bad clients of one kind at once, two threads, and a clock that stands still: an honest client is served.

Then the clock passes the deadline, and every bad client is disconnected, although it keeps its socket open.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from tests.adversity.holding import honest, over_both, watched
from tests.apps.http.responses import receive, request, split
from tests.clients import until_closed
from tests.waiting import eventually

COUNT = 200
HEAD, BODY, IDLE, WRITE = 10.0, 20.0, 15.0, 30.0  # the deadlines, by default
LINGER = 2.0
HTTP = HTTPSettings(access_log=False)
HALF_HEAD = b"GET / HTTP/1.1\r\nHost: te"
HALF_BODY = request("POST", body=b"x" * 100)[:-50]
HALF_CHUNKED = request("POST", body=b"x" * 100, chunks=60)[:-60]
EXPECTING = request("POST", "/", "Expect: 100-continue", "Content-Length: 5")


def assert_refused_with_408(clients: list[socket.socket], before: bytes = b"") -> None:
    for client in clients:
        received, _ = until_closed(client)
        assert received.startswith(before)
        assert [(response.status, response.whole) for response in split(received[len(before) :])] == [(408, True)]


def assert_closed_silently(clients: list[socket.socket]) -> None:
    assert {until_closed(client)[0] for client in clients} == {b""}


@over_both
@pytest.mark.parametrize(
    ("sent", "deadline", "refused"),
    [
        pytest.param(b"", HEAD, False, id="silent"),
        pytest.param(HALF_HEAD, HEAD, True, id="half a head"),
        pytest.param(HALF_BODY, BODY, True, id="half a body"),
        pytest.param(HALF_CHUNKED, BODY, True, id="half a chunked body"),
    ],
)
def test_clients_that_stop_sending_are_closed_at_the_deadline(
    sent: bytes, deadline: float, refused: bool, secure: bool
) -> None:
    with watched(honest, http=HTTP, secure=secure) as site, site.crowd(COUNT, sent) as clients:
        site.wait_until_parked(COUNT)
        site.assert_serves()
        eventually(lambda: site.server.stats().connections == COUNT)
        eventually(lambda: site.server.stats().handled == 3)  # none of the others has used a thread
        site.clock.advance(deadline - 1)
        site.assert_serves()
        eventually(lambda: site.server.stats().connections == COUNT)
        site.clock.advance(2 + BODY * refused)  # the bytes of the half bodies have earned a little more time
        (assert_refused_with_408 if refused else assert_closed_silently)(clients)
        site.clock.advance(LINGER + 1)
        eventually(lambda: site.server.stats().connections == 0)  # although the clients keep their sockets open
        site.assert_serves()
        for client in clients:
            client.close()
        site.assert_nothing_left()


@over_both
@pytest.mark.parametrize(
    ("sent", "drip", "total"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"y", HEAD, id="head"),
        pytest.param(request("POST", body=b"")[:-5] + b"99\r\n\r\n", b"y", BODY, id="body"),
        pytest.param(request("POST", body=b"", chunks=1)[:-5], b"1\r\ny\r\n", BODY, id="chunked body"),
    ],
)
def test_clients_that_send_a_byte_now_and_then_are_closed_at_the_deadline(
    sent: bytes, drip: bytes, total: float, secure: bool
) -> None:
    with watched(honest, http=HTTP, secure=secure) as site, site.crowd(COUNT, sent) as clients:
        site.wait_until_parked(COUNT)
        site.assert_serves()
        for _ in range(int(total // 3)):
            site.clock.advance(3)
            for client in clients:
                client.sendall(drip)
            site.assert_serves()
        eventually(lambda: site.server.stats().connections == COUNT)
        site.clock.advance(3)  # the deadline holds for the whole, however recent the last byte is
        assert_refused_with_408(clients)
        site.clock.advance(LINGER + 1)
        eventually(lambda: site.server.stats().connections == 0)
        for client in clients:
            client.close()
        site.assert_nothing_left()


@over_both
def test_clients_that_get_100_continue_and_send_no_body_are_closed_at_the_deadline(secure: bool) -> None:
    with watched(honest, http=HTTP, secure=secure) as site, site.crowd(COUNT, EXPECTING) as clients:
        site.wait_until_parked(COUNT)
        site.assert_serves()
        site.clock.advance(BODY + 1)
        assert_refused_with_408(clients, b"HTTP/1.1 100 Continue\r\n\r\n")
        for client in clients:
            client.close()
        site.assert_nothing_left()


@over_both
def test_clients_that_send_no_further_request_are_closed_at_the_deadline(secure: bool) -> None:
    with watched(honest, http=HTTP, secure=secure) as site, site.crowd(COUNT, request()) as clients:
        assert {receive(client).body for client in clients} == {b"honest"}
        site.wait_until_parked(COUNT)
        site.clock.advance(IDLE - 1)
        site.assert_serves()
        assert receive_again(clients[0]) == b"honest"  # this one has sent another request in time
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2)
        assert_closed_silently(clients[1:])
        assert receive_again(clients[0]) == b"honest"
        for client in clients:
            client.close()
        site.assert_nothing_left()


def receive_again(client: socket.socket) -> bytes:
    client.sendall(request())
    return receive(client).body


@over_both
@pytest.mark.parametrize("kind", ["list", "generator", "file"])
def test_clients_that_do_not_read_their_responses_are_reset_at_the_deadline(
    kind: str, secure: bool, tmp_path: Path
) -> None:
    """The systems of both sides buffer only a few kilobytes, so that 200 responses need not be large."""
    pieces = [b"%05d" % number * 1000 for number in range(40)]
    whole = b"".join(pieces)
    path = tmp_path / "large"
    path.write_bytes(whole)

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/":
            return honest(environ, start_response)
        start_response("200 OK", [("Content-Length", str(len(whole)))])
        if kind == "file":
            return environ["wsgi.file_wrapper"](open(path, "rb"))
        return pieces if kind == "list" else generate()

    def generate() -> Iterator[bytes]:
        yield from pieces

    memory = 65536
    http = HTTPSettings(access_log=False, spool_dir=str(tmp_path), response_memory=memory)
    with watched(app, http=http, secure=secure) as site:
        for listener in site.server._endpoints.listeners:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with site.crowd(COUNT, request("GET", "/large"), window=2048) as clients:
            eventually(lambda: (now := site.server.stats()).flushing == COUNT and not now.busy)
            site.assert_serves()
            eventually(lambda: site.server.stats().handled == COUNT + 3)  # all applications have finished
            now = site.server.stats()
            if kind == "generator":
                assert 0 < now.buffered <= COUNT * (memory + len(pieces[0]) + 1000)
                assert now.spooled
            elif kind == "file":
                # Under TLS a record waits, encrypted and as what has to be written again.
                assert now.buffered <= (COUNT * 40960 if secure else 0)
                assert now.spooled == 0
            # One of them was only slow: it receives everything while the others wait.
            slow = receive(clients[0])
            assert (slow.body == whole, slow.whole) == (True, True)
            eventually(lambda: site.server.stats().flushing == COUNT - 1)
            site.clock.advance(WRITE + 1)
            eventually(lambda: site.server.stats().connections == 0)  # no client has read or closed
            for client in clients[1:]:
                received, reset = until_closed(client)
                assert ([response.whole for response in split(received)] or [False], reset) == ([False], True)
                assert received or secure  # not even the first TLS record need have arrived completely
            site.assert_serves()
        site.assert_nothing_left()
    assert [entry.name for entry in tmp_path.iterdir()] == ["large"]

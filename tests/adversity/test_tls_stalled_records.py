"""Clients that stall in the middle of a TLS record: they send its header and half of its content, and then nothing.

The bytes are there and the poller reports them, but there is no content to read: that must not make a thread turn, hold
a worker, or extend a deadline.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests import tls
from tests.adversity.holding import Watched
from tests.adversity.tlssite import connected, tls_site
from tests.apps.http.responses import request, split
from tests.engine.conftest import recorded_polls
from tests.waiting import eventually

COUNT = 200
HEAD, BODY, KEEP_ALIVE, LINGER = 10.0, 20.0, 15.0, 2.0  # the deadlines, by default
UPLOAD = request("POST", body=b"x" * 100)
CHUNKED = request("POST", body=b"x" * 100, chunks=60)
Stalled = list[tuple[socket.socket, tls.MemoryTLSClient]]


@contextlib.contextmanager
def stalled(site: Watched, first: bytes, second: bytes, part: float = 0.5) -> Iterator[tuple[Stalled, list[bytes]]]:
    """Clients that send ``first`` as a whole, and only a part of the record with ``second``; and the missing parts.

    :param part: of the record, from 0.0 (one byte) to 1.0.
    """
    clients: Stalled = []
    missing: list[bytes] = []
    with contextlib.ExitStack() as stack:
        for _ in range(COUNT):
            client, memory_client = stack.enter_context(connected(site))
            if first:
                client.sendall(memory_client.encrypt(first))
            record = memory_client.encrypt(second)
            size = max(1, int(len(record) * part))
            client.sendall(record[:size])
            clients.append((client, memory_client))
            missing.append(record[size:])
        yield clients, missing


def send_byte(clients: Stalled, missing: list[bytes], position: int) -> None:
    for (client, _), record in zip(clients, missing, strict=True):
        client.sendall(record[position : position + 1])


CASES = [
    pytest.param(b"", request(), HEAD, False, id="the first"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: te", b"st\r\n\r\n", HEAD, True, id="in the head"),
    pytest.param(UPLOAD[:-100], UPLOAD[-100:], BODY, True, id="before the body"),
    pytest.param(UPLOAD[:-50], UPLOAD[-50:], BODY, True, id="in the body"),
    pytest.param(CHUNKED[:-60], CHUNKED[-60:], BODY, True, id="in a chunked body"),
]
"""What is sent as a whole, what in a partial record, the deadline, and whether a 408 is sent after it."""


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99], ids=["one byte", "half of it", "nearly all"])
@pytest.mark.parametrize(("first", "second", "deadline", "refused"), CASES)
def test_a_partial_record_holds_no_worker_until_its_deadline(
    first: bytes, second: bytes, deadline: float, refused: bool, part: float
) -> None:
    with tls_site() as site, stalled(site, first, second, part) as (clients, _):
        site.wait_until_parked(COUNT)
        site.assert_serves()
        eventually(lambda: (now := site.server.stats()).connections == COUNT and now.handled == 3)
        site.clock.advance(deadline - 1)
        site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2 + BODY * refused)
        for client, memory_client in clients:
            responses = split(memory_client.receive_all(client))
            expected = [(408, True)] if refused else []
            assert [(response.status, response.whole) for response in responses] == expected
        site.clock.advance(LINGER + 1)
        eventually(lambda: site.server.stats().connections == 0)
        for client, _ in clients:
            client.close()
        site.assert_serves()
        site.assert_nothing_left()


@pytest.mark.parametrize(("first", "second", "deadline", "refused"), CASES)
def test_a_record_that_comes_byte_by_byte_does_not_extend_the_deadline(
    first: bytes, second: bytes, deadline: float, refused: bool
) -> None:
    with tls_site() as site, stalled(site, first, second, 0.0) as (clients, missing):
        site.wait_until_parked(COUNT)
        site.assert_serves()
        for turn in range(int(deadline // 3)):
            site.clock.advance(3)
            send_byte(clients, missing, turn)
            site.assert_serves()
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(3)
        for client, memory_client in clients:
            responses = split(memory_client.receive_all(client))
            assert [response.status for response in responses] == ([408] if refused else [])
        for client, _ in clients:
            client.close()
        site.assert_nothing_left()


@pytest.mark.parametrize("part", [0.0, 0.5], ids=["one byte", "half of it"])
def test_a_partial_record_begins_no_request_on_an_idle_connection(part: float) -> None:
    with tls_site() as site, stalled(site, request(), request(), part) as (clients, missing):
        for client, memory_client in clients:
            assert split(memory_client.receive(client))[0].body == b"honest"
        eventually(lambda: (now := site.server.stats()).parked == now.connections == COUNT)
        site.clock.advance(KEEP_ALIVE - 1)
        (first, memory_client), *others = clients
        first.sendall(missing[0])  # that one was only slow
        assert split(memory_client.receive(first))[0].body == b"honest"
        eventually(lambda: site.server.stats().parked == COUNT)
        site.clock.advance(2)
        assert {memory_client.receive_all(client) for client, memory_client in others} == {b""}
        eventually(lambda: site.server.stats().connections == 1)
        for client, _ in clients:
            client.close()
        site.assert_nothing_left()


def test_a_partial_record_causes_no_further_polls() -> None:
    """The session keeps the bytes of a partial record, and the poller does not report them again."""
    with tls_site() as site, stalled(site, b"", request(), 0.5):
        eventually(lambda: (now := site.server.stats()).parked == now.connections == COUNT)
        eventually(lambda: site.server._queue._reactor.polling)
        polls = recorded_polls(site.server._runtime.poller)
        site.assert_serves(3)
        assert len(polls) <= 40  # those of one client that connects, does its handshake and sends three requests


# ---- records and requests of different sizes ----


def test_a_request_in_records_of_one_byte_each_is_served() -> None:
    """The most records that a request can be made of."""
    raw = request("POST", "/", body=b"x" * 500)
    with tls_site() as site, connected(site) as (client, memory_client):
        client.sendall(b"".join(memory_client.encrypt(bytes([byte])) for byte in raw))
        assert split(memory_client.receive(client))[0].body == b"honest"


@pytest.mark.parametrize("count", [2, 100, 600])
def test_every_request_of_a_pipeline_in_one_record_is_served(count: int) -> None:
    """Content that TLS has buffered counts as readable: no event reports it."""
    with tls_site() as site, connected(site) as (client, memory_client):
        client.sendall(memory_client.encrypt(request() * count + request("GET", "/", "Connection: close")))
        responses = split(memory_client.receive_all(client))
        assert [response.body for response in responses] == [b"honest"] * (count + 1)

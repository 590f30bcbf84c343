"""Incomplete heads are counted into the budget: while it is used up, large ones are refused, small ones never."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests import tls
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import connect as tcp_client
from tests.clients import until_closed
from tests.overload.site import Site, close_clients, over_both, reset_clients, serving
from tests.waiting import eventually

LARGE = b"GET / HTTP/1.1\r\nHost: test\r\n" + (b"X: " + b"a" * 9995 + b"\r\n") * 3
"""An incomplete head of 30 KB."""
SMALL = b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 1000


def app(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(body)).encode()]


def use_up_memory(site: Site) -> list[socket.socket]:
    """Clients that have each sent an incomplete head, until the memory is used up."""
    site.server._runtime.budget.memory_limit = 5 * len(LARGE)
    clients = []
    for number in range(1, 6):
        clients.append(site.connect(LARGE))
        site.wait_for_stats(buffered=number * len(LARGE))
    return clients


@over_both
def test_a_large_head_is_refused_and_a_small_one_is_served(secure: bool) -> None:
    with serving(app, secure=secure) as site:
        clients = use_up_memory(site)
        for _ in range(3):
            late = site.connect(LARGE)
            response = receive(late)
            assert (response.status, response.whole) == (503, True)
            assert b"--buffer-memory" in response.body
            assert until_closed(late) == (b"", False)
            late.close()
        small = site.connect(SMALL)
        site.wait_for_stats(buffered=5 * len(LARGE) + len(SMALL))  # counted, but not refused
        small.sendall(b"\r\n\r\n")
        assert receive(small).body == b"0"
        site.wait_for_stats(buffered=5 * len(LARGE))
        assert site.fetch().body == b"0"
        eventually(lambda: any("503" in line and "--buffer-memory" in line for line in site.log))
        for client in clients:
            client.sendall(b"\r\n")
            assert receive(client).body == b"0"
        site.wait_for_stats(buffered=0)
        again = site.connect(LARGE)  # there is room again
        site.wait_for_stats(buffered=len(LARGE))
        again.sendall(b"\r\n")
        assert receive(again).body == b"0"
        for client in (*clients, small, again):
            client.close()
        site.wait_released()


def time_out(site: Site, clients: list[socket.socket]) -> None:
    site.clock.advance(10)
    for client in clients:
        assert receive(client).status == 408
    site.wait_for_stats(buffered=0)  # although the connections linger
    close_clients(site, clients)


def send_malformed(site: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        client.sendall(b"\0")
        assert receive(client).status == 400
    site.wait_for_stats(buffered=0)
    close_clients(site, clients)


def stop_server(site: Site, clients: list[socket.socket]) -> None:
    site.server.stop(0)


@pytest.mark.parametrize("end", [close_clients, reset_clients, time_out, send_malformed, stop_server])
def test_incomplete_heads_are_freed_whatever_ends_the_connection(
    end: Callable[[Site, list[socket.socket]], None],
) -> None:
    with serving(app) as site:
        end(site, use_up_memory(site))
        site.wait_released()


def test_a_large_head_counts_while_its_body_is_received() -> None:
    head = LARGE.replace(b"GET", b"PUT") + b"Content-Length: 10\r\n\r\n"
    with serving(app) as site:
        site.server._runtime.budget.memory_limit = 2 * len(head)
        first = site.connect(head + b"12345")
        site.wait_for_stats(buffered=len(head) + 5)
        second = site.connect(head)
        response = receive(second)
        assert (response.status, response.whole) == (503, True)
        small = site.connect(request("POST", body=b"x" * 10)[:-5])
        site.wait_for_stats(buffered=len(head) + 10)
        for client in (first, small):
            client.sendall(b"67890")
            assert receive(client).body == b"10"
        for client in (first, second, small):
            client.close()
        site.wait_released()


def test_a_large_head_counts_while_it_waits_for_a_worker() -> None:
    gate = Gate(app)
    with serving(gate) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        waiting = site.connect(LARGE + b"\r\n")
        site.wait_queued(1)
        assert site.stats().buffered >= len(LARGE)
        gate.release()
        assert [receive(client).body for client in (busy, waiting)] == [b"0", b"0"]
        site.wait_for_stats(buffered=0, connections=2)
        for client in (busy, waiting):
            client.close()
        site.wait_released()


def test_a_large_trailer_counts_and_is_refused_when_the_memory_is_used_up() -> None:
    head = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    large = head + b"".join(b"X-%d: %b\r\n" % (number, b"v" * 90) for number in range(60))
    with serving(app) as site:
        first = site.connect(large)
        eventually(lambda: site.stats().buffered >= len(large) - len(head))
        site.server._runtime.budget.memory_limit = site.stats().buffered
        second = site.connect(large)
        assert receive(second).status == 503
        small = site.connect(head + b"X: y\r\n")
        for client in (first, small):
            client.sendall(b"\r\n")
            assert receive(client).body == b"0"
        for client in (first, second, small):
            client.close()
        site.wait_released()


def large_record(site: Site) -> tuple[socket.socket, tls.MemoryTLSClient, bytes]:
    """A client after its handshake, and a record with a complete request of 12 KB."""
    client, memory_client = tcp_client(site.address), tls.MemoryTLSClient()
    memory_client.handshake(client)
    return client, memory_client, memory_client.encrypt(request("GET", "/", "X: " + "a" * 12000))


def test_a_part_of_a_tls_record_counts_and_is_refused_when_the_memory_is_used_up() -> None:
    with serving(app, secure=True) as site, contextlib.ExitStack() as stack:
        first, first_tls, record = large_record(site)
        stack.enter_context(first)
        first.sendall(record[:-1])
        site.wait_for_stats(buffered=len(record) - 1)
        site.server._runtime.budget.memory_limit = len(record)
        second, second_tls, record_of_second = large_record(site)
        stack.enter_context(second)
        second.sendall(record_of_second[:-1])
        assert second_tls.receive(second).startswith(b"HTTP/1.1 503 ")
        first.sendall(record[-1:])
        assert first_tls.receive(first).startswith(b"HTTP/1.1 200 ")
        site.wait_for_stats(parked=1, buffered=0)
        second.close()
        first.close()
        site.wait_released()


def test_a_part_of_a_record_after_a_request_counts() -> None:
    with serving(app, secure=True) as site:
        with tcp_client(site.address) as client:
            memory_client = tls.MemoryTLSClient()
            memory_client.handshake(client)
            client.sendall(memory_client.encrypt(request()) + memory_client.encrypt(b"G" * 5000)[:-1])
            assert memory_client.receive(client).startswith(b"HTTP/1.1 200 ")
            eventually(lambda: site.stats().buffered >= 5000)
        site.wait_released()


def test_a_large_unfinished_client_hello_counts_and_is_refused_when_the_memory_is_used_up() -> None:
    hello = b"\x16\x03\x01\x40\x00\x01\x00\x60\x00\x03\x03" + bytes(10000)
    with serving(app, secure=True) as site, contextlib.ExitStack() as stack:
        first = stack.enter_context(tcp_client(site.address))
        first.sendall(hello)
        site.wait_for_stats(buffered=len(hello))
        site.server._runtime.budget.memory_limit = len(hello)
        second = stack.enter_context(tcp_client(site.address))
        second.sendall(hello)
        assert until_closed(second)[0] == b""
        eventually(lambda: any("--buffer-memory" in line for line in site.log))
        assert site.fetch().body == b"0"  # an ordinary ClientHello
        first.close()
        second.close()
        site.wait_released()

"""Heads that wait for their end are in the budget: large ones are refused while it is used up, small ones never."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.http.responses import receive, request
from tests.clients import close_with_reset, until_closed
from tests.overload.site import Site, over_both, site
from tests.waiting import eventually

LARGE = b"GET / HTTP/1.1\r\nHost: test\r\n" + (b"X: " + b"a" * 9995 + b"\r\n") * 3
"""A head of 30 KB without its end."""
SMALL = b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 1000


def app(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(len(body)).encode()]


def full(one: Site, raw: bytes = LARGE) -> list[socket.socket]:
    """Clients with half a head each, until the memory is used up."""
    one.server.budget.memory_limit = 5 * len(LARGE)
    clients = []
    for number in range(1, 6):
        clients.append(one.connect(raw))
        one.waits(buffered=number * len(LARGE))
    return clients


@over_both
def test_a_large_head_is_refused_and_a_small_one_is_served(secure: bool) -> None:
    with site(app, secure=secure) as one:
        clients = full(one)
        for _ in range(3):
            late = one.connect(LARGE)
            answer = receive(late)
            assert (answer.status, answer.whole) == (503, True)
            assert b"--buffer-memory" in answer.body
            assert until_closed(late) == (b"", False)
            late.close()
        small = one.connect(SMALL)
        one.waits(buffered=5 * len(LARGE) + len(SMALL))  # counted, and never refused
        small.sendall(b"\r\n\r\n")
        assert receive(small).body == b"0"
        one.waits(buffered=5 * len(LARGE))
        assert one.ask().body == b"0"
        eventually(lambda: any("503" in line and "--buffer-memory" in line for line in one.log))
        for client in clients:
            client.sendall(b"\r\n")
            assert receive(client).body == b"0"
        one.waits(buffered=0)
        again = one.connect(LARGE)  # there is room again
        one.waits(buffered=len(LARGE))
        again.sendall(b"\r\n")
        assert receive(again).body == b"0"
        for client in (*clients, small, again):
            client.close()
        one.gives_everything_back()


def end_by_closing(one: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


def end_by_reset(one: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        close_with_reset(client)


def end_by_time(one: Site, clients: list[socket.socket]) -> None:
    one.clock.advance(10)
    for client in clients:
        assert receive(client).status == 408
    one.waits(buffered=0)  # although they linger
    end_by_closing(one, clients)


def end_by_an_error(one: Site, clients: list[socket.socket]) -> None:
    for client in clients:
        client.sendall(b"\0")
        assert receive(client).status == 400
    one.waits(buffered=0)
    end_by_closing(one, clients)


def end_by_a_stop(one: Site, clients: list[socket.socket]) -> None:
    one.server.stop(0)


@pytest.mark.parametrize("end", [end_by_closing, end_by_reset, end_by_time, end_by_an_error, end_by_a_stop])
def test_everything_comes_back(end: Callable[[Site, list[socket.socket]], None]) -> None:
    with site(app) as one:
        end(one, full(one))
        one.gives_everything_back()


def test_a_large_head_counts_while_its_body_is_received() -> None:
    head = LARGE.replace(b"GET", b"PUT") + b"Content-Length: 10\r\n\r\n"
    with site(app) as one:
        one.server.budget.memory_limit = 2 * len(head)
        first = one.connect(head + b"12345")
        one.waits(buffered=len(head) + 5)
        second = one.connect(head)
        answer = receive(second)
        assert (answer.status, answer.whole) == (503, True)
        small = one.connect(request("POST", body=b"x" * 10)[:-5])
        one.waits(buffered=len(head) + 10)
        for client in (first, small):
            client.sendall(b"67890")
            assert receive(client).body == b"10"
        for client in (first, second, small):
            client.close()
        one.gives_everything_back()

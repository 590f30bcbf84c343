"""How often the leader polls: not at all without an event, and once for each event."""

from __future__ import annotations

import socket
from queue import SimpleQueue
from typing import Any

from tests.engine.conftest import MakePoller, Serve, echo, receive
from tests.waiting import PATIENCE, eventually


def test_an_idle_server_makes_no_wake_ups(serve: Serve, make_poller: MakePoller) -> None:
    poller = make_poller()
    inner, timeouts = poller.poll, list[object]()

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        timeouts.append(timeout)
        return inner(timeout)

    poller.poll = poll  # type: ignore[method-assign]
    running = serve(echo, poller=poller)
    clients = [running.connect() for _ in range(5)]
    for client in clients:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    monitor = running.server._runtime.monitor
    # The leader polls without a timeout.
    eventually(lambda: monitor._alarm.asleep and running.server.stats().parked == 5 and timeouts[-1] is None)
    assert set(timeouts) <= {None, 0.0}  # 0: it polled between two steps
    before = len(timeouts)
    clients[0].sendall(b"y")
    assert receive(clients[0], 1) == b"y"
    eventually(lambda: running.server.stats().parked == 5)
    # One poll has returned with the event, and one waits now: there was no other in between.
    assert len(timeouts) - before <= 2


def test_a_half_closed_peer_that_does_not_read_is_waited_for_without_spinning(
    serve: Serve, make_poller: MakePoller
) -> None:
    poller = make_poller()
    inner, polls = poller.poll, SimpleQueue[object]()

    def poll(timeout: float | None) -> list[tuple[int, int]]:
        polls.put(timeout)
        return inner(timeout)

    poller.poll = poll  # type: ignore[method-assign]
    sockets: SimpleQueue[socket.socket] = SimpleQueue()

    def handle(sock: socket.socket, address: Any, server: Any) -> Any:
        sockets.put(sock)
        return echo(sock, address, server)

    running = serve(handle, poller=poller, max_output=20_000_000)
    slow = running.connect()
    running.server.send(sockets.get(timeout=PATIENCE), b"x" * 16_000_000)
    other = running.connect()
    eventually(lambda: running.server.stats().flushing == 1)
    slow.shutdown(socket.SHUT_WR)
    before = polls.qsize()
    for _ in range(10):
        other.sendall(b"ping")
        assert receive(other, 4) == b"ping"
    assert polls.qsize() - before <= 45  # two for each response, and a few more; a leader that spins makes thousands
    assert len(receive(slow, 16_000_000)) == 16_000_000

"""How often the leader polls: not at all without an event, and once for each event."""

from __future__ import annotations

import socket
from queue import SimpleQueue

from tests.clients import receive
from tests.engine.conftest import MakePoller, Serve, echo, publishing, recorded_polls
from tests.waiting import PATIENCE, eventually


def test_an_idle_server_makes_no_wake_ups(serve: Serve, make_poller: MakePoller) -> None:
    poller = make_poller()
    timeouts = recorded_polls(poller)
    running = serve(echo, poller=poller, idle_timeout=0)  # no deadline of a connection ends a poll
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
    polls = recorded_polls(poller)
    sockets: SimpleQueue[socket.socket] = SimpleQueue()
    running = serve(publishing(sockets, echo), poller=poller, max_output=20_000_000)
    slow = running.connect()
    running.server.send(sockets.get(timeout=PATIENCE), b"x" * 16_000_000)
    other = running.connect()
    eventually(lambda: running.server.stats().flushing == 1)
    slow.shutdown(socket.SHUT_WR)
    before = len(polls)
    for _ in range(10):
        other.sendall(b"ping")
        assert receive(other, 4) == b"ping"
    assert len(polls) - before <= 45  # two for each response, and a few more; a leader that spins makes thousands
    assert len(receive(slow, 16_000_000)) == 16_000_000

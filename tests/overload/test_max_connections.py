"""``--max-connections``: which connections close for new ones, which clients wait, and that no thread is busy then."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.acceptor import Acceptor, PauseLog
from reserve.engine.polling.timers import NEVER
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import Site, received_nothing, serving
from tests.waiting import eventually


def connect_idle(site: Site, count: int) -> list[socket.socket]:
    """Idle keep-alive connections, the oldest first."""
    clients = []
    for _ in range(count):
        client = site.connect(request())
        assert receive(client).status == 200
        eventually(lambda: site.stats().owned + site.stats().parked == site.stats().connections)
        site.clock.advance(0.25)
        clients.append(client)
    return clients


def wait_logged(site: Site, count: int) -> None:
    eventually(lambda: len(site.log) == count)


def test_the_oldest_idle_connection_closes_for_a_new_one_and_active_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._IDLE_CLOSED_AT_ONCE", 1)
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)  # on a busy machine it would look again
    gate = Gate()
    with serving(gate, threads=2, max_connections=4) as site:
        active = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        old, middle, young = connect_idle(site, 3)
        new_client = site.connect(request())
        assert until_closed(old) == (b"", False)
        assert receive(new_client).body == b"served"
        assert received_nothing(middle)
        assert received_nothing(young)
        assert received_nothing(active)
        gate.release()
        assert receive(active).body == b"served"
        eventually(lambda: site.log)
        assert len(site.log) == 1


def test_at_the_limit_no_connection_closes_while_no_client_waits() -> None:
    with serving(Gate(), max_connections=3) as site:
        clients = connect_idle(site, 3)
        for client in clients:  # each is still served
            client.sendall(request())
            assert receive(client).body == b"served"
        assert site.log == []
        assert site.stats().accepted == 3


def test_without_idle_connections_new_clients_wait_in_the_backlog_and_the_accept_thread_sleeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts = []
    accept = Acceptor._accept

    def counted(self: Acceptor, listener: socket.socket, most: int = 64) -> bool:
        attempts.append(1)
        return accept(self, listener, most)

    monkeypatch.setattr(Acceptor, "_accept", counted)
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)
    gate = Gate()
    with serving(gate, threads=2, max_connections=2) as site:
        active = [site.connect(request("GET", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        new_clients = [site.connect(request()) for _ in range(5)]
        eventually(lambda: site.log)
        before = len(attempts)
        site.clock.advance(5)
        assert site.stats().accepted == 2
        assert all(received_nothing(client) for client in (*active, *new_clients))
        assert len(attempts) == before
        gate.release()
        for client in active:
            assert receive(client).body == b"served"
            client.close()
        for client in new_clients:  # one after another, as connections close
            assert receive(client).body == b"served"
            client.close()
        site.wait_released()
        assert len(attempts) < 60
        assert len(site.log) == 1
        assert "--max-connections" in site.log[0]


def test_the_first_connection_that_becomes_idle_closes_for_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)
    gate = Gate()
    with serving(gate, threads=2, max_connections=2) as site:
        active = [site.connect(request("GET", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        new_client = site.connect(request())
        wait_logged(site, 1)
        eventually(lambda: site.server._queue.idle_wanted)
        gate.release()
        assert [receive(client).body for client in active] == [b"served"] * 2
        assert receive(new_client).body == b"served"  # although no client has closed


def fill_and_empty(site: Site) -> None:
    """A server with --max-connections 1 accepts a second connection, and has none at last."""
    first = site.connect(request())
    assert receive(first).status == 200
    second = site.connect(request())  # the first is idle and closes
    assert receive(second).status == 200
    assert until_closed(first) == (b"", False)
    second.close()
    site.wait_for_stats(connections=0)
    third = site.connect(request())  # no other client waits
    assert receive(third).status == 200
    third.close()
    site.wait_for_stats(connections=0)


def test_the_limit_is_logged_once_however_often_it_is_reached_and_once_when_that_is_over() -> None:
    with serving(Gate(), max_connections=1) as site:
        for count in range(1, 3):
            for _ in range(5):  # a client that connects in a loop does not fill the log
                fill_and_empty(site)
                site.clock.advance(0.5)
            wait_logged(site, 2 * count - 1)
            site.clock.advance(PauseLog.CALM)
            wait_logged(site, 2 * count)
        assert ["no new connections for now" in line for line in site.log] == [True, False] * 2
        assert all("1 are open" in line for line in site.log[::2])
        assert all("accepted as they come again" in line for line in site.log[1::2])
        assert all("for 2.0 s; 0 are open" in line for line in site.log[1::2])


def test_each_reason_is_logged_once_until_it_is_over() -> None:
    messages: list[str] = []
    now = [100.0]
    logs = SimpleNamespace(warning=messages.append)
    pause_log = PauseLog(cast(Any, logs), lambda: now[0], lambda: 7)
    for _ in range(100):
        for why in ("connections", "descriptors"):
            pause_log.begin(why)
            pause_log.extend()
            pause_log.check()
        now[0] += 1.0
    assert len(messages) == 2
    assert pause_log.due == now[0] - 1.0 + PauseLog.CALM
    now[0] = pause_log.due
    pause_log.check()
    pause_log.check()
    assert len(messages) == 3
    assert "99.0 s" in messages[2]
    assert pause_log.due == NEVER
    pause_log.begin("connections")
    assert len(messages) == 4


def test_a_request_that_arrives_before_the_close_of_an_idle_connection_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes that have arrived keep the connection: the server looks at the socket before it closes it."""
    bodies: list[bytes] = []
    with serving(Gate(), max_connections=1) as site:
        (client,) = connect_idle(site, 1)
        reclaim = site.server._runtime.acceptor._admission.close_idle

        def late(count: int) -> None:
            client.sendall(request())
            bodies.append(receive(client).body)
            reclaim(count)

        monkeypatch.setattr(site.server._runtime.acceptor._admission, "close_idle", late)
        new_client = site.connect(request())
        assert receive(new_client).body == b"served"
        assert bodies[0] == b"served"

"""``--max-connections``: which connections make room, who waits, and that nobody spins meanwhile."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.engine.acceptor import Acceptor
from reserve.engine.polling.timers import NEVER
from reserve.engine.shortage import PauseLog
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload import site as sites
from tests.overload.site import Gate, silent, site
from tests.waiting import eventually


def idle(one: sites.Site, count: int) -> list[socket.socket]:
    """Connections in keep-alive, the first one the oldest."""
    clients = []
    for _ in range(count):
        client = one.connect(request())
        assert receive(client).status == 200
        eventually(lambda: one.stats().owned + one.stats().parked == one.stats().connections)
        one.clock.advance(0.25)
        clients.append(client)
    return clients


def logged(one: sites.Site, count: int) -> None:
    eventually(lambda: len(one.log) == count)


def test_the_oldest_idle_one_makes_room_and_active_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._RECLAIM", 1)
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)  # on a busy machine it would look a second time
    gate = Gate()
    with site(gate, threads=2, max_connections=4) as one:
        active = one.connect(request("GET", "/wait"))
        gate.inside()
        old, middle, young = idle(one, 3)
        newcomer = one.connect(request())
        assert until_closed(old) == (b"", False)
        assert receive(newcomer).body == b"served"
        assert silent(middle)
        assert silent(young)
        assert silent(active)
        gate.let_go()
        assert receive(active).body == b"served"
        eventually(lambda: one.log)
        assert len(one.log) == 1


def test_at_the_limit_with_nobody_waiting_nothing_is_closed() -> None:
    with site(Gate(), max_connections=3) as one:
        clients = idle(one, 3)
        for client in clients:  # each is still served: nobody was cut to make room for nobody
            client.sendall(request())
            assert receive(client).body == b"served"
        assert one.log == []
        assert one.stats().accepted == 3


def test_without_idle_ones_newcomers_wait_in_the_backlog_and_nobody_spins(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    accept = Acceptor._accept

    def counted(self: Acceptor, listener: socket.socket) -> bool:
        attempts.append(1)
        return accept(self, listener)

    monkeypatch.setattr(Acceptor, "_accept", counted)
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)
    gate = Gate()
    with site(gate, threads=2, max_connections=2) as one:
        active = [one.connect(request("GET", "/wait")) for _ in range(2)]
        gate.inside(2)
        newcomers = [one.connect(request()) for _ in range(5)]
        eventually(lambda: one.log)
        before = len(attempts)
        one.clock.advance(5)
        assert one.stats().accepted == 2
        assert all(silent(client) for client in (*active, *newcomers))
        assert len(attempts) == before
        gate.let_go()
        for client in active:
            assert receive(client).body == b"served"
            client.close()
        for client in newcomers:  # one after another, as room comes
            assert receive(client).body == b"served"
            client.close()
        one.gives_everything_back()
        assert len(attempts) < 60
        assert len(one.log) == 1
        assert "--max-connections" in one.log[0]


def test_the_first_that_becomes_idle_makes_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reserve.engine.acceptor._PAUSE", 3600.0)
    gate = Gate()
    with site(gate, threads=2, max_connections=2) as one:
        active = [one.connect(request("GET", "/wait")) for _ in range(2)]
        gate.inside(2)
        newcomer = one.connect(request())
        logged(one, 1)
        eventually(lambda: one.server._queue.idle_wanted)
        gate.let_go()
        assert [receive(client).body for client in active] == [b"served"] * 2
        assert receive(newcomer).body == b"served"  # although none of the others has closed


def fill_and_empty(one: sites.Site) -> None:
    """A server for one connection gets a second one, and is empty again."""
    first = one.connect(request())
    assert receive(first).status == 200
    second = one.connect(request())  # the first is idle and makes room
    assert receive(second).status == 200
    assert until_closed(first) == (b"", False)
    second.close()
    one.waits(connections=0)
    third = one.connect(request())  # nobody waits behind it
    assert receive(third).status == 200
    third.close()
    one.waits(connections=0)


def test_however_often_it_is_full_is_one_line_and_one_more_when_it_is_over() -> None:
    with site(Gate(), max_connections=1) as one:
        for time in range(1, 3):
            for _ in range(5):  # a client that comes and goes in a loop does not fill the log
                fill_and_empty(one)
                one.clock.advance(0.5)
            assert len(one.log) == 2 * time - 1
            one.clock.advance(PauseLog.CALM)
            logged(one, 2 * time)
        assert ["no new connections for now" in line for line in one.log] == [True, False] * 2
        assert all("1 are open" in line for line in one.log[::2])
        assert all("accepted as they come again" in line for line in one.log[1::2])
        assert all("for 2.0 s; 0 are open" in line for line in one.log[1::2])


def test_each_reason_is_said_once_until_it_is_over() -> None:
    said: list[str] = []
    now = [100.0]
    logs = SimpleNamespace(warning=said.append)
    shortage = PauseLog(cast(Any, logs), lambda: now[0], lambda: 7)
    for _ in range(100):
        for why in ("connections", "descriptors"):
            shortage.begins(why)
            shortage.goes_on()
            shortage.look()
        now[0] += 1.0
    assert len(said) == 2
    assert shortage.due == now[0] - 1.0 + PauseLog.CALM
    now[0] = shortage.due
    shortage.look()
    shortage.look()
    assert len(said) == 3
    assert "99.0 s" in said[2]
    assert shortage.due == NEVER
    shortage.begins("connections")
    assert len(said) == 4


def test_a_request_that_is_on_its_way_to_a_connection_that_makes_room_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Octets that have come keep the connection: the look into the socket is before the close."""
    seen: list[Any] = []
    with site(Gate(), max_connections=1) as one:
        (client,) = idle(one, 1)
        reclaim = one.server._runtime.acceptor._reclaim

        def late(count: int) -> None:
            client.sendall(request())
            seen.append(receive(client).body)
            reclaim(count)

        monkeypatch.setattr(one.server._runtime.acceptor, "_reclaim", late)
        newcomer = one.connect(request())
        assert receive(newcomer).body == b"served"
        assert seen[0] == b"served"

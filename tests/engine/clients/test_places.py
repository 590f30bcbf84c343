"""Which addresses are one client, and what each client holds of a limit: on one thread, and on many."""

from __future__ import annotations

import threading

import pytest

from reserve.engine.clients.places import HELD, NONE, WAITS, ClientLimit, ClientLimits, Place, client_of
from reserve.engine.settings import EngineSettings
from reserve.errors import UsageError
from reserve.sockets.proxies import trusted_proxies

CLIENTS = {
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::1": "2001:db8:1:2::/64",
    "2001:db8:1:3::1": "2001:db8:1:3::/64",
    "fe80::1%eth0": "fe80::/64",
    "::1": "::/64",
    "": "",
    "-": "",
    "unix:": "",
    "client.example": "",
}


def limit(most: int, unlimited: str = "") -> ClientLimit:
    return ClientLimit(most, trusted_proxies(unlimited))


def place(limit: ClientLimit, host: str = "192.0.2.7") -> Place:
    made = limit.place(host)
    assert made is not None
    return made


@pytest.mark.parametrize(("host", "client"), CLIENTS.items())
def test_the_client_of_an_address(host: str, client: str) -> None:
    assert client_of(host) == client
    assert place(limit(1), host).client == client


def test_each_client_holds_so_many_places_and_the_table_forgets_it_at_the_end() -> None:
    two = limit(2)
    places = [place(two) for _ in range(3)]
    assert [one.enter() for one in places] == [HELD, HELD, NONE]
    assert place(two, "192.0.2.8").enter() is HELD
    assert places[0].enter() is HELD  # once more: nothing changes
    assert two.holding() == ({"192.0.2.7": 2, "192.0.2.8": 1}, 0)
    places[2].leave()  # it holds none
    places[0].leave()
    places[0].leave()
    assert two.holding() == ({"192.0.2.7": 1, "192.0.2.8": 1}, 0)
    assert [place.enter() for place in places] == [HELD, HELD, NONE]
    places[0].leave()
    places[1].leave()
    assert two.holding() == ({"192.0.2.8": 1}, 0)


def test_a_place_that_is_free_goes_to_the_one_that_waits_longest_and_to_no_newcomer() -> None:
    one, called = limit(1), list[int]()
    first = place(one)
    waiting = [one.place("192.0.2.7", lambda number=number: called.append(number)) for number in range(4)]  # type: ignore[misc]
    assert first.enter(3) is HELD
    assert [late.enter(3) for late in waiting if late] == [WAITS, WAITS, WAITS, NONE]
    assert one.holding() == ({"192.0.2.7": 1}, 3)
    assert waiting[0] is not None
    assert waiting[1] is not None
    assert waiting[2] is not None
    waiting[1].leave()  # it stops to wait
    assert called == []
    first.leave()
    assert called == [0]
    assert first.enter() is NONE
    assert waiting[0].enter() is HELD
    waiting[0].leave()
    assert called == [0, 2]
    waiting[2].leave()
    assert one.holding() == ({}, 0)


def test_memory_that_runs_out_when_the_next_one_is_told_loses_no_place() -> None:
    def fail() -> None:
        raise MemoryError

    one = limit(1)
    first, second = place(one), one.place("192.0.2.7", fail)
    assert second is not None
    assert (first.enter(1), second.enter(1)) == (HELD, WAITS)
    first.leave()
    assert second.enter(1) is HELD


def test_clients_without_a_limit_get_no_place() -> None:
    none = limit(1, "192.0.2.0/24,2001:db8::/32")
    assert none.place("192.0.2.9") is none.place("::ffff:192.0.2.9") is none.place("2001:db8::1") is None
    assert none.place("198.51.100.1") is not None
    assert none.place("") is not None
    assert limit(1, "unix").place("") is None
    assert limit(1, "0.0.0.0/0,::/0").place("") is not None


def test_without_the_options_there_is_no_limit() -> None:
    off = ClientLimits(EngineSettings())
    assert off.connections is off.running is None
    on = ClientLimits(EngineSettings(max_connections_per_client=3, max_running_per_client=2))
    assert on.connections is not None
    assert on.running is not None
    assert (on.connections.most, on.running.most) == (3, 2)


def test_what_is_no_network_is_no_client() -> None:
    with pytest.raises(UsageError, match="unlimited_clients"):
        EngineSettings(unlimited_clients="10.0.0.1/8")


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    one = limit(1)
    for number in range(10_000):
        made = place(one, f"10.0.{number >> 8}.{number & 255}")
        assert made.enter() is HELD
        made.leave()
    assert one._client_of.cache_info().currsize <= 4096
    assert one.holding() == ({}, 0)


def test_on_many_threads_no_place_is_lost_or_given_twice() -> None:
    three, holding, worst = limit(3), 0, 0
    lock = threading.Lock()

    def run(number: int) -> None:
        nonlocal holding, worst
        for turn in range(300):
            told = threading.Event()
            one = three.place("192.0.2.7", told.set)
            assert one is not None
            state = one.enter(2)
            if state is WAITS:
                if turn % 7 == 0:
                    one.leave()
                    continue
                assert told.wait(60)
                assert one.enter(2) is HELD
            if state is not NONE:
                with lock:
                    holding += 1
                    worst = max(worst, holding)
                with lock:
                    holding -= 1
            one.leave()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst <= 3
    assert three.holding() == ({}, 0)

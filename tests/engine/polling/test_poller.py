"""Every poller: a registration fires once, and what was removed or closed fires no more."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Iterator

import pytest

from reserve.engine.polling.poller import READ, WRITE, Poller, PortablePoller, new_poller
from tests.engine.conftest import MakePoller
from tests.waiting import PATIENCE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def poller(make_poller: MakePoller) -> Iterator[Poller]:
    made = make_poller()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        yield one, two


def _fill(sock: socket.socket) -> None:
    try:
        while True:
            sock.send(b"x" * 65536)
    except BlockingIOError:
        pass


def test_a_registration_fires_once(poller: Poller, pair: Pair) -> None:
    one, two = pair
    poller.add(one.fileno(), READ)
    assert poller.poll(0) == []
    two.send(b"x")
    [(fd, mask)] = poller.poll(5)
    assert fd == one.fileno()
    assert mask & READ
    assert poller.poll(0) == []  # though nothing was received
    poller.arm(one.fileno(), READ)
    assert [fd for fd, _ in poller.poll(5)] == [one.fileno()]


def test_a_socket_with_room_is_writable(poller: Poller, pair: Pair) -> None:
    one, two = pair
    _fill(one)
    poller.add(one.fileno(), WRITE)
    assert poller.poll(0) == []
    while True:
        try:
            two.recv(1 << 20)
        except BlockingIOError:
            break
    [(fd, mask)] = poller.poll(5)
    assert fd == one.fileno()
    assert mask & WRITE


def test_the_end_of_the_stream_is_readable(poller: Poller, pair: Pair) -> None:
    one, two = pair
    poller.add(one.fileno(), READ)
    two.shutdown(socket.SHUT_WR)
    [(fd, mask)] = poller.poll(5)
    assert fd == one.fileno()
    assert mask & READ


def test_a_half_closed_peer_is_no_event_for_a_socket_that_waits_for_room(poller: Poller, pair: Pair) -> None:
    """Otherwise the leader would spin for as long as the peer does not read."""
    one, two = pair
    _fill(one)
    two.shutdown(socket.SHUT_WR)
    poller.add(one.fileno(), WRITE)
    assert poller.poll(0) == []
    poller.arm(one.fileno(), WRITE)
    assert poller.poll(0) == []


def test_a_removed_descriptor_has_no_events_and_may_be_removed_twice(poller: Poller, pair: Pair) -> None:
    one, two = pair
    poller.add(one.fileno(), READ)
    two.send(b"x")
    poller.remove(one.fileno())
    poller.remove(one.fileno())
    assert poller.poll(0) == []


def test_a_descriptor_can_be_removed_after_it_was_closed(poller: Poller) -> None:
    one, two = socket.socketpair()
    with one, two:
        fd = one.fileno()
        poller.add(fd, READ)
        assert poller.poll(0) == []
        one.close()
        poller.remove(fd)
        assert poller.poll(0) == []


def test_a_descriptor_that_was_closed_and_not_removed_does_not_stop_the_others(poller: Poller, pair: Pair) -> None:
    one, two = pair
    gone, other = socket.socketpair()
    with gone, other:
        poller.add(gone.fileno(), READ)
        poller.add(one.fileno(), READ)
        assert poller.poll(0) == []
        gone.close()
        two.send(b"x")
        found = [fd for _ in range(2) for fd, _ in poller.poll(0)]
        assert one.fileno() in found


def test_a_reused_number_has_the_events_of_its_new_descriptor(poller: Poller) -> None:
    one, two = socket.socketpair()
    fd = one.fileno()
    poller.add(fd, READ)
    assert poller.poll(0) == []
    poller.remove(fd)
    one.close()
    two.close()
    three, four = socket.socketpair()
    with three, four:
        assert fd in (three.fileno(), four.fileno())
        new, peer = (three, four) if three.fileno() == fd else (four, three)
        poller.add(fd, READ)
        assert poller.poll(0) == []
        peer.send(b"x")
        assert [found for found, _ in poller.poll(5)] == [fd]
        assert new.recv(1) == b"x"


def test_a_signal_ends_the_wait(poller: Poller) -> None:
    begun = threading.Event()
    found: list[object] = []

    def wait() -> None:
        begun.set()
        found.append(poller.poll(60))

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    poller.wakeup.signal()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    poller.wakeup.signal()
    poller.wakeup.signal()
    poller.poll(5)  # several signals are one wake-up
    assert [fd for fd, _ in poller.poll(0) if fd != poller.wakeup.fd] == []


def test_a_registration_reaches_a_thread_that_is_polling(poller: Poller, pair: Pair) -> None:
    one, two = pair
    two.send(b"x")
    begun = threading.Event()
    found: list[int] = []

    def wait() -> None:
        begun.set()
        while one.fileno() not in found:
            found.extend(fd for fd, _ in poller.poll(PATIENCE))

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    poller.add(one.fileno(), READ)
    thread.join(PATIENCE)
    assert one.fileno() in found


def test_close_closes_every_descriptor(make_poller: MakePoller) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = [make_poller() for _ in range(5)]
    for poller in made:
        poller.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_of_the_selector_itself_is_raised() -> None:
    class Broken(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            raise OSError("broken")

    poller = PortablePoller(Broken())
    with pytest.raises(OSError, match="broken"):
        poller.poll(0)
    poller.close()


def test_this_platform_has_a_poller() -> None:
    new_poller().close()

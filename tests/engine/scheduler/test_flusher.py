"""Output that did not fit into the socket: its deadline, its rate, and how much leaves in one turn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, Wait
from reserve.engine.connections.output import PIECE, FilePart, Output
from reserve.engine.connections.states import DEADLINE, State
from reserve.engine.polling.poller import READ, WRITE
from reserve.engine.polling.token import take
from reserve.errors import ClientDisconnected
from tests.engine.interleave import Scheduler
from tests.engine.world import World, set_driver


def _flushing(world: World, room: int | None, event: int, **driver: Any) -> Connection:
    """A connection that waits for room; ``event`` has come: its write deadline has passed, or there is time left."""
    connection = world.connection()
    set_driver(connection, **driver)
    connection.output = Output()
    connection.output.append(b"last bytes!")
    deadline = world.clock.time if event == DEADLINE else world.clock.time + 1
    connection.output.since = world.clock.time
    connection.output.progress_at = deadline - world.settings.write_timeout
    world.queue.park(connection, WRITE, deadline, "write", State.FLUSHING)
    assert take(connection.token)
    connection.pending = event
    cast(Any, connection.sock).room = room
    return connection


def test_the_deadline_of_the_output_is_not_that_of_the_driver() -> None:
    """The output has been sent in time; the driver is stepped, and its own deadline has not passed."""
    world = World(Scheduler())
    events: list[int] = []
    wait = Wait("idle", READ, world.clock.time + 100)

    def step(seen: int, now: float) -> Wait:
        events.append(seen)
        return wait

    def expired(kind: str, now: float) -> Any:
        raise AssertionError("its deadline has not passed")

    connection = _flushing(world, None, WRITE, step=step, expired=expired)
    assert not world.stepper.advance(connection, world.clock.now())
    assert events == [WRITE]
    assert connection.state is State.PARKED
    assert connection.deadline == world.clock.time + 100


def test_a_last_response_that_is_sent_in_time_is_followed_by_lingering() -> None:
    world = World(Scheduler())
    connection = _flushing(world, None, WRITE)
    connection.closing = LINGER
    assert not world.stepper.advance(connection, world.clock.now())
    assert connection.state is State.LINGERING


@pytest.mark.parametrize("room", [0, 3, None])
@pytest.mark.parametrize("closing", [None, LINGER])
def test_after_the_write_deadline_nothing_more_is_sent_and_the_connection_is_reset(
    room: int | None, closing: Any
) -> None:
    """The kernel may have a little room although the peer reads nothing: more output would postpone the reset."""
    world = World(Scheduler())
    reasons: list[str] = []
    connection = _flushing(world, room, DEADLINE)
    connection.closing = closing
    connection.driver.on_close = lambda reason: bool(reasons.append(reason))  # type: ignore[method-assign, func-returns-value]
    assert not world.stepper.advance(connection, world.clock.now())
    sock = cast(Any, connection.sock)
    assert (connection.state, world.closed, reasons) == (State.CLOSED, [connection], ["timeout"])
    assert not sock.outgoing
    assert connection.must_reset
    assert not sock.shut, "the connection was shut down in order"


@pytest.mark.parametrize("room", [0, 3])
def test_a_peer_that_reads_something_gets_more_time(room: int) -> None:
    world = World(Scheduler())
    connection = _flushing(world, room, WRITE)
    before = connection.deadline
    assert not world.stepper.advance(connection, world.clock.now())
    assert connection.state is State.FLUSHING
    assert len(cast(Any, connection.sock).outgoing) == room
    # A spurious event is not progress.
    assert connection.deadline == (world.clock.time + world.settings.write_timeout if room else before)


def test_a_peer_that_reads_a_little_now_and_then_is_below_the_write_rate() -> None:
    world = World(Scheduler())
    begun = world.clock.time
    settings = world.settings
    connection = world.connection()
    connection.output = Output()
    connection.output.append(b"x" * 1_000_000)
    for turn in range(1, 8):
        cast(Any, connection.sock).room = 1000
        assert not world.stepper.advance(connection, world.clock.now())
        assert take(connection.token)
        most = begun + settings.write_timeout + 1000 * turn / settings.write_rate
        assert connection.deadline == min(world.clock.time + settings.write_timeout, most)
        if connection.deadline < world.clock.time + 10.0:
            break
        world.clock.time += 10.0
    assert turn == 4  # 30 s, and 8 s more for 4000 bytes at 500 bytes a second


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_client_as_fast_as_the_server_does_not_hold_the_leader(kind: str) -> None:
    world = World(Scheduler())
    order: list[tuple[int, int]] = []
    with tempfile.TemporaryFile() as file:
        size = 5 * 1048576 + 17
        file.truncate(size)

        def make(fd: int, count: int) -> Connection:
            connection = world.connection(fd)
            sock = cast(Any, connection.sock)
            sock.fileno = lambda: -1  # so that a file is read and sent
            sock.send = lambda data: order.append((fd, len(data))) or len(data)  # type: ignore[func-returns-value]
            if kind == "file":
                connection.write_file(file.fileno(), 0, count)
            else:
                connection.output = Output()
                connection.output.append(bytes(count))
            connection.closing = CLOSE
            world.queue.put(connection)
            return connection

        huge, small = make(7, size), make(8, 10)
        turns = 0
        while huge.output is not None:
            if huge.token:  # there is always room when a client is as fast as the server
                world.poller.fire(huge.fd)
            found = world.queue.next_ready(world.queue.leads.all[0], ())
            if found is None:
                continue
            turns += found is huge
            assert not world.stepper.advance(found, world.clock.now())
            assert sum(count for fd, count in order if fd == 7) <= turns * (1048576 + 65536 * 4)
    assert turns == 6
    first = order.index((8, 10))
    assert sum(count for _, count in order[:first]) == 262144  # one piece, because another connection waits
    assert small.output is None
    assert sum(count for fd, count in order if fd == 7) == size


class Sendfile:
    """``os.sendfile`` into a socket with room for ``room`` bytes. It remembers the calls."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.calls: list[tuple[int, int]] = []
        """Offset and bytes of each call that has sent something."""

    def __call__(self, target: int, fd: int, offset: int, count: int) -> int:
        sent = min(count, self.room)
        if not sent:
            raise BlockingIOError
        self.room -= sent
        self.calls.append((offset, sent))
        return sent

    def covers(self, size: int) -> bool:
        """Whether the calls have sent this much, without a gap and in order."""
        ends = [offset + count for offset, count in self.calls]
        return [offset for offset, _ in self.calls] == [0, *ends[:-1]] and ends[-1] == size


Quick = tuple[World, Connection, Sendfile, list[Connection]]
_MIB = 1048576


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pieces that are read from the page cache and sent: all of every file is there, and there is always room."""
    pieces: list[int] = []

    def send_cached(part: FilePart, sock: Any) -> int:
        count = min(part.left, PIECE)
        pieces.append(count)
        part.offset += count
        part.left -= count
        return count

    monkeypatch.setattr(FilePart, "send_cached", send_cached)
    return pieces


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[Quick]:
    """A client that has taken the first MiB of a file of 20 MiB at once, and what was passed to a file thread."""
    world = World(Scheduler())
    sendfile = Sendfile(_MIB)
    monkeypatch.setattr(os, "sendfile", sendfile, raising=False)
    submitted: list[Connection] = []
    world.stepper.files._put = lambda job, at_once: submitted.append(cast(Any, job)[0])  # type: ignore[method-assign]
    connection = world.connection()
    connection.closing = CLOSE
    with tempfile.TemporaryFile() as file:
        connection.write_file(file.fileno(), 0, 20 * _MIB)
    assert connection.output is not None
    connection.output.flush(connection.sink, _MIB)  # as a worker does
    yield world, connection, sendfile, submitted
    connection.drop_output()


def test_a_file_thread_sends_a_large_file_to_a_client_that_is_quick(quick: Quick) -> None:
    world, connection, sendfile, submitted = quick
    assert not world.stepper.advance(connection, world.clock.now())
    assert submitted == [connection]
    assert (connection.state, len(sendfile.calls), bool(connection.token)) == (State.FLUSHING, 1, False)
    sendfile.room = 100 * _MIB
    world.stepper.flush_from_disk(connection)
    assert sendfile.covers(20 * _MIB)
    assert connection.output is None
    assert world.queue.next_ready(world.queue.leads.all[0], ()) is connection  # the leader goes on with it


def test_a_file_thread_does_not_wait_for_a_client(quick: Quick, cached: list[int]) -> None:
    world, connection, sendfile, submitted = quick
    world.stepper.advance(connection, world.clock.now())
    sendfile.room = 5 * _MIB + 17
    world.stepper.flush_from_disk(connection)
    assert sendfile.covers(6 * _MIB + 17)
    assert (connection.state, world.poller.armed[7], bool(connection.token)) == (State.FLUSHING, WRITE, True)
    assert connection.deadline == world.clock.time + world.settings.write_timeout
    assert take(connection.token)
    world.stepper.advance(connection, world.clock.now())  # the leader finds out whether it is still quick
    assert (submitted, sum(cached)) == ([connection], _MIB)
    assert take(connection.token)
    world.stepper.advance(connection, world.clock.now())
    assert (submitted, sum(cached)) == ([connection, connection], _MIB)


def test_a_file_thread_with_other_work_leaves_a_quick_client_to_the_poller(quick: Quick) -> None:
    world, connection, sendfile, _ = quick
    world.stepper.advance(connection, world.clock.now())
    sendfile.room = 100 * _MIB
    world.stepper.files._jobs.put(lambda: None)
    world.stepper.flush_from_disk(connection)
    assert sendfile.covers(2 * _MIB)
    assert (connection.state, bool(connection.token)) == (State.FLUSHING, True)


def test_a_file_thread_leaves_a_quick_client_when_the_server_stops(quick: Quick) -> None:
    world, connection, sendfile, _ = quick
    world.stepper.advance(connection, world.clock.now())
    sendfile.room = 100 * _MIB
    world.stepper.files.stop()
    world.stepper.flush_from_disk(connection)
    assert sendfile.covers(2 * _MIB)


@pytest.mark.parametrize("why", ["small", "tls", "slow", "stopping"])
def test_the_leader_sends_other_files(why: str, quick: Quick, cached: list[int]) -> None:
    world, connection, sendfile, submitted = quick
    assert connection.output is not None
    if why == "small":
        sendfile.room = 18 * _MIB + 1
        connection.output.flush(connection.sink, 18 * _MIB + 1)
        assert connection.output.quick
    elif why == "tls":
        cast(Any, connection.sock).fileno = lambda: -1
    elif why == "slow":
        connection.output.flush(connection.sink)  # finds no room
    else:
        world.stepper.files.stop()
    world.stepper.advance(connection, world.clock.now())
    assert submitted == []
    assert sum(cached) == (_MIB - 1 if why == "small" else _MIB)


def test_a_lent_connection_that_cannot_be_armed_goes_back_to_its_worker() -> None:
    """The poller fails while the leader has the token: the worker must not wait for the token for ever."""
    world = World(Scheduler())
    connection = world.connection()
    connection.output = Output()
    connection.output.append(b"x" * 10)
    cast(Any, connection.sock).room = 0
    connection.lend()
    assert take(connection.token)

    def arm(fd: int, mask: int) -> None:
        raise OSError("no more watches")

    world.poller.arm = arm  # type: ignore[method-assign]
    assert not world.stepper.advance(connection, world.clock.now())
    with pytest.raises(ClientDisconnected):
        connection.reclaim()
    assert connection.state is State.OWNED

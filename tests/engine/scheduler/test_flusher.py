"""Output that did not fit into the socket: its deadline, its rate, and how much leaves in one turn."""

from __future__ import annotations

import tempfile
from typing import Any, cast

import pytest

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.driver import CLOSE, LINGER, Wait
from reserve.engine.connections.output import Output
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

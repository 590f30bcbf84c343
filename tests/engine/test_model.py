"""The engine's state machine, exhaustively: its own loops (the workers, the monitor) in every order of their steps.

Between the steps, events from outside come in every order too: bytes and the end of the input, a spurious event, a
deadline, a ``server.send``, room in the client's window, the connection limit, a request that waits for a worker too
long or exceeds the limit of waiting requests, an application that is too slow or never returns, or that only waits or
has something to do after its response, a stop.

A step is what one thread does between two places where it can block: the poller, an application, the pause of the
monitor, the waiter of a worker. The same events come to connections whose requests are served step by step, and to
those whose requests take the straight line, with a poller that reports each arrival once. What happens inside a step,
between two threads, is explored by the tests with ``exploring``. After each step the invariants are checked. From each
state that is new, the test then lets all threads run without further events, and checks that everything that waits is
served.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.engine.interleave import replace_locks
from tests.engine.model import SCHEDULERS, ModelWorld, drive

STATES = int(os.environ.get("RESERVE_MODEL_STATES", "800"))
"""How many states of each variant are visited, nearest first; give a larger number for a search that takes a night."""


@pytest.mark.parametrize(
    ("alphabet", "workers", "connections", "keep", "room", "queued"),
    [
        ("q end spurious time stop", 1, 1, True, None, 1000),
        ("q send time stop", 2, 1, False, None, 1000),
        ("q x c time end stop", 1, 1, False, None, 1000),
        ("q room time send stop", 1, 1, True, 2, 1000),
        ("l room time send stop", 2, 1, False, 1, 1000),
        ("l room end q stop", 1, 1, True, 1, 1000),
        ("q spurious stop", 1, 2, True, None, 1000),
        ("q c end", 2, 2, False, None, 1000),
        ("q l room time", 1, 2, False, 1, 1000),
        ("q a close-idle time stop", 1, 1, True, None, 1000),
        ("q time stop", 1, 2, False, 1, 1000),  # one waits for the worker, and may wait too long
        ("q end close-idle", 1, 2, True, None, 0),  # none may wait
        ("q u end time stop", 1, 1, True, None, 1000),  # with a request timeout
        ("q u l time room", 1, 2, False, 1, 1000),
        ("u x time stop", 2, 2, False, None, 1000),
        ("w q end stop", 1, 2, True, None, 1000),  # a request that waits takes no worker from the others
        ("w time stop", 1, 2, False, 1, 1000),
        ("f q end time", 1, 2, True, None, 1000),  # with a function that runs after the response
        ("f w x stop", 2, 2, False, None, 1000),
    ],
)
def test_every_order(
    monkeypatch: pytest.MonkeyPatch,
    alphabet: str,
    workers: int,
    connections: int,
    keep: bool,
    room: int | None,
    queued: int,
) -> None:
    visit(monkeypatch, alphabet, workers, connections, keep, room, queued)


@pytest.mark.parametrize(
    ("alphabet", "workers", "connections", "keep", "room"),
    [
        ("q end time stop", 2, 2, True, None),
        ("q x time stop", 2, 2, False, None),
        ("q l room time", 2, 2, False, 1),
        ("q spurious close-idle", 1, 2, True, None),
        ("q u time stop", 2, 2, False, None),
        ("w f end stop", 2, 3, True, None),
    ],
)
def test_every_order_with_one_running_request_for_each_client(
    monkeypatch: pytest.MonkeyPatch, alphabet: str, workers: int, connections: int, keep: bool, room: int | None
) -> None:
    """All connections are of one client: their requests wait for each other."""
    visit(monkeypatch, alphabet, workers, connections, keep, room, 1000, limited=True)


@pytest.mark.parametrize(
    ("alphabet", "workers", "connections", "keep", "room"),
    [
        ("q end spurious time stop", 1, 1, True, None),
        ("q send time stop", 2, 1, False, None),
        ("q x c time end stop", 1, 1, False, None),
        ("q room time send stop", 1, 1, True, 2),  # the response does not fit into the socket
        ("l room time send stop", 2, 1, False, 1),
        ("q spurious stop", 1, 2, True, None),
        ("q x end", 2, 2, False, None),
        ("q a close-idle time stop", 1, 1, True, None),
        ("q end close-idle", 1, 2, True, None),
        ("w q end stop", 1, 2, True, None),
        ("f q end time", 1, 2, True, None),
        ("f w x stop", 2, 2, False, None),
    ],
)
def test_every_order_on_the_straight_line(
    monkeypatch: pytest.MonkeyPatch, alphabet: str, workers: int, connections: int, keep: bool, room: int | None
) -> None:
    """Ordinary requests are served in one call; each arrival is reported once, while the connection waits or not."""
    visit(monkeypatch, alphabet, workers, connections, keep, room, 1000, edges=True)


@pytest.mark.parametrize(
    ("alphabet", "workers", "connections", "keep", "edges"),
    [
        ("q end spurious time stop", 2, 2, True, True),
        ("q x end stop", 2, 2, False, True),
        ("q a close-idle time", 2, 1, True, False),
        ("q send time stop", 2, 2, True, False),
        ("q end time stop", 1, 2, True, True),  # more leads than workers
        ("q w end stop", 3, 2, False, True),
        ("f q stop", 2, 2, True, True),
        ("u q time", 2, 2, True, False),
    ],
)
def test_every_order_with_two_leads(
    monkeypatch: pytest.MonkeyPatch, alphabet: str, workers: int, connections: int, keep: bool, edges: bool
) -> None:
    """Two threads poll at once, as without the GIL."""
    visit(monkeypatch, alphabet, workers, connections, keep, None, 1000, edges=edges, leads=2)


def visit(
    monkeypatch: pytest.MonkeyPatch,
    alphabet: str,
    workers: int,
    connections: int,
    keep: bool,
    room: int | None,
    queued: int,
    *,
    limited: bool = False,
    edges: bool = False,
    leads: int = 1,
) -> None:
    replace_locks(monkeypatch, lambda: SCHEDULERS[-1])
    timed = "u" in alphabet.split()
    worlds: list[ModelWorld] = []
    most_stuck = straight = 0

    def interrupt(ident: int, kind: Any) -> None:
        worlds[-1].interrupted[ident] = kind

    def take_back(ident: int) -> None:
        worlds[-1].interrupted[ident] = None

    def make() -> ModelWorld:
        nonlocal most_stuck, straight
        straight += sum(world.straight for world in worlds)
        most_stuck = max([most_stuck, *(world.given_up for world in worlds)])
        world = ModelWorld(workers, connections, keep, room, queued, timed, limited, edges, leads)
        worlds[:] = [world]
        if timed:
            world.interrupt_one()
        return world

    monkeypatch.setattr("reserve.engine.scheduler.runguard._set_async", interrupt)
    monkeypatch.setattr("reserve.engine.scheduler.runguard._take_back", take_back)
    states, depth = drive(make, alphabet, STATES)
    print(f"{states} states, paths of up to {depth} steps")
    assert depth >= 4
    assert states > 200
    assert (straight > 20) == (edges and (room is None or room >= 2))
    assert most_stuck == timed  # one that ignored its timeout was given up, and another took its place

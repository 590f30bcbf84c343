"""Processes that share a listener: what each tells the others, and which of them takes a connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reserve.engine import acceptor as acceptor_module
from reserve.engine.acceptor import Acceptor
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.scoreboard import STALE, Numbers, Scoreboard
from reserve.engine.server import Server
from reserve.errors import UsageError
from reserve.sockets.listeners import listen
from tests.clients import connect, receive
from tests.waiting import PATIENCE, eventually

# ---- the memory ----


class Now:
    """The clock of a scoreboard, in nanoseconds."""

    def __init__(self) -> None:
        self.value = 10**12

    def __call__(self) -> int:
        return self.value


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def board(now: Now) -> Iterator[Scoreboard]:
    one = Scoreboard(slots=4, now=now)
    yield one
    one.close()


def test_another_mapping_of_the_same_file_sees_the_numbers(board: Scoreboard, now: Now) -> None:
    other = Scoreboard(board.fd, now=now)
    assert (other.slots, other.read(2).generation) == (4, 0)
    board.slot(2, generation=7).update(5, -1, 9)
    assert other.read(2) == Numbers(7, 5, 0, 9, now.value)
    other.close()
    assert board.read(2).connections == 5


def test_what_is_no_scoreboard_is_refused(board: Scoreboard, tmp_path: Path) -> None:
    for content in (b"", b"x" * 65):
        (tmp_path / "file").write_bytes(content)
        with open(tmp_path / "file", "r+b") as file, pytest.raises(UsageError, match="no scoreboard"):
            Scoreboard(file.fileno())
    for number in (-1, 4):
        with pytest.raises(UsageError, match="slots"):
            board.slot(number)


@pytest.mark.parametrize(
    ("mine", "theirs", "stands_back"),
    [
        ((2, 1), (0, 1), False),
        ((3, 1), (0, 1), True),
        ((4 + 16, 1), (16, 1), False),
        ((5 + 16, 1), (16, 1), True),
        ((0, 0), (99, 1), True),  # here is no free worker
        ((99, 1), (0, 0), False),
        ((99, 0), (0, 0), True),
        ((0, 0), (3, 0), False),
    ],
)
def test_who_stands_back(board: Scoreboard, mine: tuple[int, int], theirs: tuple[int, int], stands_back: bool) -> None:
    own, other = board.slot(0), board.slot(3)
    other.update(*theirs, 17)
    own.update(*mine, 1)
    assert own.better() == (17 if stands_back else None)
    assert not (stands_back and other.better() is not None), "both stand back"


@pytest.mark.parametrize("end", ["killed", "left", "cleared"])
def test_a_process_that_is_gone_does_not_count(board: Scoreboard, now: Now, end: str) -> None:
    own, other = board.slot(0), board.slot(1)
    other.update(0, 9, 0)
    if end == "left":
        other.leave()
    elif end == "cleared":
        board.clear(1)
    else:
        now.value += STALE
    own.update(99, 0, 1)
    assert own.better() is None
    other.update(0, 9, 0)  # a new process has its place
    assert own.better() == 0


# ---- the accept thread ----


class Place:
    """A place among other processes, of which the test says what they do."""

    def __init__(self, *better: int | None) -> None:
        self.answers = list(better)
        """What :meth:`better` says, one after the other; the last one stays."""
        self.told: list[tuple[int, int, int] | None] = []

    def update(self, connections: int, free: int, accepted: int) -> None:
        self.told.append((connections, free, accepted))

    def better(self) -> int | None:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def leave(self) -> None:
        self.told.append(None)


class Admits:
    """Keeps the sockets, and the number of the one who admitted each."""

    def __init__(self, admitted: list[socket.socket], most: int = 1000) -> None:
        self.admitted = admitted
        self.most = most
        self.enough = threading.Event()

    def may_accept(self) -> bool:
        return len(self.admitted) < self.most

    def count(self) -> int:
        return len(self.admitted)

    def close_idle(self, count: int) -> None:
        """Nothing is idle."""

    def admit(self, sock: socket.socket, peer: Any, listener: socket.socket) -> None:
        self.admitted.append(sock)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    (sock,) = listen("127.0.0.1:0")
    sock.setblocking(False)
    with sock:
        yield sock


class Accepting:
    """Accept threads of several processes, here threads of one, and the clients."""

    def __init__(self, stack: ExitStack, listener: socket.socket) -> None:
        self._stack = stack
        self._listener = listener

    def start(self, place: Any, free: int = 1) -> Admits:
        admits = Admits([])
        acceptor = Acceptor(
            [self._listener], admits, lambda: None, ErrorLog(), balance=place, free_workers=lambda: free
        )
        acceptor.thread.start()

        def stop() -> None:
            acceptor.stop()
            acceptor.thread.join(PATIENCE)
            assert not acceptor.thread.is_alive()
            acceptor.wakeup.close()
            for sock in admits.admitted:
                sock.close()

        self._stack.callback(stop)
        return admits

    def connect(self) -> None:
        self._stack.enter_context(connect(self._listener.getsockname()))


@pytest.fixture
def accepting(listener: socket.socket) -> Iterator[Accepting]:
    with ExitStack() as stack:
        yield Accepting(stack, listener)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody does another one's work, however slow that is."""
    monkeypatch.setattr(acceptor_module, "_STAND_BACK", PATIENCE)
    monkeypatch.setattr(acceptor_module, "_STAND_BACK_BUSY", PATIENCE)


def test_one_that_stands_back_takes_no_client_while_others_do(accepting: Accepting, patient: None) -> None:
    busy = accepting.start(Place(0))
    other = accepting.start(Place(None))
    for count in range(1, 6):
        accepting.connect()
        eventually(lambda count=count: len(other.admitted) == count)
    assert busy.admitted == []


def test_a_client_that_nobody_takes_is_taken(accepting: Accepting) -> None:
    admits = accepting.start(Place(0))
    for _ in range(5):
        accepting.connect()
    eventually(lambda: len(admits.admitted) == 5)


def test_it_takes_the_client_when_there_is_no_better_one_any_more(accepting: Accepting, patient: None) -> None:
    admits = accepting.start(Place(0, 0, 0, None))
    accepting.connect()
    eventually(lambda: len(admits.admitted) == 1)


def test_as_long_as_the_others_accept_it_stands_back(accepting: Accepting, patient: None) -> None:
    place = Place(*range(100), None)
    admits = accepting.start(place)
    accepting.connect()
    eventually(lambda: len(admits.admitted) == 1)
    assert place.answers == [None]


def test_a_stop_ends_the_standing_back(accepting: Accepting, patient: None) -> None:
    place = Place(0)
    admits = accepting.start(place)
    accepting.connect()
    eventually(lambda: len(place.told) > 2)  # it looks, again and again
    accepting._stack.close()
    assert len(admits.admitted) == 1  # the stop serves what waits
    assert place.told[-1] is None


def test_it_accepts_one_at_a_time_and_tells_the_others_each(listener: socket.socket) -> None:
    place, admits = Place(None), Admits([])
    acceptor = Acceptor([listener], admits, lambda: None, ErrorLog(), balance=place, free_workers=lambda: 3)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connect(listener.getsockname()))
        acceptor.thread.start()
        eventually(lambda: len(admits.admitted) == 5)
        acceptor.stop()
        acceptor.thread.join(PATIENCE)
        acceptor.wakeup.close()
        for sock in admits.admitted:
            stack.enter_context(sock)
    counts = [one[0] for one in place.told if one is not None]
    assert set(counts) == set(range(6))
    assert place.told[0] == (0, 3, 0)


def test_a_server_without_room_does_not_count(board: Scoreboard) -> None:
    with Server(listen("127.0.0.1:0"), lambda sock, address, server: held.wait(PATIENCE), max_connections=1,
                balance=board.slot(1)) as server:  # fmt: skip
        held = threading.Event()
        eventually(lambda: board.read(1).generation == 1)
        with connect(server.addresses[0]):
            eventually(lambda: board.read(1).generation == 0)
            held.set()
        eventually(lambda: board.read(1).generation == 1)
        server.retire()
        eventually(lambda: board.read(1).generation == 0)


# ---- real processes ----

_PROCESS = """
import socket, sys, threading, time
from reserve import Server, Park
from reserve.engine import acceptor
from reserve.engine.scoreboard import Scoreboard
acceptor._STAND_BACK = acceptor._STAND_BACK_BUSY = 10  # a slow machine does not decide the outcome
fd, board, number = map(int, sys.argv[1:])
def handle(sock, address, server):
    def resume():
        data = sock.recv(1)
        if data == b"s":
            sock.sendall(b"%d" % number)
            threading.Event().wait()
        if not data:
            return None
        sock.sendall(b"%d" % number)
        return Park(resume)
    return Park(resume)
board = Scoreboard(board)
server = Server(fd, handle, threads=4, balance=board.slot(number))
threading.Thread(target=lambda: (sys.stdin.read(), server.stop(0)), daemon=True).start()
server.start()
"""


class Processes:
    """Two processes that share a listener and a scoreboard."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        (self.listener,) = listen("127.0.0.1:0")
        stack.enter_context(self.listener)
        self.board = Scoreboard(slots=8)
        stack.callback(self.board.close)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int) -> None:
        fds = self.listener.fileno(), self.board.fd
        process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *map(str, fds), str(number)],
            pass_fds=fds,
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        self.processes[number] = process

        def end() -> None:
            process.kill()
            process.wait(PATIENCE)
            assert process.stdin is not None
            process.stdin.close()

        self._stack.callback(end)
        eventually(lambda: self.board.read(number).generation)

    def connect(self, send: bytes = b"x") -> int:
        """The number of the process that serves a new connection, which stays open."""
        client = self._stack.enter_context(connect(self.listener.getsockname()))
        client.sendall(send)
        return int(receive(client, 1))


@pytest.fixture
def processes() -> Iterator[Processes]:
    if os.name != "posix":
        pytest.skip("descriptors are passed to processes")
    with ExitStack() as stack:
        yield Processes(stack)


def test_two_processes_share_64_connections(processes: Processes) -> None:
    processes.start(0)
    processes.start(1)
    served = [processes.connect() for _ in range(64)]
    counts = served.count(0), served.count(1)
    assert max(counts) / min(counts) <= 1.3, counts


def test_a_process_without_a_free_worker_leaves_all_clients_to_the_other(processes: Processes) -> None:
    processes.start(0)
    assert {processes.connect(b"s") for _ in range(4)} == {0}
    processes.start(1)
    assert {processes.connect() for _ in range(30)} == {1}


def test_the_numbers_of_a_process_that_was_killed_do_not_count(processes: Processes) -> None:
    """They would say for ever that it has fewer connections."""
    processes.start(0)
    processes.start(1)
    processes.processes[0].kill()
    processes.processes[0].wait(PATIENCE)
    assert processes.board.read(0).generation == 1
    eventually(lambda: not processes.board.is_live(processes.board.read(0)))
    assert {processes.connect() for _ in range(30)} == {1}

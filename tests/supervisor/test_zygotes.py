"""The supervisor's view of zygotes and of the workers that they fork, without processes."""

from __future__ import annotations

import selectors
import signal
from collections.abc import Iterator

import pytest

from reserve.cli.processes.channel import Channel, DescriptorChannel
from reserve.control.messages import Ended, Forked, Preloaded
from reserve.supervisor.policy import Phase
from reserve.supervisor.workers import WorkerProcess
from reserve.supervisor.zygotes import ForkedWorker, ZygoteProcess, Zygotes


class World:
    """Zygotes, the other ends of their channels, and the signals that were sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 0.0
        self.selector = selectors.DefaultSelector()
        self.workers: dict[int, WorkerProcess] = {}
        self.zygotes = Zygotes(self.selector, self.workers, lambda: self.time)
        self.ends: dict[int, DescriptorChannel] = {}
        self.exit_codes: dict[int, int] = {}
        self.killed: list[tuple[int, int]] = []
        self.gone: set[int] = set()
        monkeypatch.setattr(ZygoteProcess, "poll", lambda zygote: self.exit_codes.get(zygote.pid))
        monkeypatch.setattr("os.kill", self.kill)

    def kill(self, pid: int, number: int) -> None:
        if pid in self.gone:
            raise ProcessLookupError
        if number:
            self.killed.append((pid, number))

    def start(self, pid: int, generation: int, *, is_ready: bool = True) -> ZygoteProcess:
        own, others = Channel.pair()
        self.ends[pid] = DescriptorChannel(others.sock)
        zygote = self.zygotes.add(pid, own, generation)
        if is_ready:
            self.zygotes.handle_message(zygote, Preloaded())
        return zygote

    def fork(self, generation: int, pid: int | None = None) -> ForkedWorker:
        """A worker, as the supervisor has it forked; its parent has said so if it has a process ID."""
        worker = self.zygotes.fork(generation, 0, ())
        assert worker is not None
        self.workers[worker.pid] = worker
        self.selector.register(worker.channel, selectors.EVENT_READ, worker)
        if pid is not None:
            self.zygotes.handle_message(worker.zygote, Forked(worker.serial, pid))
        return worker

    def close(self) -> None:
        for channel in (*(worker.channel for worker in self.workers.values()), *self.ends.values()):
            channel.close()
        for zygote in self.zygotes.processes:
            zygote.channel.close()
        self.selector.close()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(monkeypatch)
    yield world
    world.close()


def test_only_a_zygote_of_the_generation_that_has_preloaded_forks(world: World) -> None:
    zygote = world.start(100, 1, is_ready=False)
    assert world.zygotes.fork(1, 0, ()) is None
    world.zygotes.handle_message(zygote, Preloaded())
    assert world.zygotes.fork(2, 0, ()) is None
    worker = world.fork(1)
    assert (worker.generation, worker.poll()) == (1, None)
    assert [message["type"] for message in world.ends[100].receive()] == ["fork"]


def test_a_worker_gets_its_process_id_and_its_end_from_the_zygote(world: World) -> None:
    zygote = world.start(100, 1)
    first, second = world.fork(1, 101), world.fork(1, 102)
    assert world.workers == {101: first, 102: second}
    world.zygotes.handle_message(zygote, Ended(second.serial, 3))
    assert (first.poll(), second.poll()) == (None, 3)
    world.zygotes.handle_message(zygote, Ended(99, 3))  # of one that is not there any more
    assert first.poll() is None


def test_the_zygote_sends_signals_also_before_the_process_id_is_known(world: World) -> None:
    world.start(100, 1)
    worker = world.fork(1)
    worker.signal(signal.SIGTERM)
    assert world.killed == []
    assert world.ends[100].receive() + world.ends[100].receive() == [
        {"type": "fork", "serial": worker.serial},
        {"type": "signal", "serial": worker.serial, "number": signal.SIGTERM},
    ]


def test_the_supervisor_sends_signals_itself_when_the_zygote_has_ended(world: World) -> None:
    world.start(100, 1)
    worker = world.fork(1, 101)
    worker.phase = Phase.SERVING
    world.exit_codes[100] = -9
    assert [code for _, code in world.zygotes.reap()] == [-9]
    worker.signal(signal.SIGTERM)
    assert world.killed == [(101, signal.SIGTERM)]
    assert worker.poll() is None
    worker.channel.ended = True
    worker.signal(signal.SIGTERM)  # the process ID may be that of another process
    assert world.killed == [(101, signal.SIGTERM)]
    assert worker.poll() == 0


def test_a_worker_without_zygote_may_end_although_a_fork_of_it_has_its_channel(world: World) -> None:
    world.start(100, 1)
    worker = world.fork(1, 101)
    worker.phase = Phase.SERVING
    world.exit_codes[100] = -9
    world.zygotes.reap()
    assert worker.poll() is None
    world.gone.add(101)
    assert worker.poll() == 0
    worker.signal(signal.SIGTERM)


def test_what_a_zygote_has_sent_before_its_end_counts(world: World) -> None:
    world.start(100, 1)
    worker = world.fork(1)
    worker.phase = Phase.SERVING
    world.ends[100].send("forked", serial=worker.serial, pid=101)
    world.ends[100].send("ended", serial=worker.serial, code=3)
    world.ends[100].close()
    world.exit_codes[100] = -9
    world.zygotes.reap()
    assert (worker.pid, worker.poll()) == (101, 3)


def test_a_worker_that_starts_ends_with_its_zygote(world: World) -> None:
    world.start(100, 1)
    pending, starting = world.fork(1), world.fork(1, 102)
    world.ends[100].close()
    world.exit_codes[100] = -9
    world.zygotes.reap()
    assert world.killed == [(102, signal.SIGKILL)]
    assert pending.poll() == 0
    assert starting.poll() is None  # until its channel ends
    assert world.zygotes.processes == []


def test_a_zygote_ends_when_neither_its_generation_nor_a_worker_needs_it(world: World) -> None:
    zygote = world.start(100, 1)
    worker = world.fork(1, 101)
    world.start(200, 2)
    world.zygotes.end_unneeded((1, 2), 10.0)
    world.zygotes.end_unneeded((2,), 10.0)
    assert zygote.phase is Phase.SERVING
    del world.workers[101]
    world.zygotes.end_unneeded((2,), 10.0)
    assert zygote.phase is Phase.STOPPING
    world.ends[100].receive()
    world.ends[100].receive()
    assert world.ends[100].ended
    assert world.zygotes.of(1) is None  # a later generation may have the same number
    world.time = 10.0
    world.zygotes.end_unneeded((2,), 20.0)
    assert world.killed == [(100, signal.SIGKILL)]
    world.exit_codes[100] = -9
    assert world.zygotes.reap() == []
    worker.channel.close()
    worker.is_orphan = True


def test_zygotes_that_import_are_killed_for_a_reload_and_a_stop(world: World) -> None:
    world.start(100, 1)
    world.start(200, 2, is_ready=False)
    world.zygotes.kill_unprepared()
    assert world.killed == [(200, signal.SIGKILL)]
    assert world.zygotes.of(2) is None
    world.zygotes.stop(5.0)
    assert [zygote.kill_at for zygote in world.zygotes.processes] == [5.0, 5.0]


def test_another_supervisor_in_this_process_takes_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    from reserve.cli.processes.state import PassedProcess

    world.start(100, 1)
    worker = world.fork(1, 101)
    passed = world.zygotes.passed()
    assert [(item.pid, item.generation, item.phase) for item in passed] == [(100, 1, "serving")]
    workers: dict[int, WorkerProcess] = {}
    later = Zygotes(world.selector, workers, lambda: 0.0)
    monkeypatch.setattr(world.selector, "register", lambda *arguments: None)
    copies = [PassedProcess(100, os.dup(passed[0].channel), 1, 0, "serving")]
    later.adopt(copies)
    own = Channel.from_fd(os.dup(worker.channel.fileno()))
    adopted = later.forked(PassedProcess(101, own.fileno(), 1, 0, "serving", *worker.origin), own)
    assert adopted is not None
    workers[101] = adopted
    assert adopted.zygote is later.processes[0]
    newer = later.fork(1, 1, ())
    assert newer is not None
    assert newer.serial > adopted.serial
    assert later.forked(PassedProcess(5, own.fileno(), 1, 0, "serving"), own) is None
    for channel in (own, newer.channel, later.processes[0].channel):
        channel.close()

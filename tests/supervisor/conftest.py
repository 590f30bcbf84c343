"""A supervisor whose worker processes, clock and lines are the test's."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reserve.supervisor.processes as processes
import reserve.supervisor.supervisor as supervising
import reserve.supervisor.workers as workers
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.state import PassedListener, State, pass_listeners
from reserve.supervisor.policy import Phase
from reserve.supervisor.supervisor import Supervisor
from reserve.supervisor.workers import WorkerProcess
from tests.supervisor.listening import open_on


class FakeProcess:
    """A worker process: the test sends its messages and ends it."""

    def __init__(self, pid: int, channel: Channel, setup: dict[str, Any], listeners: Iterable[PassedListener]) -> None:
        self.pid, self.channel, self.setup, self.listeners = pid, channel, setup, tuple(listeners)
        self.returncode: int | None = None
        self.exit_code: int | None = None
        self.signals: list[int] = []
        channel.sock.setblocking(False)

    def send(self, kind: str, **values: object) -> None:
        self.channel.send(kind, **values)

    def received(self) -> list[str]:
        """The kinds of the messages that the supervisor has sent."""
        return [message["type"] for message in self.channel.receive()]

    def end(self, code: int = 0) -> None:
        self.exit_code = code
        self.channel.close()


class World:
    """The supervisor and what surrounds it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.time = 1000.0
        self.lines: list[str] = []
        self.started: list[FakeProcess] = []
        self.fork_error: OSError | None = None
        self.became: list[State] = []
        self.suspended: list[list[int]] = []
        self.directory = directory
        monkeypatch.setattr(processes, "start_worker", self._start)
        monkeypatch.setattr(supervising, "write_line", lambda text, level=20: self.lines.extend(text.splitlines()))
        monkeypatch.setattr(workers, "write_line", lambda text, level=20: self.lines.extend(text.splitlines()))
        monkeypatch.setattr(supervising, "become_supervisor", lambda state, handled: self.became.append(state))
        monkeypatch.setattr(supervising, "suspend", lambda: self.suspended.append([w.signals[-1] for w in self.alive]))
        monkeypatch.setattr(workers.WorkerProcess, "signal", lambda w, number: self.process(w).signals.append(number))
        monkeypatch.setattr(workers.WorkerProcess, "poll", lambda w: self.process(w).exit_code)

    def process(self, worker: WorkerProcess) -> FakeProcess:
        return next(process for process in self.started if process.pid == worker.pid)

    @property
    def alive(self) -> list[FakeProcess]:
        return [process for process in self.started if process.exit_code is None]

    def _start(
        self, argv: tuple[str, ...], listeners: Iterable[PassedListener], directory: str, **setup: Any
    ) -> tuple[SimpleNamespace, Channel]:
        if self.fork_error is not None:
            raise self.fork_error
        own, others = Channel.pair()
        process = FakeProcess(100 + len(self.started), others, setup, listeners)
        self.started.append(process)
        return SimpleNamespace(pid=process.pid, returncode=None), own

    def supervise(self, *options: str, **state: Any) -> Supervisor:
        """Make the supervisor of ``reserve app echo`` with these options; it acts once."""
        argv = ("app", "echo", *options)
        wanted = state.get("wanted", 2)
        (self.directory / "reserve.toml").write_text(f'[server]\nbind = "127.0.0.1:0"\nprocesses = {wanted}\n')
        self.listeners = open_on(argv, self.directory)
        self.port: int = self.listeners.main[0].getsockname()[1]
        values: dict[str, Any] = {"wanted": 2, **state}
        self.supervisor = Supervisor(
            State(
                argv=argv,
                directory=str(self.directory),
                listeners=pass_listeners(self.listeners, with_files=True),
                **values,
            ),
            now=lambda: self.time,
        )
        for sock in self.listeners.all:
            sock.detach()
        self.supervisor.act()
        return self.supervisor

    def act(self) -> bool:
        """Let the supervisor handle what has come, and act; False: everything has stopped."""
        for _ in range(3):
            self.supervisor.wait(0)
            goes_on = self.supervisor.act()
        return goes_on

    def signal(self, number: int) -> None:
        self.supervisor.handle_signal(number)
        self.act()

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        self.act()

    def make_ready(self) -> None:
        """Every process that starts becomes ready, until none starts any more."""
        while starting := [self.process(w) for w in self.workers(Phase.STARTING)]:
            for process in starting:
                process.send("ready", banner="reserve serves\n", retires_within=20.0)
            self.act()

    def workers(self, phase: Phase) -> list[WorkerProcess]:
        return [worker for worker in self.supervisor.workers.values() if worker.phase is phase]

    def pids(self, phase: Phase) -> list[int]:
        return [worker.pid for worker in self.workers(phase)]

    def close(self) -> None:
        if hasattr(self, "supervisor"):
            for process in self.alive:
                process.end()
            for number in (signal.SIGTERM,):
                self.supervisor.handle_signal(number)
            assert not self.supervisor.act()
            self.supervisor.end()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    """What surrounds a supervisor; the test makes it with :meth:`World.supervise`."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEB_CONCURRENCY", "PORT"):
        monkeypatch.delenv(name, raising=False)
    made = World(monkeypatch, tmp_path)
    yield made
    made.close()

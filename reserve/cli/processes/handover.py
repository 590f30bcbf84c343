"""What is told of a server with one process while a successor takes over: both processes, in one document.

Before the hand-over the process tells of itself alone, and afterwards it is the supervisor, which asks its workers. In
between it asks the successor over the same channel, with the same :class:`~reserve.control.relay.Relay`, and is asked
itself without one. So the counters of both together never go back, whichever process is asked.

The thread ``reserve-reload`` reads the channel; the threads of the control socket and of the metrics ask. One lock
protects everything. No other lock is taken while it is held.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from reserve.cli.processes.channel import Channel
from reserve.cli.stderrlog import set_log_level
from reserve.control.collector import CollectedServer, SharedCollector, phase_of
from reserve.control.commands import Reply
from reserve.control.document import RESTARTS, plain
from reserve.control.messages import Last, Message, Ready, Recycle, Report, parse_messages
from reserve.control.process import ProcessCommands
from reserve.control.protocol import Refusal, Request
from reserve.control.relay import Relay, Worker
from reserve.engine.logs.logfile import Reopened
from reserve.wait import wait_for

__all__ = ["GENERATION", "HandOver"]

GENERATION = 2
"""That of the successor; the process itself is the first one."""
_LAST_MESSAGES = 5.0
"""Seconds until the supervisor is executed at the latest, although a message is not complete."""
_LOOK_INTERVAL = 0.02
_MOST_REPORTED = 256
"""So many different lines of successors are remembered, so that each is written once."""


class _OwnChannel:
    """In place of the channel of a worker: this process answers itself. Its answers wait in it for the relay."""

    ended = False
    is_behind = False

    def __init__(self, commands: ProcessCommands) -> None:
        self._commands = commands
        self.answers: deque[dict[str, Any]] = deque()

    def send(self, kind: str, **values: Any) -> None:
        if kind == "ask":
            self.answers.append({"type": "answer", **self._commands.answer(values)})


class _OwnProcess:
    """This process, which finishes its requests."""

    slot, generation = 0, GENERATION - 1

    def __init__(self, server: CollectedServer) -> None:
        self.pid = os.getpid()
        commands = ProcessCommands(set_log_level)
        commands.server = self._server = server
        self.channel = _OwnChannel(commands)

    @property
    def phase_name(self) -> str:
        return phase_of(self._server)

    def signal(self, number: int) -> None:
        """It has answered, so it needs none."""


class _Successor:
    """The successor, or one that replaces it."""

    slot, generation = 0, GENERATION

    def __init__(self, pid: int, channel: Channel, *, is_ready: bool) -> None:
        channel.sock.setblocking(False)
        self.pid, self.channel = pid, channel
        self.phase_name = "serving" if is_ready else "starting"
        self.was_malformed = False
        """A line has said that it sends what is no message."""

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # it runs as another user
            os.kill(self.pid, number)


class HandOver:
    """The processes of one server; the command makes one for a server that can be reloaded. It is the collector of the
    server (:class:`~reserve.control.collector.Collector`) from its start on.

    :param server: of this process.
    :param say: writes a line for the person.
    """

    def __init__(self, server: CollectedServer, say: Callable[[str], object]) -> None:
        self._server = server
        self._say = say
        self._local = SharedCollector(server)
        self._lock = threading.RLock()
        self._relay: Relay | None = None
        """None: this process is the only one."""
        self._own: _OwnProcess | None = None
        """None: it is not told of any more."""
        self._successor: _Successor | None = None
        self._workers: dict[int, Worker] = {}
        self._last: dict[str, Any] | None = None
        """The last document about both; counts never go back, also when the next one is late."""
        self._reported: deque[str] = deque(maxlen=_MOST_REPORTED)
        """What successors had written last: what it said."""
        self._is_closed = False
        """The supervisor is executed, and reads the channel."""
        self.on_begin: Callable[[], object] = _nothing
        """Called when this process begins to tell of both, while it still tells of itself alone."""
        self.due = ""
        """Why the successor is to be replaced; empty: it is not."""
        self.wanted, self.generation = 1, GENERATION
        self.stop_count = 0
        self.restarts: dict[str, int] = dict.fromkeys(RESTARTS, 0)

    # ---- any thread ----

    def collect(self, timeout: float = 2.0) -> dict[str, Any]:
        """See :class:`~reserve.control.collector.Collector`."""
        found: list[dict[str, Any]] = []
        has_found = threading.Event()

        def done(document: dict[str, Any]) -> None:
            found.append(document)
            has_found.set()

        with self._lock:
            is_alone = self._relay is None
            if self._is_closed and self._last is not None:
                return self._last
            if not is_alone:
                self._collect(done)
        if is_alone:
            return self._local.collect(timeout)
        has_found.wait(timeout)
        return found[0] if found else self._last or self._local.collect(timeout)

    def _collect(self, done: Callable[[dict[str, Any]], object]) -> None:
        """The lock is held."""
        assert self._relay is not None, "there is another process only in a hand-over"

        def keep(document: dict[str, Any]) -> None:
            self._last = document
            done(document)

        self._relay.collect(keep)
        self._take_own_answers()

    def perform(self, request: Request, reply: Reply) -> bool:
        """Carry out a command about both processes; False: there is one only.

        :param reply: called on any thread.
        :raises Refusal: it is not carried out.
        """
        with self._lock:
            if self._relay is None:
                return False
            if self._is_closed and request.command == "status" and self._last is not None:
                reply(self._last)
                return True
            if self._is_closed:
                raise Refusal("this process becomes the supervisor at this moment", "ask again")
            if request.command == "status":
                self._collect(reply)
                return True
            self._relay.perform(request, reply)
            self._take_own_answers()
            return True

    def _take_own_answers(self) -> None:
        """The lock is held."""
        while self._own is not None and self._relay is not None and self._own.channel.answers:
            for message in parse_messages([self._own.channel.answers.popleft()])[0]:
                self._relay.receive(self._own, message)

    def stop(self) -> None:
        """A signal to stop has come, for both processes."""
        self.stop_count += 1
        successor = self._successor
        if successor is not None:
            successor.phase_name = "stopping"

    # ---- the thread reserve-reload ----

    def begin(self, pid: int, channel: Channel, unread: Iterable[dict[str, Any]] = ()) -> None:
        """The successor serves, and this process is about to retire.

        :param channel: this process's end.
        :param unread: what came with the message that it serves.
        """
        self.on_begin()
        with self._lock:
            self._own = _OwnProcess(self._server)
            self._workers[self._own.pid] = self._own
            counts = {"uptime": self._server.stats().uptime}
            self._relay = Relay(self, self._workers, self, time.monotonic, counts)
            self._add(_Successor(pid, channel, is_ready=True))
            self._handle_all(unread)

    def replaced(self, pid: int, channel: Channel) -> None:
        """The successor has ended, and another one starts."""
        with self._lock:
            self.restarts["crash"] += 1
            self._add(_Successor(pid, channel, is_ready=False))

    def _add(self, successor: _Successor) -> None:
        assert self._relay is not None, "there is a successor only in a hand-over"
        self._successor, self.due = successor, ""
        self._workers[successor.pid] = successor
        # It gets a document that it falls back on when this process cannot respond, as while the supervisor starts.
        self._collect(partial(self._relay.tell, successor))

    def successor_ended(self) -> None:
        """The successor has ended, and nothing replaces it yet; its channel is open still."""
        with self._lock:
            successor = self._successor
            if successor is None or self._relay is None:
                return
            self._receive(successor, everything=True)
            self._successor = None
            del self._workers[successor.pid]
            self._relay.worker_ended(successor)
            self._take_own_answers()

    def read(self) -> bool:
        """Read what the successor has sent, and do what is due; whether that one has begun to serve now."""
        with self._lock:
            if self._is_closed or self._relay is None:
                return False
            successor = self._successor
            was_starting = successor is not None and successor.phase_name == "starting"
            if successor is not None:
                self._receive(successor)
                successor.channel.flush()
            self._relay.act()
            self._take_own_answers()
            return was_starting and successor is not None and successor.phase_name == "serving"

    def _receive(self, successor: _Successor, *, everything: bool = False) -> None:
        """Read what the successor has sent. The lock is held.

        :param everything: it has ended, so this is the last call.
        """
        if not successor.channel.ended:
            values = successor.channel.receive_all() if everything else successor.channel.receive()
            self._handle_all(values, has_ended=everything)

    def _handle_all(self, values: Iterable[dict[str, Any]], *, has_ended: bool = False) -> None:
        """Messages of the successor. What is malformed is treated as the supervisor does: see
        :meth:`~reserve.supervisor.workers.WorkerProcess.receive`. The lock is held.

        :param has_ended: it has ended, and its process ID may be that of another process.
        """
        successor = self._successor
        if successor is None:
            return
        messages, complaint = parse_messages(values)
        if successor.channel.is_garbled:
            complaint = complaint or "it is no JSON object with a type"
        if complaint and not successor.was_malformed:
            successor.was_malformed = True
            self._say(f"worker process {successor.pid} has sent a message that cannot be read: {complaint}")
            if successor.phase_name == "starting" and not has_ended:
                successor.signal(signal.SIGKILL)
        for message in messages:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        """A message of the successor. The lock is held."""
        successor = self._successor
        if successor is None or self._relay is None:
            return
        if isinstance(message, Ready):
            if successor.phase_name == "starting":
                successor.phase_name = "serving"
                self._relay.worker_ready(successor)
        elif isinstance(message, Recycle):
            self.due = message.reason or "it asks for it"
        elif isinstance(message, Report):
            if message.about not in self._reported:
                self._reported.append(message.about)
                self._say(f"worker process {successor.pid}: {message.text}")
        else:
            self._relay.receive(successor, message)
        self._take_own_answers()

    # ---- the main thread, or the one that executes the supervisor ----

    def own_ended(self) -> None:
        """The server of this process has ended: its counts are those of a former process. A second call does
        nothing.
        """
        with self._lock:
            own = self._own
            if own is None or self._relay is None:
                return
            self._relay.receive(own, Last(plain(self._server.stats())))
            self._own = None
            del self._workers[own.pid]
            self.restarts["reload"] += 1
            self._relay.worker_ended(own)
            if self._successor is not None:
                self._collect(partial(self._relay.tell, self._successor))

    def passed(self) -> dict[str, Any]:
        """The counts for the supervisor, which reads the channel from here on: see
        :meth:`~reserve.control.relay.Relay.passed`.
        """
        self.own_ended()
        with self._lock:
            until = time.monotonic() + _LAST_MESSAGES
            while not self._is_complete() and time.monotonic() < until:
                time.sleep(_LOOK_INTERVAL)
            self._is_closed = True
            return {} if self._relay is None else self._relay.passed()

    def _is_complete(self) -> bool:
        """Whether no message is half read or half sent. The lock is held."""
        successor = self._successor
        if successor is None or successor.channel.ended:
            return True
        if not successor.channel.is_between and wait_for(successor.channel.fileno(), 0.0):
            self._receive(successor)
        successor.channel.flush()
        return successor.channel.is_between

    # ---- what the relay asks for ----

    def reload_by_command(self) -> str:
        """Not asked for: :class:`~reserve.control.process.LocalTarget` does it."""
        raise Refusal("this process finishes its requests still")

    def stop_by_command(self, *, at_once: bool) -> None:
        """Likewise."""
        raise Refusal("this process finishes its requests still")

    def reopen_logs(self) -> list[Reopened]:
        """This process is one of those that are asked."""
        return []

    def resize_to(self, count: int) -> None:
        """The supervisor can do that."""
        raise Refusal("the supervisor of this server starts when the previous version has finished its requests")


def _nothing() -> None:
    """There is nothing to do."""

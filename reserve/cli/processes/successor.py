"""The reload of a server with one process: this process starts its successor, and becomes the supervisor of it then.

The successor is a worker process: a new interpreter, with the code, the configuration, the certificates and the version
of reserve as they are now. It shares the listeners. When it is ready, this process accepts no more connections, and
finishes its requests and its exit as at every stop. Instead of exiting it executes the supervisor, so that the number
of the process stays what it was for the terminal, the service manager, the container and the pid file.

The thread ``reserve-reload`` starts the successor, and starts another one if that crashes before there is a supervisor.
The thread of the signals asks for reloads and stops. The main thread executes the supervisor in its last ``atexit``
function; if something blocks that, the thread ``reserve-force-exit`` does it at the deadline, or the thread of the
signals at once, since ``execve`` ends all other threads of the process. One lock protects everything.

What is needed later is imported when the server starts: at a reload there may be another version of these modules.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from reserve.cli.binds import PURPOSES, Listeners, open_changed, united
from reserve.cli.console import Console
from reserve.cli.early.signaltable import name_of
from reserve.cli.forceexit import ABORTED, ForceExit
from reserve.cli.parser import parse_command_line
from reserve.cli.processes.channel import Channel
from reserve.cli.processes.spawn import become_supervisor, handled_signals, start_worker
from reserve.cli.processes.state import PassedListener, PassedProcess, State, pass_listeners
from reserve.cli.signals import StopSignals
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import signal_mask, start_service
from reserve.errors import ReserveError, StartupError
from reserve.options.sources import collect
from reserve.sockets.listeners import release
from reserve.sockets.notify import Notifier
from reserve.sockets.unix import UNIXListener
from reserve.wait import wait_for

if TYPE_CHECKING:
    from reserve.cli.processes.handover import HandOver

__all__ = ["Origin", "Succession"]

_IDLE_CLIENT = 15.0
"""Seconds that a server which retires waits for idle clients of other protocols than HTTP."""
_LOOK_INTERVAL = 0.2
"""Seconds between two looks whether the successor has ended: its channel says so earlier, unless it has forked."""
_LAST_WORDS = 10.0
"""Seconds that a successor has to end after it has closed its channel."""
_EXEC_ATTEMPTS = 30
"""How often the supervisor is executed, a second apart, while the interpreter is being replaced, say."""
_LONGEST_DELAY = 30.0
"""Seconds between two attempts to replace a successor that crashes."""
_PASSED_SOCKETS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


class _Server(Protocol):
    """What a reload needs of :class:`~reserve.engine.server.Server`."""

    @property
    def stopping(self) -> bool: ...

    def retire(self) -> None: ...

    def request_stop(self, timeout: float | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """How this process was started; the successor is started in the same way."""

    argv: tuple[str, ...]
    """The command line without the name of the program."""
    directory: str
    """The working directory; empty: there was none."""
    environ: Mapping[str, str]
    """Without what the options and the application have changed, and without sockets that were passed."""

    @classmethod
    def of_process(cls, argv: tuple[str, ...]) -> Origin:
        """How this process was started; for the start, before anything has changed it."""
        environ = {name: value for name, value in os.environ.items() if name not in _PASSED_SOCKETS}
        return cls(argv, _directory(environ.get("PWD", "")), environ)


def _directory(named: str) -> str:
    """The working directory, by the name that the shell has for it: a symbolic link may lead to another version later.

    :param named: the variable ``PWD``.
    """
    try:
        directory = os.getcwd()
        if os.path.isabs(named) and os.path.samefile(named, directory):
            return named
    except OSError:
        return ""
    return directory


class Succession:
    """Reloads one server; the command makes one for a server that runs in its own process without a supervisor.

    :param server: it owns the listeners.
    :param listeners: those of the server.
    :param keep_alive: the option: seconds.
    :param signals: the handlers of the command, which ends the process itself.
    :param notifier: the messages to the service manager; None: there is none.
    :param hand_over: tells of both processes while this one retires.
    :param controls: returns the control sockets for the supervisor.
    """

    def __init__(
        self,
        server: _Server,
        listeners: Listeners,
        origin: Origin,
        keep_alive: float,
        console: Console,
        signals: StopSignals,
        force_exit: ForceExit,
        notifier: Notifier | None = None,
        *,
        hand_over: HandOver,
        controls: Callable[[], tuple[PassedListener, ...]] = tuple,
    ) -> None:
        self._server = server
        self._listeners = listeners
        self._origin = origin
        self._signals = signals
        self._console = console
        self._force_exit = force_exit
        self.hand_over = self._hand_over = hand_over
        """Tells of both processes."""
        self._controls = controls
        self._notifier = notifier if notifier is not None else Notifier()
        self._retires_within = max(keep_alive, _IDLE_CLIENT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._copies = Listeners()
        """Those of this server."""
        self._next = Listeners()
        """Those of the successor: of the copies those that it needs, and new ones."""
        self._process: subprocess.Popen[bytes] | None = None
        """The successor, also when it has ended."""
        self._channel: Channel | None = None
        self._is_ready = False
        """The successor has been ready; else it is starting."""
        self._again = False
        """Another reload was asked for while the successor was starting."""
        self._hands_over = False
        """The successor serves, and this process becomes the supervisor."""
        self._has_ended = False
        """The server has ended."""
        self._mask = signal_mask()
        """The signals that processes begin with: those of the main thread."""
        self._executes = False
        """A thread has begun to execute the supervisor."""
        self._reloads = 0
        """How often a reload was asked for during the hand-over."""
        self._stops = 0
        """How many signals to stop have come."""

    @staticmethod
    def is_possible() -> bool:
        """Whether this platform can replace a process by itself."""
        return hasattr(os, "fork") and hasattr(signal, "pthread_sigmask")

    # ---- the thread of the signals ----

    def reload(self) -> None:
        """Start the successor, or start it again; during a hand-over the supervisor does it later. Does not wait."""
        with self._lock:
            if self._stops or (self._has_ended and not self._hands_over):
                return
            if self._hands_over:
                self._reloads = 1
                self._say("this process finishes its requests still; it reloads again when it is the supervisor")
                return
            self._say("reloading")
            self._notifier.reloading("starts the new version")
            if self._thread is not None:
                self._again = True
                self._kill()
                return
            thread = SystemThread(target=self._run, name="reserve-reload", daemon=True)
            try:
                start_service(thread)
            except StartupError as error:
                self._say(f"the reload is not possible, so this process serves on: {error}")
                self._notifier.ready(self._notifier.status_text)
            else:
                self._thread = thread

    def request_stop(self, timeout: float | None = None) -> None:
        """Stop the server, and its successor too. See :meth:`reserve.engine.server.Server.request_stop`."""
        with self._lock:
            self._stops += 1
            self._hand_over.stop()
            if not (self._is_ready and self._hands_over):
                self._kill()
            elif timeout == 0:
                self._signal(signal.SIGQUIT)
            elif self._channel is not None:
                self._channel.send("stop")
        self._server.request_stop(timeout)

    # ---- the main thread ----

    def end(self) -> bool:
        """The server has ended. Returns whether the process becomes the supervisor of a successor; else there is none
        any more.
        """
        with self._lock:
            self._has_ended = True
            if not self._hands_over:
                self._kill()
            thread = self._thread
        if thread is not None and not self._hands_over:
            thread.join()
        self._hand_over.own_ended()
        return self._hands_over

    # ---- the thread reserve-reload ----

    def _run(self) -> None:
        try:
            while not self._try():
                pass
        except BaseException:  # a fault of reserve, of which Python writes the traceback
            with self._lock:
                self._kill()
                self._give_up()
            raise
        if self._hands_over:
            self._watch()

    def _try(self) -> bool:
        """Start a successor, and hand over when it is ready; False: it was asked for another one meanwhile."""
        with self._lock:
            self._again = False
            if self._is_over():
                self._give_up()
                return True
            try:
                self._open_copies()
                self._start()
            except (OSError, ReserveError) as error:
                self._say(f"the new version cannot be started, so this process serves on: {error}")
                self._give_up()
                return True
        messages = self._wait_ready()
        with self._lock:
            process = self._process
            if messages is not None and not self._again and not self._is_over():
                self._begin(messages)
                return True
            self._kill()
        code = process.wait() if process is not None else 0
        with self._lock:
            self._forget()
            if self._again and not self._is_over():
                return False
            if not self._is_over():
                how = f"exit code {code}" if code >= 0 else name_of(-code)
                self._say(f"the new version could not start ({how}), so this process serves on")
            self._give_up()
            return True

    def _is_over(self) -> bool:
        """Whether the server stops, so that nothing is reloaded any more. The lock is held."""
        return self._stops > 0 or self._has_ended or self._server.stopping

    def _give_up(self) -> None:
        """This thread ends, and this process serves on, or stops. The lock is held."""
        for sock in united(self._copies, self._next).all:
            release(sock)
        self._copies = self._next = Listeners()
        self._thread = None
        if not self._is_over():
            self._notifier.ready(self._notifier.status_text)

    def _open_copies(self) -> None:
        """Copy the listeners, and open those that the new configuration has in addition. The lock is held.

        :raises OSError: one was closed meanwhile.
        :raises StartupError: a new address cannot be opened.
        """
        if not self._copies.all:
            self._copies = self._next = _copy(self._listeners)
        try:
            command = parse_command_line(self._origin.argv)
            values = collect(command.given, self._origin.environ, self._origin.directory)
        except ReserveError:  # the new version may understand it, and says so if it does not
            return
        superfluous = [sock for sock in self._next.all if sock not in self._copies.all]
        self._next = open_changed(united(self._copies, self._next), values)
        for sock in superfluous:
            if sock not in self._next.all:
                release(sock)

    def _start(self) -> None:
        """Start a successor. The lock is held.

        :raises OSError: the system starts no more processes.
        """
        self._is_ready = False
        listeners = pass_listeners(self._next, with_files=False)
        self._process, self._channel = start_worker(
            self._origin.argv,
            listeners,
            self._origin.directory,
            environ=self._origin.environ,
            announce=True,
            mask=self._mask,
        )

    def _wait_ready(self) -> list[dict[str, Any]] | None:
        """Wait until the successor serves, and return what else it has sent; None: it has ended."""
        process, channel = self._process, self._channel
        if process is None or channel is None:
            return None
        others: list[dict[str, Any]] = []
        give_up_at = float("inf")
        while process.poll() is None and time.monotonic() < give_up_at:
            if channel.ended:  # it writes its traceback now, or the application has closed the descriptor
                give_up_at = min(give_up_at, time.monotonic() + _LAST_WORDS)
                time.sleep(_LOOK_INTERVAL)
            elif wait_for(channel.fileno(), _LOOK_INTERVAL):
                received = channel.receive()
                others += [message for message in received if message["type"] != "ready"]
                if any(message["type"] == "ready" for message in received):
                    return others
        return None

    def _begin(self, messages: list[dict[str, Any]]) -> None:
        """Leave the clients to the successor. The lock is held.

        :param messages: of the successor.
        """
        self._is_ready = self._hands_over = True
        for old, new in zip(self._listeners.all, self._copies.all, strict=True):
            if isinstance(old, UNIXListener) and isinstance(new, UNIXListener):
                new.created, old.created = old.created, None
            if new not in self._next.all:
                release(new)
        if self._process is not None and self._channel is not None:
            self._hand_over.begin(self._process.pid, self._channel, messages)
            self._say(f"process {self._process.pid} serves from now on; this one finishes its requests")
        self._force_exit.hand_over_by(self._become_supervisor)
        # The stop of a server that retires has its own timeout, and the exit of the process another one.
        self._force_exit.exit_within(self._retires_within + 2 * self._signals.stop_timeout)
        self._notifier.ready("the new version serves; this process finishes its requests")
        self._server.retire()

    def _watch(self) -> None:
        """Read what the successor sends, and replace it if it ends, as the supervisor does as soon as there is one."""
        delay, not_before = 0.5, 0.0
        while not self._executes:
            channel = self._channel
            if channel is None or channel.ended:
                time.sleep(_LOOK_INTERVAL)
            else:
                wait_for(channel.fileno(), _LOOK_INTERVAL)
            begins_to_serve = self._hand_over.read()
            with self._lock:
                if self._executes:
                    return
                self._is_ready = self._is_ready or begins_to_serve
                now = time.monotonic()
                if self._stops or self._process is None or now < not_before or self._process.poll() is None:
                    continue
                self._say(f"process {self._process.pid} has ended; another one starts")
                self._hand_over.successor_ended()
                self._forget()
                with suppress(OSError):  # the supervisor tries again
                    self._start()
                    if self._process is not None and self._channel is not None:
                        self._hand_over.replaced(self._process.pid, self._channel)
                delay = min(_LONGEST_DELAY, delay * 2)
                not_before = now + delay

    # ---- any of these threads, with the lock ----

    def _say(self, text: str) -> None:
        self._console.write(f"reserve: {text}\n", 0)

    def _kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _forget(self) -> None:
        """The successor has ended, and was waited for."""
        if self._channel is not None:
            self._channel.close()
        self._process = self._channel = None

    # ---- the thread that ends this program ----

    def _become_supervisor(self, exit_code: int) -> NoReturn:
        """Execute the supervisor, instead of an exit.

        :param exit_code: that of the exit.
        """
        with self._lock:
            is_first, self._executes = not self._executes, True
        while not is_first:  # the thread that was first ends this one
            time.sleep(_EXEC_ATTEMPTS)
        # From here on a signal waits in the pipe, or in this thread, until the supervisor reads it.
        signal.pthread_sigmask(signal.SIG_SETMASK, {*self._mask, *handled_signals()})
        unread = self._signals.hand_over()
        for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(which, 0)  # timers of the application outlive execve
        with self._lock:
            for _ in range(_EXEC_ATTEMPTS):
                try:
                    become_supervisor(self._state(exit_code, unread), handled_signals(), self._origin.environ)
                except OSError as error:
                    self._say(f"the supervisor of the new process cannot be executed: {error}")
                time.sleep(1.0)
        os._exit(StartupError.exit_code)  # the successor notices, and stops

    def _state(self, exit_code: int, unread: tuple[int, ...]) -> State:
        counts = self._hand_over.passed()  # from here on the channel is not read
        processes: tuple[PassedProcess, ...] = ()
        if self._process is not None and self._channel is not None and self._process.returncode is None:
            phase = "stopping" if self._stops else "serving" if self._is_ready else "starting"
            pid, due, rest = self._process.pid, self._hand_over.due, self._channel.passed()
            processes = (
                PassedProcess(pid, self._channel.fileno(), self._hand_over.generation, 0, phase, 0, 0, *rest, due=due),
            )
        reloads = (signal.SIGHUP,) * self._reloads
        return State(
            argv=self._origin.argv,
            directory=self._origin.directory,
            listeners=pass_listeners(self._next, with_files=True),
            processes=processes,
            served=True,
            generation=self._hand_over.generation,
            signals=(*reloads, *unread),
            signal_pipe=self._signals.pipe_reader,
            stops=self._stops,
            stop_timeout=self._signals.stop_timeout,
            had_terminal=self._signals.had_terminal,
            nohup=self._signals.was_ignored(signal.SIGHUP),
            # A reload that has aborted requests was reported; the exit code tells of the stop.
            aborted=bool(self._stops) and exit_code == ABORTED,
            controls=self._controls(),
            counts=counts,
        )


def _copy(listeners: Listeners) -> Listeners:
    """Copies of the listeners, for another process; the files of UNIX sockets stay with the originals.

    :raises OSError: one was closed meanwhile.
    """
    copies = Listeners()
    try:
        for purpose in PURPOSES:
            for sock in getattr(listeners, purpose):
                copy = _copy_of(sock)
                getattr(copies, purpose).append(copy)
                for notes, notes_of_copies in (
                    (listeners.origins, copies.origins),
                    (listeners.addresses, copies.addresses),
                ):
                    if sock in notes:
                        notes_of_copies[copy] = notes[sock]
    except BaseException:
        for copy in copies.all:
            copy.close()
        raise
    return copies


def _copy_of(sock: socket.socket) -> socket.socket:
    fd = os.dup(sock.fileno())
    copy: socket.socket
    if isinstance(sock, UNIXListener):
        copy = UNIXListener(sock.family, sock.type, sock.proto, fileno=fd)
        copy.created = None
    else:
        copy = socket.socket(sock.family, sock.type, sock.proto, fileno=fd)
    copy.setblocking(False)
    return copy

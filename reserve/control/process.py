"""What one process does for the control socket: it tells what it does, and takes a few settings.

In a server with one process the thread of the control socket calls it, in a worker process the thread that reads the
messages of the supervisor. Nothing in here waits for a worker.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reserve import __version__
from reserve.control.collector import LocalCollector, collector_of, phase_of
from reserve.control.commands import COMMANDS, LOOKING, Reply
from reserve.control.document import plain
from reserve.control.protocol import Refusal, Request
from reserve.control.stacks import thread_rows
from reserve.engine.logs.logfile import Reopened, reopen_log_files
from reserve.errors import ReserveError

__all__ = ["Actions", "LocalTarget", "ProcessCommands", "reopened_result", "version_result"]

_ROWS = 1000
"""How many connections are shown, if the request says nothing."""
_OF_THE_SERVER = ("version", "reload", "stop")
"""The commands that the process carries out to which signals go, whichever others there are."""
_MOST_BYTES = 900_000
"""Of the JSON of what one process tells."""


class ProcessCommands:
    """The part of the commands that each process carries out itself.

    :param set_log_level: called with the new lowest level of the error log.
    """

    def __init__(self, set_log_level: Callable[[str], object]) -> None:
        self.server: Any = None
        """The :class:`~reserve.engine.server.Server`; None: it is not made yet."""
        self._set_log_level = set_log_level

    def run(self, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry a command out, and return its result as JSON.

        :param command: ``stats``, ``stacks``, ``connections``, ``threads``, ``log-level`` or ``log-reopen``.
        :param arguments: checked; ``most``: bytes of the result, at most 900,000.
        :raises Refusal: that is not possible now.
        """
        server = self.server
        most = min(_MOST_BYTES, int(arguments.get("most", _MOST_BYTES)))
        if command == "stats":
            return {"phase": phase_of(server), "stats": None if server is None else plain(server.stats())}
        if command == "stacks":
            rows, note = thread_rows(server)
            return {"pid": os.getpid(), "responding": True, **_bounded("threads", rows, most), "note": note}
        if command == "connections":
            return self._connections(int(arguments.get("limit", _ROWS)), most)
        if command == "threads":
            if phase_of(server) != "serving":
                raise Refusal(f"process {os.getpid()} does not serve now")
            try:
                server.set_threads(arguments["min"], arguments["max"])
            except ReserveError as error:
                raise Refusal(str(error)) from None
            return {"pid": os.getpid()}
        if command == "log-level":
            self._set_log_level(arguments["level"])
            return {"pid": os.getpid()}
        if command == "log-reopen":
            return reopened_result(reopen_log_files())
        raise Refusal(f"a process of reserve {__version__} does not know {command[:40]!r}")

    def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a message ``ask`` of a :class:`~reserve.control.relay.Relay`."""
        answer: dict[str, Any] = {"id": message.get("id")}
        try:
            answer["result"] = self.run(str(message.get("command")), message.get("arguments") or {})
        except Refusal as refusal:
            answer["error"] = str(refusal)
        except Exception as error:  # a fault of one command must not end this thread
            answer["error"] = f"{type(error).__name__}: {error}"
        return answer

    def _connections(self, limit: int, most: int) -> dict[str, Any]:
        rows = [] if self.server is None else plain(self.server.open_connections())
        result = _bounded("connections", rows[:limit], most)
        left_out = len(rows) - len(result["connections"])
        return {"pid": os.getpid(), "responding": True, "total": len(rows), **result, "left_out": left_out}


def _nowhere(request: Request, reply: Reply) -> bool:
    """There is no other process."""
    return False


def _bounded(name: str, rows: list[Any], most: int) -> dict[str, Any]:
    """As many of the rows as have room in so many bytes of JSON, and how many have not."""
    size = count = 0
    for row in rows:
        size += len(json.dumps(row)) + 1
        if size > most:
            break
        count += 1
    return {name: rows[:count], "left_out": len(rows) - count}


def reopened_result(results: Iterable[Reopened]) -> dict[str, Any]:
    """What a process tells of the log files that it has opened again; the error of a file is empty if it has."""
    files = [
        {"path": result.path, "error": "" if result.error is None else result.error.strerror or str(result.error)}
        for result in results
    ]
    return {"pid": os.getpid(), "files": files}


def version_result() -> dict[str, Any]:
    """What the command ``version`` tells: of the program, and which commands it has."""
    return {
        "software": f"reserve {__version__}",
        "pid": os.getpid(),
        "commands": list(COMMANDS),
        "readonly": list(LOOKING),
    }


class Actions:
    """What the commands do to the whole server, as the code that has started it does them; with one process.

    :param reload: as SIGHUP.
    :param stop: as SIGTERM; with True as SIGQUIT.
    :param reopen: as SIGUSR1; returns what became of each log file.
    """

    def __init__(
        self, reload: Callable[[], object], stop: Callable[[bool], object], reopen: Callable[[], Iterable[Reopened]]
    ) -> None:
        self.reload, self.stop, self.reopen = reload, stop, reopen


class LocalTarget:
    """Carries out the commands in a server with one process.

    :param process: what the process does itself.
    :param actions: None: the server cannot be asked for them yet, because it is not made.
    """

    def __init__(self, process: ProcessCommands, actions: Actions) -> None:
        self._process = process
        self._actions = actions
        self.elsewhere: Callable[[Request, Reply], bool] = _nowhere
        """Takes over a request about all processes when there is another one; False: there is none."""

    def perform(self, request: Request, reply: Reply) -> None:
        """See :class:`~reserve.control.commands.Target`."""
        if request.command in _OF_THE_SERVER or not self.elsewhere(request, reply):
            reply(self._result(request.command, request.arguments))

    def _result(self, command: str, arguments: Mapping[str, Any]) -> Any:
        process = self._process
        if command == "version":
            return version_result()
        if command == "status":
            return (LocalCollector() if process.server is None else collector_of(process.server)).collect()
        if command in ("stacks", "connections"):
            pid = arguments.get("pid", os.getpid())
            if pid != os.getpid():
                raise Refusal(f"there is no process {pid} of this server", f"it has one: {os.getpid()}")
            return {"time": time.time(), "processes": [process.run(command, arguments)]}
        if command == "reload":
            if process.server is None:
                raise Refusal("the server is starting still")
            self._actions.reload()
            return {"reloading": True}
        if command == "stop":
            self._actions.stop(bool(arguments.get("now", False)))
            return {"stopping": True}
        if command == "log-reopen":
            return {"processes": [reopened_result(self._actions.reopen())]}
        if command == "processes":
            raise Refusal(
                "this server has one process and no supervisor, so their number cannot change while it runs",
                f"start it with --processes {arguments['count']}",
            )
        result = process.run(command, arguments)
        return {**arguments, "processes": [result["pid"]]}

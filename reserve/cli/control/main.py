"""The commands that look at a running server, or change it: ``reserve status``, ``stacks``, ``stop`` and so on.

Runs on the main thread. The server is named by its control socket.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from reserve.cli.control.printing import connections_text, stacks_text, status_text
from reserve.cli.parser import CommandLine
from reserve.control.client import ControlClient, ControlError
from reserve.control.commands import LOOKING
from reserve.control.top.cells import printable
from reserve.control.totals import UNREADABLE
from reserve.errors import Correction, ReserveError, UsageError
from reserve.loader.directory import working_directory
from reserve.options.sources import collect

__all__ = ["control_path", "run_control"]

_OWN_OPTIONS = ("control", "control-readonly", "config")
_FLAGS: Mapping[str, tuple[str, ...]] = {
    "status": ("--json",),
    "stacks": ("--json", "--all", "--pid"),
    "connections": ("--json", "--pid", "--limit"),
    "stop": ("--now",),
}
"""The options of each command."""
_WITH_VALUE = ("--pid", "--limit")
_WORDS: Mapping[str, tuple[str, str]] = {
    "threads": ("MIN:MAX", "4:32"),
    "processes": ("N", "4"),
    "log-level": ("LEVEL", "debug"),
}
"""The argument that a command needs, and an example of it."""
_Given = dict[str, Any]


def run_control(command: CommandLine) -> str:
    """Carry out the command, and return what it prints.

    :raises UsageError: wrong words, or it is not said which server is meant.
    :raises ~reserve.control.client.ControlError: the server cannot be asked, or refuses.
    """
    task = command.task
    for option, _ in command.given:
        if option.name not in _OWN_OPTIONS:
            raise UsageError(f"reserve {task} is for a server that runs, so {option.flag} has no effect; leave it out")
    given = _parse(command)
    path = control_path(command, os.environ)
    arguments = _arguments(task, given)
    try:
        result = _call(path, task, arguments)
    except ControlError as error:
        if error.refused or error.timed_out or task not in LOOKING:
            raise
        result = _call(path, task, arguments)  # the process may have become another program at that moment
    if given.get("--json"):
        return json.dumps(result, indent=2)
    try:
        return _TEXTS[task](result, given)
    except UNREADABLE:
        raise ControlError(
            f"the server has sent nothing that this version of reserve {task} can read",
            "it is of another version perhaps; --json prints what it has sent"
            if "--json" in _FLAGS.get(task, ())
            else "",
        ) from None


def _call(path: str, command: str, arguments: Mapping[str, Any]) -> Any:
    with ControlClient(path) as client:
        return client.call(command, **arguments)


def control_path(command: CommandLine, environ: Mapping[str, str]) -> str:
    """The control socket that the command line names, or else the environment or the file with the options.

    :raises UsageError: none does.
    """
    for option, value in reversed(command.given):
        if option.name in ("control", "control-readonly") and value:
            return value
    for name in ("RESERVE_CONTROL", "RESERVE_CONTROL_READONLY"):
        if environ.get(name):
            return environ[name]
    try:
        values = collect(command.given, environ, working_directory())
    except ReserveError:  # the server that runs has other options, perhaps
        values = None
    for field in ("control", "control_readonly"):
        if values is not None and values[field]:
            return os.path.join(str(values["chdir"] or ""), str(values[field]))
    task = command.task
    raise UsageError(
        f"reserve {task} needs the control socket of the server, which is started with the same option, as in: "
        "reserve --control /tmp/reserve.control app http wsgi blog",
        f"; write: reserve {task} --control /tmp/reserve.control",
        Correction(argv=(*command.argv, "--control", "/tmp/reserve.control")),
    )


def _parse(command: CommandLine) -> _Given:
    """The words after the name of the command."""
    task, words = command.task, list(command.arguments[1:])
    given: _Given = {}
    if command.after:
        raise UsageError(f"reserve {task} takes nothing after --, but it was given {' '.join(command.after)}")
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag in _FLAGS.get(task, ()):
            if flag in _WITH_VALUE:
                value = value if equals else words.pop(0) if words else ""
                if not (value.isascii() and value.isdigit()):
                    raise UsageError(f"{flag} of reserve {task} is a number, not {value[:40]!r}")
                given[flag] = int(value)
            else:
                given[flag] = True
        elif task in _WORDS and "word" not in given and not word.startswith("-"):
            given["word"] = word
        else:
            options = f"; its options are {', '.join(_FLAGS[task])}" if task in _FLAGS else ""
            raise UsageError(
                f"reserve {task} does not take {word[:40]!r}{options}", correction=Correction(wrong=(word,), last=True)
            )
    if task in _WORDS and "word" not in given:
        name, example = _WORDS[task]
        raise UsageError(
            f"reserve {task} needs {name}",
            f", as in: reserve {task} {example}",
            Correction(wrong=(task,), right=(task, example)),
        )
    return given


def _arguments(task: str, given: _Given) -> dict[str, Any]:
    """The arguments of the request.

    :raises UsageError: the word is not what the command needs.
    """
    word = str(given.get("word", ""))
    if task == "threads":
        parts = word.split(":")
        if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
            raise UsageError(f"reserve threads needs MIN:MAX or one number, as 4:32, not {word[:40]!r}")
        return {"min": int(parts[0]), "max": int(parts[-1])}
    if task == "processes":
        if not (word.isascii() and word.isdigit()):
            raise UsageError(f"reserve processes needs a number, as 4, not {word[:40]!r}")
        return {"count": int(word)}
    if task == "log-level":
        return {"level": word}
    names = {"--pid": "pid", "--limit": "limit", "--now": "now"}
    return {names[flag]: value for flag, value in given.items() if flag in names}


def _changed(text: str) -> Callable[[Any, _Given], str]:
    """What a setting of all processes prints."""

    def print_changed(result: Any, given: _Given) -> str:
        lines = [text.format(given["word"])]
        silent = result.get("silent", ())
        if silent:
            pids = ", ".join(map(str, silent))
            lines.append(f"not yet in {'process' if len(silent) == 1 else 'processes'} {pids}: no response")
        lines += [f"not in process {pid}: {error}" for pid, error in result.get("errors", {}).items()]
        return "\n".join(lines)

    return print_changed


def _reopened(result: Mapping[str, Any]) -> str:
    """Which log files are opened again.

    :raises ControlError: some could not be opened, or no log goes to a file.
    """
    if "processes" not in result:  # of an older version
        return "the log files are opened again"
    opened: dict[str, None] = {}
    failed: dict[str, None] = {}
    for process in result["processes"]:
        for file in process["files"]:
            path, error = (printable(str(file[name]), most=4096) for name in ("path", "error"))
            if error:
                failed[
                    f"process {process['pid']} cannot open {path} again, so its lines go on into the file that was "
                    f"open: {error}"
                ] = None
            else:
                opened[path] = None
    if not opened and not failed:
        raise ControlError("no log file was opened again: there is none (--access-log-file, --error-log-file)")
    lines = [f"{path} is opened again" for path in opened]
    if failed:
        raise ControlError("; ".join([*failed, *lines]))
    return "\n".join(lines)


_TEXTS: Mapping[str, Callable[[Any, _Given], str]] = {
    "status": lambda result, given: status_text(result),
    "stacks": lambda result, given: stacks_text(result, everything=bool(given.get("--all"))),
    "connections": lambda result, given: connections_text(result),
    "reload": lambda result, given: "the server reloads; its log says how that ends",
    "stop": lambda result, given: "the server stops" + (" at once" if given.get("--now") else ""),
    "threads": _changed("{0} threads from now on, until the next reload"),
    "processes": lambda result, given: f"{given['word']} processes from now on, until the next reload",
    "log-level": _changed("the log has lines from {0} on from now on, until the next reload"),
    "log-reopen": lambda result, given: _reopened(result),
}
"""What each command prints, without ``--json``."""

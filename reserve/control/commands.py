"""The commands of the control socket: their names, their arguments, and who may give them. Pure.

A :class:`Target` carries them out: the one process of a server, or the supervisor of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reserve import __version__
from reserve.control.protocol import Refusal, Request

__all__ = ["COMMANDS", "LOOKING", "Reply", "Target", "check", "result_for"]

Reply = Callable[[Any], object]
"""Takes the result of a request, or a :class:`~reserve.control.protocol.Refusal`; called once."""

_MOST_ROWS = 10_000
"""How many connections of a process are shown at most."""
_ROWS_INTERVAL = 1.0
"""Seconds: the smallest interval of ``watch`` for stacks and connections, which cost processes more than a status."""
_LEVELS = ("debug", "info", "warning", "error", "critical")


class Target(Protocol):
    """What carries commands out; owned by the listener, on whose thread it is called."""

    def perform(self, request: Request, reply: Reply) -> None:
        """Carry out a request that :func:`check` has returned. Does not block; ``reply`` is called now or later.

        :raises Refusal: it is not carried out.
        """


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    arguments: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Its arguments by name, each with a function that returns its value or raises ValueError with what is allowed."""
    required: tuple[str, ...] = ()
    looks: bool = False
    """It changes nothing, so ``--control-readonly`` has it, too."""
    is_shared: bool = False
    """Clients that ask for it within a moment get the same result, because it costs every process something."""


def _number(lowest: int, highest: int) -> Callable[[Any], int]:
    def check_number(value: Any) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest}")
        return value

    return check_number


def _seconds(lowest: float, highest: float) -> Callable[[Any], float]:
    def check_seconds(value: Any) -> float:
        if type(value) not in (int, float) or not lowest <= value <= highest:
            raise ValueError(f"seconds from {lowest:g} to {highest:g}")
        return float(value)

    return check_seconds


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _level(value: Any) -> str:
    if value not in _LEVELS:
        raise ValueError(f"one of {', '.join(_LEVELS)}")
    return str(value)


def _watched(value: Any) -> str:
    if value not in ("status", "stacks", "connections"):
        raise ValueError("one of status, stacks, connections")
    return str(value)


_PROCESS = {"pid": _number(1, (1 << 31) - 1)}
COMMANDS: Mapping[str, Command] = {
    "version": Command(looks=True),
    "status": Command(looks=True),
    "stacks": Command(_PROCESS, looks=True, is_shared=True),
    "connections": Command({**_PROCESS, "limit": _number(1, _MOST_ROWS)}, looks=True, is_shared=True),
    "watch": Command({"interval": _seconds(0.2, 3600), "what": _watched}, looks=True),
    "reload": Command(),
    "stop": Command({"now": _flag}),
    "threads": Command({"min": _number(1, 4096), "max": _number(1, 4096)}, ("max",)),
    "processes": Command({"count": _number(1, 1024)}, ("count",)),
    "log-level": Command({"level": _level}, ("level",)),
    "log-reopen": Command(),
}
"""Every command, by its name."""
LOOKING = tuple(name for name, command in COMMANDS.items() if command.looks)
"""Those that change nothing."""


def check(request: Request, *, readonly: bool) -> Request:
    """The request with its arguments checked.

    :param readonly: it came over ``--control-readonly``.
    :raises Refusal: there is no such command, it may not be given there, or an argument is wrong.
    """
    command = COMMANDS.get(request.command)
    if command is None:
        raise Refusal(
            f"reserve {__version__} has no command {request.command[:40]!r}",
            f"its commands are {', '.join(COMMANDS)}; a newer version of the server may have more",
        )
    if readonly and not command.looks:
        raise Refusal(
            f"{request.command} changes the server, and this socket is for looking at it (--control-readonly)",
            "use the socket of --control",
        )
    arguments: dict[str, Any] = {}
    for name, value in request.arguments.items():
        if name not in command.arguments:
            allowed = ", ".join(command.arguments) or "none"
            raise Refusal(f"{request.command} has no argument {name[:40]!r}; it has {allowed}")
        if value is None:
            continue
        try:
            arguments[name] = command.arguments[name](value)
        except ValueError as error:
            raise Refusal(f"{name} of {request.command} is {error}") from None
    missing = [name for name in command.required if name not in arguments]
    if missing:
        raise Refusal(f"{request.command} needs {missing[0]}")
    if request.command == "watch":
        what, interval = arguments.setdefault("what", "status"), arguments.setdefault("interval", 1.0)
        if COMMANDS[what].is_shared and interval < _ROWS_INTERVAL:
            raise Refusal(f"interval of watch is seconds from {_ROWS_INTERVAL:g} to 3600 for {what}")
    if request.command == "threads" and arguments.setdefault("min", arguments["max"]) > arguments["max"]:
        raise Refusal(f"min of threads is {arguments['min']}, more than max, {arguments['max']}")
    return Request(request.command, arguments, request.id)


def result_for(target: Target, request: Request, reply: Reply) -> None:
    """Have a target carry out a request; what it raises is the reply."""
    try:
        target.perform(request, reply)
    except Refusal as refusal:
        reply(refusal)
    except Exception as error:  # a fault of one command must not end the thread that serves all
        reply(Refusal(f"{request.command} failed: {type(error).__name__}: {error}"))

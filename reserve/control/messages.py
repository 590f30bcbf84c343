"""The messages of worker and zygote processes, checked. Pure.

A process may run as another user, be of another version, or have an application that writes to the descriptor of its
channel. So each message is checked here before anything uses it: what the supervisor gets, or a process that hands
over, has the types that it says, numbers that JSON and the counters have room for, and no deep nesting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from reserve.control.document import HISTOGRAMS, counters_of

__all__ = [
    "Answer",
    "Collect",
    "Ended",
    "Forked",
    "Last",
    "MalformedMessage",
    "Message",
    "Preloaded",
    "Ready",
    "Recycle",
    "Report",
    "parse_message",
    "parse_messages",
]

_MOST_TEXT = 4096
"""Characters of a text for the log; the rest is cut."""
_MOST_DEPTH = 16
"""Arrays and objects within each other. What the processes of this version send has six."""
_MOST_NUMBER = 1 << 63
"""Counters and process IDs are below it."""


class MalformedMessage(Exception):
    """A message that no version of a process sends.

    :param text: what is wrong, as a clause.
    :param instead: what it counts as; None: as nothing.
    """

    def __init__(self, text: str, instead: Message | None = None) -> None:
        super().__init__(text)
        self.instead = instead


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker serves."""

    banner: str
    retires_within: float
    """Seconds; infinite: it has not said that."""


@dataclass(frozen=True, slots=True)
class Recycle:
    """The worker asks for another one in its place."""

    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """A line for the log that several workers may have."""

    about: str
    """What it says without numbers that differ."""
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a question of the supervisor: a result or an error."""

    id: int
    values: Mapping[str, Any]
    """``result`` or ``error``."""
    stats: Mapping[str, Any] | None
    """The stats in the result; None: it has none."""


@dataclass(frozen=True, slots=True)
class Last:
    """The last stats of a worker that ends."""

    stats: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Collect:
    """The worker asks for the document about all processes."""


@dataclass(frozen=True, slots=True)
class Preloaded:
    """The zygote can fork workers."""


@dataclass(frozen=True, slots=True)
class Forked:
    """The zygote has forked a worker."""

    serial: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker of the zygote has ended."""

    serial: int
    code: int


Message: TypeAlias = "Ready | Recycle | Report | Answer | Last | Collect | Preloaded | Forked | Ended"


def parse_message(value: Mapping[str, Any]) -> Message | None:
    """The message in an object; None: its ``type`` is unknown, because another version of the program sends it.

    :param value: what JSON text stood for.
    :raises MalformedMessage: it is none.
    """
    parse = _PARSERS.get(str(value.get("type")))
    if parse is None:
        return None
    try:
        _check_plain(value)
        return parse(value)
    except KeyError as error:
        text = f"{value['type']} has no {error.args[0]}"
    except MalformedMessage as error:
        text = str(error)
    raise MalformedMessage(text, _instead(value))


def parse_messages(values: Iterable[Mapping[str, Any]]) -> tuple[list[Message], str]:
    """The messages in objects, and what is wrong with the first malformed one, as a clause; empty: none is malformed.

    :param values: as for :func:`parse_message`.
    """
    messages = []
    complaint = ""
    for value in values:
        try:
            message = parse_message(value)
        except MalformedMessage as error:
            complaint = complaint or str(error)
            message = error.instead
        if message is not None:
            messages.append(message)
    return messages, complaint


def _instead(value: Mapping[str, Any]) -> Message | None:
    """What a malformed message counts as: an answer is one, so that the question is not kept waiting for it."""
    if value["type"] != "answer":
        return None
    try:
        return Answer(_number(value, "id"), {"error": "what it has answered cannot be read"}, None)
    except (KeyError, MalformedMessage):
        return None


def _check_plain(value: Any) -> None:
    """Refuse what cannot be sent on as JSON: deep nesting, and numbers that are none."""
    level = [value]
    for _ in range(_MOST_DEPTH):
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                following += item.values()
            elif isinstance(item, list):
                following += item
            elif isinstance(item, float) and not math.isfinite(item):
                raise MalformedMessage("a number is not finite")
        if not following:
            return
        level = following
    raise MalformedMessage("it is nested too deeply")


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name, "")
    if not isinstance(text, str):
        raise MalformedMessage(f"{name} is no text")
    return text[:_MOST_TEXT]


def _number(value: Mapping[str, Any], name: str) -> int:
    number = value[name]
    if type(number) is not int or not -_MOST_NUMBER < number < _MOST_NUMBER:
        raise MalformedMessage(f"{name} is no whole number")
    return number


def _pid(value: Mapping[str, Any]) -> int:
    pid = _number(value, "pid")
    if not 1 < pid < 1 << 31:  # others would be a group of processes, or that of all
        raise MalformedMessage("pid is no process ID")
    return pid


def _ready(value: Mapping[str, Any]) -> Ready:
    within = value.get("retires_within", math.inf)
    if type(within) not in (int, float) or not within >= 0:  # NaN
        raise MalformedMessage("retires_within is no number of seconds")
    try:
        return Ready(_text(value, "banner"), float(within))
    except OverflowError:
        raise MalformedMessage("retires_within is no number of seconds") from None


def _answer(value: Mapping[str, Any]) -> Answer:
    values = {name: value[name] for name in ("result", "error") if name in value}
    if not values:
        raise MalformedMessage("answer has no result")
    result = values.get("result", {})
    if not isinstance(result, dict):
        raise MalformedMessage("result is no object")
    stats = result.get("stats")
    return Answer(_number(value, "id"), values, None if stats is None else _stats(stats))


def _stats(stats: Any) -> Mapping[str, Any]:
    """Stats whose counters can be added to those of any other process."""
    if not isinstance(stats, dict) or not isinstance(stats.get("workers", []), list):
        raise MalformedMessage("stats are no object")
    try:
        counters = counters_of(stats)
        requests = counters.pop("requests", {})
        for method, status, count in requests.get("responses", ()):
            if not isinstance(method, str) or type(status) is not int:
                raise MalformedMessage("responses are not counted by method and status")
            _check_count(count)
        for name in HISTOGRAMS:
            histogram = requests.get(name, {"bounds": (), "counts": (), "sum": 0.0})
            if any(type(bound) not in (int, float) for bound in histogram["bounds"]):
                raise MalformedMessage(f"{name} has bounds that are no numbers")
            for count in histogram["counts"]:
                _check_count(count)
            if histogram["counts"] and len(histogram["counts"]) != len(histogram["bounds"]) + 1:
                raise MalformedMessage(f"{name} has not one count for each part")
        for number in (*counters.values(), requests.get("bytes_received", 0), requests.get("bytes_sent", 0)):
            _check_count(number)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise MalformedMessage("stats have counters that cannot be added") from None
    return stats


def _check_count(number: Any) -> None:
    if type(number) is not int or not 0 <= number < _MOST_NUMBER:
        raise MalformedMessage("stats have a counter that is no count")


_PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Message]] = {
    "ready": _ready,
    "recycle": lambda value: Recycle(_text(value, "reason")),
    "report": lambda value: Report(_text(value, "about"), _text(value, "text")),
    "answer": _answer,
    "last": lambda value: Last(_stats(value["stats"])),
    "collect": lambda value: Collect(),
    "preloaded": lambda value: Preloaded(),
    "forked": lambda value: Forked(_number(value, "serial"), _pid(value)),
    "ended": lambda value: Ended(_number(value, "serial"), _number(value, "code")),
}

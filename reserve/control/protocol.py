"""The lines of the control socket: bytes in, requests out, and the other way round. Pure. ``docs/control.md`` has the
whole protocol.

A request is a JSON object on a line of its own, ``{"id": 1, "command": "status"}``, and so is each response:
``{"id": 1, "ok": true, "result": ...}`` or ``{"id": 1, "ok": false, "error": "...", "hint": "..."}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "MAX_LINE",
    "Lines",
    "Refusal",
    "Request",
    "encoded",
    "failure",
    "parse_request",
    "request_line",
    "success",
    "success_line",
]

MAX_LINE = 65536
"""Bytes of a request with its line end. A client that sends more is disconnected."""
_MAX_ID = 256
"""Characters of an ``id`` as JSON. It comes back in the response."""
_MAX_DEPTH = 16
"""How many arrays and objects of a request may be within each other."""


class Refusal(Exception):
    """A request that is not carried out; the client gets the text.

    :param text: what is wrong, as a sentence without its end.
    :param hint: what to do; empty: that is not known.
    :param request_id: the ``id`` of the request, as far as it could be read.
    """

    def __init__(self, text: str, hint: str = "", request_id: Any = None) -> None:
        super().__init__(text)
        self.hint = hint
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class Request:
    """One request."""

    command: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the object has beside ``id`` and ``command``."""
    id: Any = None
    """What the client distinguishes its requests by: any JSON; None: nothing."""


class Lines:
    """Finds the lines in what a client sends, in pieces of any size.

    :param limit: bytes of a line with its end.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._data = bytearray()
        self._searched = 0
        """How many bytes of the data have no line end."""

    @property
    def size(self) -> int:
        """Bytes that have arrived and are not read."""
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Add what was received."""
        self._data += data

    def next(self) -> bytes | None:
        """The next line without its end; None: it is not complete.

        :raises Refusal: it is longer than the limit. What follows cannot be read.
        """
        end = self._data.find(b"\n", self._searched)
        if (len(self._data) if end < 0 else end + 1) > self._limit:
            raise Refusal(f"a request has at most {self._limit} bytes")
        if end < 0:
            self._searched = len(self._data)
            return None
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        self._searched = 0
        return line.removesuffix(b"\r")


def parse_request(line: bytes) -> Request:
    """The request on a line.

    :raises Refusal: it is none.
    """
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refusal("the line is no JSON", 'a request is a line such as {"id": 1, "command": "status"}') from None
    if not isinstance(value, dict):
        raise Refusal("the line is no JSON object", 'a request is a line such as {"id": 1, "command": "status"}')
    request_id, command = value.pop("id", None), value.pop("command", None)
    try:
        has_room = _depth(request_id) <= _MAX_DEPTH and len(json.dumps(request_id, allow_nan=False)) <= _MAX_ID
    except ValueError:  # NaN or Infinity, which Python reads, and which are no JSON in the response
        raise Refusal("an id is JSON, which has no such number") from None
    if not has_room:
        raise Refusal(f"an id has at most {_MAX_ID} characters")
    if not isinstance(command, str):
        raise Refusal(
            "the request has no command", 'a request is a line such as {"id": 1, "command": "status"}', request_id
        )
    return Request(command, value, request_id)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MAX_DEPTH:
        depth += 1
        level = [
            item
            for outer in level
            if isinstance(outer, (list, dict))
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def request_line(command: str, arguments: Mapping[str, Any], request_id: Any = None) -> bytes:
    """The line of a request."""
    return _line({"id": request_id, "command": command, **arguments})


def success(request_id: Any, result: Any) -> bytes:
    """The line of a response to a request that was carried out."""
    return success_line(request_id, encoded(result))


def encoded(result: Any) -> bytes:
    """A result as JSON, for :func:`success_line`: several responses may have it."""
    return json.dumps(result, separators=(",", ":")).encode()


def success_line(request_id: Any, result: bytes) -> bytes:
    """As :func:`success`, with a result that is :func:`encoded`."""
    return b'{"id":%b,"ok":true,"result":%b}\n' % (encoded(request_id), result)


def failure(refusal: Refusal, request_id: Any = None) -> bytes:
    """The line of a response to a request that was not carried out.

    :param request_id: None: that of the refusal.
    """
    response = {"id": refusal.request_id if request_id is None else request_id, "ok": False, "error": str(refusal)}
    return _line({**response, "hint": refusal.hint} if refusal.hint else response)


def _line(value: dict[str, Any]) -> bytes:
    return encoded(value) + b"\n"

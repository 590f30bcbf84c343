"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification) as a function: one message in, one answer out, or none.

Without sockets and threads; any thread may call it. Whatever the octets are, what comes back is a complete and valid
answer: text that is no JSON, nesting that is too deep to read or to write, and a method that fails become the errors
that the specification names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "MAX_BATCH",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "Params",
    "RPCError",
    "answer",
    "encode",
    "failure",
    "take",
]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

_MESSAGES = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
}

MAX_BATCH = 100
"""Requests in one batch: each octet of a senseless one would ask for an error of a hundred."""

Params: TypeAlias = "list[Any] | dict[str, Any] | None"
"""By position, by name, or left out."""


class RPCError(Exception):
    """What a method raises to answer with an error.

    :param code: one of the codes above, or the application's own.
    :param data: a sentence for the person at the other end, or None.
    :param message: the error's short name; by default the specification's for its code.
    """

    def __init__(self, code: int, data: str | None = None, message: str = "") -> None:
        super().__init__(data or message)
        self.code = code
        self.data = data
        self.message = message or _MESSAGES.get(code, "Server error")


def answer(
    text: bytes,
    call: Callable[[str, Params], object],
    report: Callable[[str, Exception], None],
) -> bytes | None:
    """Carry out the request, or the batch of requests, that ``text`` is.

    :param text: JSON in UTF-8, without the end of its line.
    :param call: ``call(method, params)`` returns the result, or raises :class:`RPCError`.
    :param report: ``report(method, error)`` is told what else ``call`` raised; the peer learns only that it failed.
    :return: the answer without the end of its line; None: only notifications, which have none.
    """
    try:
        message = _DECODER.decode(text.decode("utf-8"))
    except RecursionError:
        return failure(None, RPCError(PARSE_ERROR, "it is nested too deeply"))
    except ValueError as error:
        return failure(None, RPCError(PARSE_ERROR, str(error)))
    if not isinstance(message, list):
        return _one(message, call, report)
    if not message:
        return failure(None, RPCError(INVALID_REQUEST, "a batch has at least one request"))
    if len(message) > MAX_BATCH:
        return failure(None, RPCError(INVALID_REQUEST, f"a batch has at most {MAX_BATCH} requests"))
    answers = [one for one in (_one(request, call, report) for request in message) if one is not None]
    return b"[" + b",".join(answers) + b"]" if answers else None


def failure(identity: object, error: RPCError) -> bytes:
    """An error's answer; ``identity`` is the request's ``id``, None when it has none that could be read."""
    described: dict[str, object] = {"code": error.code, "message": error.message}
    if error.data is not None:
        described["data"] = error.data
    return encode({"jsonrpc": "2.0", "id": identity, "error": described})


def encode(value: object) -> bytes:
    """One line of JSON, in ASCII: a lone surrogate, which JSON can escape, has no UTF-8.

    Raises ValueError or TypeError for what JSON cannot say, RecursionError for what is nested too deeply.
    """
    return _ENCODER.encode(value).encode("ascii")


def take(params: Params, *names: str) -> tuple[Any, ...]:
    """The values of ``names``, given by position or by name. Raises RPCError when one is missing, or there are more."""
    if isinstance(params, dict) and params.keys() == set(names):
        return tuple(params[name] for name in names)
    if len(params or ()) == len(names) and not isinstance(params, dict):
        return tuple(params or ())
    raise RPCError(INVALID_PARAMS, f"it takes {', '.join(names)}" if names else "it takes none")


def _one(request: Any, call: Callable[[str, Params], object], report: Callable[[str, Exception], None]) -> bytes | None:
    identity = None
    method = ""
    try:
        if not isinstance(request, dict):
            raise RPCError(INVALID_REQUEST, "a request is an object")
        identity = _identity(request)
        method, params = _checked(request)
        result = call(method, params)
        if "id" in request:
            return encode({"jsonrpc": "2.0", "id": identity, "result": result})
    except RPCError as error:
        # A notification has no answer, unless it is so wrong that nobody can say whether it is one.
        if not method or "id" in request:
            return failure(identity, error)
    except Exception as error:
        report(method, error)
        if "id" in request:
            return failure(identity, RPCError(INTERNAL_ERROR))
    return None


def _identity(request: dict[str, Any]) -> object:
    identity = request.get("id")
    if isinstance(identity, bool) or not isinstance(identity, (str, int, float, type(None))):
        raise RPCError(INVALID_REQUEST, "id is a string, a number or null")
    return identity


def _checked(request: dict[str, Any]) -> tuple[str, Params]:
    """Members that the specification does not know are passed over: it leaves room for extensions."""
    if request.get("jsonrpc") != "2.0":
        raise RPCError(INVALID_REQUEST, 'jsonrpc is "2.0"')
    method = request.get("method")
    if not isinstance(method, str) or not method:
        raise RPCError(INVALID_REQUEST, "method is the name of a method")
    params = request.get("params")
    if "params" in request and not isinstance(params, (list, dict)):
        raise RPCError(INVALID_REQUEST, "params is an array or an object")
    return method, params


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


# Made once: json.loads and json.dumps make one for each call that is not all defaults.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

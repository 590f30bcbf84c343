"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification) as a function: one message in, one response out, or none.

Without sockets and threads; any thread may call it. Whatever the bytes are, the result is a complete and valid
response: text that is not JSON, nesting that is too deep to read or to write, and a method that fails become the errors
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
    "bind_params",
    "dispatch",
    "encode",
    "error_response",
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
"""Requests in one batch: each byte of a malformed batch could cause an error response of a hundred bytes."""

Params: TypeAlias = "list[Any] | dict[str, Any] | None"
"""By position, by name, or left out."""

Call: TypeAlias = "Callable[[str, Params], object]"
"""``call(method, params)`` returns the result, or raises :class:`RPCError`."""

Report: TypeAlias = "Callable[[str, Exception], None]"
"""``report(method, error)`` gets every other exception of a call. The client learns only that the method failed."""


class RPCError(Exception):
    """What a method raises to respond with an error.

    :param code: one of the codes above, or the application's own.
    :param data: a sentence for the user of the client, or None.
    :param message: the error's short name; by default the specification's for its code.
    """

    def __init__(self, code: int, data: str | None = None, message: str = "") -> None:
        super().__init__(data or message)
        self.code = code
        self.data = data
        self.message = message or _MESSAGES.get(code, "Server error")


def dispatch(text: bytes, call: Call, report: Report) -> bytes | None:
    """Carry out the request, or the batch of requests, that ``text`` is.

    :param text: JSON in UTF-8, without the end of its line.
    :return: the response without the end of its line; None: there were only notifications, which have none.
    """
    try:
        message = _DECODER.decode(text.decode("utf-8"))
    except RecursionError:
        return error_response(None, RPCError(PARSE_ERROR, "it is nested too deeply"))
    except ValueError as error:
        return error_response(None, RPCError(PARSE_ERROR, str(error)))
    if not isinstance(message, list):
        return _dispatch_request(message, call, report)
    if not message:
        return error_response(None, RPCError(INVALID_REQUEST, "a batch has at least one request"))
    if len(message) > MAX_BATCH:
        return error_response(None, RPCError(INVALID_REQUEST, f"a batch has at most {MAX_BATCH} requests"))
    results = (_dispatch_request(request, call, report) for request in message)
    responses = [response for response in results if response is not None]
    return b"[" + b",".join(responses) + b"]" if responses else None


def error_response(request_id: object, error: RPCError) -> bytes:
    """The response that is an error; ``request_id`` is None when the request has no valid ``id``."""
    member: dict[str, object] = {"code": error.code, "message": error.message}
    if error.data is not None:
        member["data"] = error.data
    return encode({"jsonrpc": "2.0", "id": request_id, "error": member})


def encode(value: object) -> bytes:
    """One line of JSON, in ASCII: JSON can escape a lone surrogate, which UTF-8 cannot encode.

    Raises ValueError or TypeError for what JSON cannot express, RecursionError for what is nested too deeply.
    """
    return _ENCODER.encode(value).encode("ascii")


def bind_params(params: Params, *names: str) -> tuple[Any, ...]:
    """The values of ``names``, given by position or by name. Raises RPCError when one is missing, or there are more."""
    if isinstance(params, dict) and params.keys() == set(names):
        return tuple(params[name] for name in names)
    if len(params or ()) == len(names) and not isinstance(params, dict):
        return tuple(params or ())
    raise RPCError(INVALID_PARAMS, f"it takes {', '.join(names)}" if names else "it takes none")


def _dispatch_request(request: Any, call: Call, report: Report) -> bytes | None:
    request_id = None
    method = ""
    try:
        if not isinstance(request, dict):
            raise RPCError(INVALID_REQUEST, "a request is an object")
        request_id = _request_id(request)
        method, params = _method_and_params(request)
        result = call(method, params)
        if "id" in request:
            return encode({"jsonrpc": "2.0", "id": request_id, "result": result})
    except RPCError as error:
        # A notification has no response, except one that is so wrong that it may be a request.
        if not method or "id" in request:
            return error_response(request_id, error)
    except Exception as error:
        report(method, error)
        if "id" in request:
            return error_response(request_id, RPCError(INTERNAL_ERROR))
    return None


def _request_id(request: dict[str, Any]) -> object:
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, (str, int, float, type(None))):
        raise RPCError(INVALID_REQUEST, "id is a string, a number or null")
    return request_id


def _method_and_params(request: dict[str, Any]) -> tuple[str, Params]:
    """Members that the specification does not know are ignored: it leaves room for extensions."""
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


# Made once: json.loads and json.dumps make a decoder or encoder for each call that does not use all defaults.
_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

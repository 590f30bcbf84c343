"""A handler as a WSGI application (PEP 3333), for reserve and for any other server.

One :class:`Application` serves all requests and keeps nothing of any of them. It is what stands between a program and
the browser: it checks the request, calls the handler, makes a page of an exception, and answers conditional requests.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Iterator
from typing import Any

from reserve.desk.content import escape
from reserve.desk.formdata import MAX_FIELDS, ProtocolError
from reserve.desk.request import MAX_BODY, Request
from reserve.desk.response import Response, check_code, phrase
from reserve.desk.security import SecurityPolicy
from reserve.errors import type_name
from reserve.gateways.conditional import Conditions, evaluate, parse_date, retained_in_304

__all__ = ["Application", "Handle", "WSGIHandle"]

Handle = Callable[[Request], Any]
"""Any callable that takes a :class:`Request` and returns a :class:`Response`, or content for one."""

_LOGGER = logging.getLogger("reserve.desk")
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length")
)
"""What belongs to the connection, not to the response; the length is counted here."""
_WITHOUT_BODY = (204, 304)


class Application:
    """The WSGI callable of a program: ``app = Application(router)``, and ``reserve app http wsgi module:app``.

    :param handle: a router, a function, or any other callable of a :class:`Request`.
    :param hosts: the names under which it is reached, see :class:`reserve.desk.security.SecurityPolicy`. Default: those
        of this machine only. ``"*"``: any.
    :param cross_origin: whether, or from which origins, other sites may send forms, and whether they may
        show the program in a frame. Default: none.
    :param debug: whether the page of an exception shows the traceback. Whoever sees it sees your source code. With the
        option ``--debug`` of the command, clients on this machine see it anyway.
    :param max_body: how many bytes the body of a request may have; a longer one gets 413. Default: 64 MiB.
    :param max_fields: how many fields a query or a form may have. Default: 10,000.
    :param on_shut_down: called after the last byte of a response with ``shut_down``. Default: nothing is.
    :raises TypeError: for a ``handle`` that cannot be called.
    :raises ValueError: for a host or an origin that is none.
    """

    single_thread = True
    """The command line then runs the program on one thread, the main one. Set it to False in a program whose handlers
    may run at the same time."""

    def __init__(
        self,
        handle: Handle,
        *,
        hosts: str | Iterable[str] | None = None,
        cross_origin: bool | str | Iterable[str] = False,
        debug: bool = False,
        max_body: int = MAX_BODY,
        max_fields: int = MAX_FIELDS,
        on_shut_down: Callable[[], object] | None = None,
    ) -> None:
        if not callable(handle):
            raise TypeError(f"a handle is a callable that takes a Request, got {handle!r:.80}")
        self._handle = handle
        self._policy = SecurityPolicy(hosts, cross_origin)
        self._debug = debug
        self._max_body = max_body
        self._max_fields = max_fields
        self._on_shut_down = on_shut_down

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = self._respond(environ)
        if not self._policy.allows_frames:
            _refuse_frames(response)
        if response.wsgi is not None:
            result = response.wsgi(environ, start_response)
        else:
            status, headers, body = _finish(response, environ)
            start_response(status, headers)
            result = [body]
        if response.shut_down and self._on_shut_down is not None:
            after_response = environ.get("reserve.after_response")
            if after_response is None:
                return _Closing(result, self._on_shut_down)
            after_response(self._on_shut_down)
        return result

    def _respond(self, environ: dict[str, Any]) -> Response:
        refusal = self._policy.check(environ)
        if refusal is not None:
            _LOGGER.warning("refused %s: %s", _line(environ), refusal.detail)
            return Response.generic(["<p>", escape(refusal.detail), "</p>"], code=refusal.code)
        try:
            request = Request.from_environ(environ, max_body=self._max_body, max_fields=self._max_fields)
        except ProtocolError as error:
            _LOGGER.warning("refused %s: %s", _line(environ), error)
            return Response.generic(["<p>", escape(str(error)), "</p>"], code=error.code)
        request.debug = self._debug or environ.get("reserve.debug") is True
        if environ.get("REQUEST_URI") == "*":  # OPTIONS about the server, and not about a page of it
            return Response(None, code=204)
        if request.script_name and not environ.get("PATH_INFO"):
            return request.moved(request.root_url([""], request.GET))  # relative links need the slash
        try:
            response = as_response(self._handle(request), request)
            _check(response)
            return response
        except Exception as error:
            if isinstance(error, ProtocolError):
                _LOGGER.warning("%s: %s", describe_request(request, self._handle), error)
            else:
                _LOGGER.exception("%s failed", describe_request(request, self._handle))
            try:
                return Response.from_exception(request)
            except Exception:  # a template of the program's own
                _LOGGER.exception("the error page of %s failed", describe_request(request, self._handle))
                return Response("The program has made a mistake, and so has its error page.", code=500)


class WSGIHandle:
    """A handler that is also a WSGI callable; the base of Router and TransactionGuard. Subclasses have ``_answer``."""

    single_thread = True
    """See :attr:`Application.single_thread`."""

    def _answer(self, request: Request) -> Any:
        """Handle one request."""
        raise NotImplementedError

    def __call__(self, request: Any, start_response: Callable[..., Any] | None = None) -> Any:
        """Handle a request; or be a WSGI application, which is ``Application(self)``.

        :param request: a :class:`Request`, or the environ of WSGI if ``start_response`` is given.
        :return: a :class:`Response` or content; with ``start_response`` an iterable of bytes.
        """
        if start_response is None:
            return self._answer(request)
        return Application(self)(request, start_response)


def as_response(result: Any, request: Request) -> Response:
    """What a handler returned, as a response. None becomes an empty page and a warning in the log.

    :raises TypeError: if an ``async`` function was called.
    """
    if isinstance(result, Response):
        return result
    if isinstance(result, (Coroutine, AsyncIterable)):
        if isinstance(result, Coroutine):
            result.close()
        raise TypeError(f"{describe_request(request)}: the handler is async, and desk has no event loop")
    if result is None:
        _LOGGER.warning("%s returned None; the browser gets an empty page", describe_request(request))
    return Response(result)


def name_of(handle: object) -> str:
    """The module and name of a function or class; of another object those of its class."""
    named = handle if hasattr(handle, "__qualname__") else type(handle)
    module = getattr(named, "__module__", None)  # methods of built-in types have none
    return f"{module}.{named.__qualname__}" if module else named.__qualname__


def describe_request(request: Request, handle: object = None) -> str:
    """The handler and the request, for the log. ``handle`` counts if no router has chosen another."""
    line = ascii(f"{request.command} {request.uri:.500}")[1:-1]
    name = request.handler or (name_of(handle) if handle is not None else "")
    return f"{name} ({line})" if name else line


def _line(environ: dict[str, Any]) -> str:
    return ascii(f"{environ['REQUEST_METHOD']} {environ.get('PATH_INFO', ''):.500}")[1:-1]


def _refuse_frames(response: Response) -> None:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if headers.get("content-type", "").lower().startswith("text/html") and "x-frame-options" not in headers:
        response.headers["x-frame-options"] = "SAMEORIGIN"


def _check(response: Response) -> None:
    """Raise now, while there is an error page for it, what is wrong with a response that the program has changed."""
    response.header_list()
    check_code(response.code)
    if response.wsgi is None:
        if not isinstance(response.body, bytes):
            kind = type_name(response.body)
            raise TypeError(f"the body of a response is bytes, not {kind}; Response(content) takes anything")
    elif not callable(response.wsgi):
        raise TypeError(f"the wsgi of a response is a WSGI application, not {type_name(response.wsgi)}")


def _finish(response: Response, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """The status, the headers and the body that are sent: with a length, and a 304 where the browser has the page."""
    method = environ["REQUEST_METHOD"]
    readable = method in ("GET", "HEAD")
    code, body = response.code, response.body
    https = environ.get("wsgi.url_scheme") == "https"
    headers = [(name, value) for name, value in response.header_list(https=https) if name not in _HOP_BY_HOP]
    if code == 200 and readable:
        names = {name for name, _ in headers}
        if "cache-control" not in names:
            headers.append(("cache-control", "no-cache"))
        if "etag" not in names:
            headers.append(("etag", f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'))
        given = dict(headers)
        changed = given.get("last-modified")
        outcome = evaluate(
            method,
            Conditions.from_environ(environ)._replace(range=None),
            etag=given["etag"],
            last_modified=None if changed is None else parse_date(changed),
        )
        if outcome.status == 412:
            return _finish(Response.generic(code=412), environ)
        if outcome.status == 304:
            code, body = outcome.status, b""
            headers = [*retained_in_304(headers)]
    if code in _WITHOUT_BODY:
        headers = [(name, value) for name, value in headers if name != "content-type"]
        body = b""
    else:
        headers.append(("content-length", str(0 if code == 205 else len(body))))
        if method == "HEAD" or code == 205:
            body = b""
    return f"{code} {phrase(code)}", headers, body


class _Closing:
    """A result of WSGI after whose ``close()`` a function is called, for servers that have no better moment."""

    def __init__(self, result: Iterable[bytes], function: Callable[[], object]) -> None:
        self._result = result
        self._function = function

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._result)

    def close(self) -> None:
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                close()
        finally:
            self._function()

"""From the variables that a web server sends to a WSGI environ: one rule for SCGI, uwsgi and every other such protocol.

The variables are those of CGI (RFC 3875), but web servers differ in which of them they send, and in what these mean:
``reserve/docs/webservers.md`` has a table. The web server is trusted: it has received and checked the request, so its
variables say who the client is and which scheme it speaks.

Any thread may call these functions; all threads share a bounded cache of names, and there is no other state. A web
server sends two dozen variables with every request, nearly always with the same names. So a name is checked once.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from reserve.errors import RemoteError, counted
from reserve.protocol.codec import Head
from reserve.protocol.http1.fields import SINGLETONS, TOKEN
from reserve.protocol.http1.framing import body_length
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.requestline import ABSOLUTE, METHODS, decode_path

__all__ = ["OTHERS", "CGIHead", "most_variables", "request_head", "split_path", "too_many_variables"]

NAME = re.compile(r"[!-<>-~]+").fullmatch
"""Printable ASCII without a space and an equals sign."""
CONTROL = re.compile(r"[\0\r\n]").search
MAY_BE_EMPTY = frozenset(("PATH_INFO", "QUERY_STRING", "SCRIPT_NAME"))

FIELD, LENGTH, LINE, OTHER, OURS = range(1, 6)
"""The kinds of variables: a header field; CONTENT_LENGTH; one that may have no line end; any other (a decoded path may
have line ends); one that the server sets itself, and that no variable replaces.
"""
LINES = frozenset(("CONTENT_TYPE", "QUERY_STRING", "REQUEST_URI", "SERVER_PROTOCOL"))
OUR_PREFIXES = ("reserve.", "wsgi.")

MOST_CACHED = 1024
LONGEST_CACHED = 64
CACHED_KINDS: dict[str, int] = {}
"""The kinds of names that were here before, at most :data:`MOST_CACHED`, shared by all threads."""
OTHERS = 1000
"""The most variables of a request that are no header fields. Web servers send dozens; of the shortest ones 20,000 fit
into a head of 64 KiB, and each costs more time than its bytes do.
"""
TRUE = frozenset(("1", "on", "true", "yes"))


class CGIHead(Head):
    """The head of a request that a web server has received. Made by :func:`request_head`."""

    __slots__ = ("version",)

    version: str

    def __init__(self, method: str, target: str, environ: dict[str, Any], length: int | None) -> None:
        super().__init__(method, target, 0, environ, False, length, False)
        self.remote_addr = environ["REMOTE_ADDR"]
        self.version = environ["SERVER_PROTOCOL"]


def most_variables(limits: Limits) -> int:
    """The most variables of one request, which the parser of each protocol counts before it makes values of them."""
    return limits.max_fields + OTHERS


def too_many_variables(limits: Limits) -> RemoteError:
    """The refusal of a request with more variables than :func:`most_variables`."""
    return RemoteError(431, f"more than {most_variables(limits)} variables: {OTHERS} and --max-fields")


def request_head(
    names: list[str],
    values: list[str],
    base: dict[str, Any],
    limits: Limits,
    *,
    framed: bool = False,
    kind: type[CGIHead] = CGIHead,
) -> CGIHead:
    """Make the head of a request from its variables.

    :param names: of the variables, in the order in which they came, as latin-1 (PEP 3333).
    :param values: likewise, as many.
    :param base: the environ of the connection; it is copied, and the variables replace what is in it.
    :param limits: ``max_request_line`` is for REQUEST_URI; ``max_field`` and ``max_fields`` are for the ``HTTP_*``
        variables, which are the header fields; the caller has checked ``max_head`` and the number of variables.
    :param framed: the protocol itself shows where the body ends, whatever CONTENT_LENGTH says.
    :param kind: the class of the head, for a protocol that has to know more of a request.
    :raises RemoteError: 400, 411, 413, 414 or 431.

    - Of a variable that is repeated the last one counts. Repeated header fields are joined, as in HTTP, or refused,
      and so is a repeated CONTENT_LENGTH.
    - A variable without a value counts as not given (RFC 3875 section 4.1), except header fields, QUERY_STRING and the
      two parts of the path.
    - HTTP_PROXY is dropped, because client libraries take it for a setting. HTTP_CONTENT_LENGTH and HTTP_CONTENT_TYPE,
      which some web servers add, stand in for the variables without HTTP where these are missing.
    """
    given = _checked(names, values, limits)
    environ = base.copy()
    method = given.get("REQUEST_METHOD", "")
    if method not in METHODS and not TOKEN(method):
        what = f"REQUEST_METHOD {method[:30]!r} is not a token" if method else "there is no REQUEST_METHOD"
        raise RemoteError(400, f"{what} (RFC 3875 section 4.1.12)")
    uri = given.get("REQUEST_URI", "")
    if len(uri) > limits.max_request_line:
        raise RemoteError(414, f"REQUEST_URI is longer than {limits.max_request_line} bytes (--max-request-line)")
    script, path = split_path(given)
    given["SCRIPT_NAME"], given["PATH_INFO"] = script, path
    given.setdefault("QUERY_STRING", "")
    given.setdefault("SERVER_PROTOCOL", "HTTP/1.0")
    environ.update(given)

    https = given.get("HTTPS", given.get("REQUEST_SCHEME", "")).lower()
    if https == "https" or https in TRUE:
        environ["wsgi.url_scheme"] = "https"
        environ["HTTPS"] = "on"
        if "SERVER_PORT" not in given:
            environ["SERVER_PORT"] = "443"

    if "HTTP_TRANSFER_ENCODING" in environ:
        if not framed and "CONTENT_LENGTH" not in environ:
            raise RemoteError(
                411,
                "the body of the request is chunked, and the web server states no length (RFC 9110 section 15.5.12)",
            )
        del environ["HTTP_TRANSFER_ENCODING"]  # the web server has removed the coding
    length = body_length(environ, 1, limits)
    if not uri:
        query = given["QUERY_STRING"]
        uri = quote(script + path, "/%", encoding="latin-1") + (f"?{query}" if query else "")
    target = uri if uri.isascii() and uri.isprintable() else quote(uri, _URI, encoding="latin-1")
    return kind(method, target, environ, None if framed else length)


def _checked(names: list[str], values: list[str], limits: Limits) -> dict[str, str]:
    """The variables that count. Raises RemoteError for one that breaks a rule."""
    given: dict[str, str] = {}
    fields = 0
    for name, value in zip(names, values, strict=True):
        kind = CACHED_KINDS.get(name) or _kind(name)
        if kind == FIELD:
            fields += 1
            if fields > limits.max_fields:
                raise RemoteError(431, f"more than {counted(limits.max_fields, 'field')} (--max-fields)")
            if len(name) + len(value) > limits.max_field:
                raise RemoteError(431, f"{name[:60]} is longer than {limits.max_field} bytes (--max-field)")
            if CONTROL(value):
                raise RemoteError(400, f"{name[:60]} has a line end or a NUL in its value (RFC 9110 section 5.5)")
            value = value.strip(" \t")
            if name in given:
                if name in SINGLETONS:
                    raise RemoteError(400, f"{name} occurs twice, only one is allowed (RFC 9110 section 5.3)")
                value = f"{given[name]}{'; ' if name == 'HTTP_COOKIE' else ', '}{value}"
            given[name] = value
            continue
        if kind == LINE:
            if CONTROL(value):
                raise RemoteError(400, f"{name} has a line end or a NUL in its value (RFC 3875 section 4.1)")
        elif kind == LENGTH and name in given:
            raise RemoteError(400, "CONTENT_LENGTH occurs twice (RFC 9112 section 6.3)")
        if not value and name not in MAY_BE_EMPTY:
            given.pop(name, None)
        elif kind != OURS:
            given[name] = value
    given.pop("HTTP_PROXY", None)
    for name in ("CONTENT_LENGTH", "CONTENT_TYPE"):
        stand_in = given.pop(f"HTTP_{name}", "")
        if stand_in:
            given.setdefault(name, stand_in)
    return given


def _kind(name: str) -> int:
    """The kind of the variables with this name, for the cache, too. Raises a 400 for a name that no variable has."""
    if not NAME(name):
        raise RemoteError(400, f"{name[:60]!r} is not the name of a variable (RFC 3875 section 4.1)")
    if name.startswith("HTTP_"):
        kind = FIELD
    elif name.startswith(OUR_PREFIXES):
        kind = OURS
    elif name == "CONTENT_LENGTH":
        kind = LENGTH
    else:
        kind = LINE if name in LINES else OTHER
    if len(name) <= LONGEST_CACHED:
        if len(CACHED_KINDS) >= MOST_CACHED:
            CACHED_KINDS.clear()
        CACHED_KINDS[name] = kind
    return kind


_URI = "!#$%&'()*+,/:;=?@[]"


def split_path(variables: dict[str, str]) -> tuple[str, str]:
    """SCRIPT_NAME and PATH_INFO as PEP 3333 wants them: together the decoded path of the request.

    1. A web server that sends PATH_INFO has made the division (nginx's uwsgi_params, Apache's mod_proxy_uwsgi,
       lighttpd). Slashes at the end of SCRIPT_NAME are removed; PATH_INFO begins with one then.
    2. Otherwise the path is DOCUMENT_URI (nginx, which decodes and rewrites it) or that of REQUEST_URI, decoded. A
       SCRIPT_NAME that is a beginning of it, up to a slash, is what the configuration says.
    3. Every other SCRIPT_NAME is the whole path (Apache's mod_proxy_scgi and mod_proxy_fcgi, nginx's fastcgi_params,
       lighttpd). It becomes PATH_INFO: the application is mounted at the root.
    """
    script, path = variables.get("SCRIPT_NAME", ""), variables.get("PATH_INFO")
    if path is not None and (path or script):
        if script.endswith("/"):
            return script.rstrip("/"), path if path.startswith("/") else f"/{path}"
        return script, path
    whole = variables.get("DOCUMENT_URI") or _path_of(variables.get("REQUEST_URI", ""))
    if not script:
        return "", whole
    root = script.rstrip("/")
    if len(whole) > len(script) and whole.startswith(f"{root}/"):
        return root, whole[len(root) :]
    return "", script


def _path_of(uri: str) -> str:
    """The decoded path of a REQUEST_URI, which may be a whole URI."""
    match = None if uri.startswith("/") else ABSOLUTE(uri)
    return decode_path((match[2] or "/") if match is not None else uri.partition("?")[0])

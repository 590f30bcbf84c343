"""What a browser asks for, as a handler sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from reserve.desk.bag import Bag, Headers, Pairs
from reserve.desk.formdata import MAX_FIELDS, ProtocolError, parse_form, parse_query
from reserve.desk.response import Response

__all__ = ["MAX_BODY", "Request"]

MAX_BODY = 64 * 1024 * 1024
"""How many bytes the body of a request may have by default. It is held in memory."""

_PIECE = 256 * 1024
_ENCODED_SLASH = re.compile("(%2[fF])")


class Request:
    """One request. It belongs to the handler that gets it: no two requests share anything.

    A program or a test can make one; a server makes it with :meth:`from_environ`.

    :param command: the method, like ``GET``.
    :param uri: a path and perhaps ``?`` and a query, percent-encoded, as they follow the method in the request line.
        The part of the path that is ``script_name`` is not in it.
    :param protocol: like ``HTTP/1.1``.
    :param headers: a mapping, a Bag or pairs. Upper and lower case of their names are the same.
    :param payload: the body; None if there is none.
    :param script_name: the path under which another program has mounted this one, decoded, without a slash at the end.
    :param environ: of WSGI, where the request comes from a server.
    :param max_fields: how many fields the query, and how many the form may have. Default: 10,000.
    :raises ProtocolError: if ``uri`` is no path, the form is malformed, or has too many fields.
    """

    def __init__(
        self,
        command: str,
        uri: str,
        protocol: str,
        headers: Pairs | Bag,
        payload: bytes | None,
        *,
        script_name: str = "",
        environ: dict[str, Any] | None = None,
        max_fields: int = MAX_FIELDS,
    ) -> None:
        self.command = command
        self.uri = uri
        self.protocol = protocol
        self.headers: Headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.script_name = script_name
        """The path under which another program has mounted this one; :meth:`root_url` puts it in front."""
        self.environ = environ
        """The WSGI environ; None for a request that no server made."""
        self.url: SplitResult = _split(uri)
        """The parts of ``uri``, still encoded: ``request.url.path``, ``request.url.query``."""
        self.path: list[str] = [unquote(component) for component in self.url.path[1:].split("/")]
        """The components of the path. They were decoded after the path was split: ``/a%2Fb`` is one component. A path
        that ends with a slash has an empty one at its end; ``/`` is ``[""]``."""
        self.mount_depth = 0
        """How many components of the path belong to what the router found; see :meth:`path_suffix`."""
        self.args: Sequence[str] = ()
        """The components that stand for the wildcards of the path at which the router found the handler."""
        self.handler = ""
        """The module and name of the function or class that the router chose; empty before it has chosen."""
        self.debug = False
        """Whether an error page shows its traceback to the browser."""
        self.GET = Bag(parse_query(self.url.query, max_fields=max_fields))
        """The arguments of the query."""
        self.POST = Bag()
        """The fields of the form: str, or FileUpload. Empty if the body is no form."""
        payload = payload or b""
        content_type = self.headers.get("content-type")
        multipart = False
        if content_type is not None:
            pairs = parse_form(content_type, payload, max_fields=max_fields)
            if pairs is not None:
                self.POST.update(pairs)
                multipart = content_type.lstrip()[:10].lower() == "multipart/"
        self.payload: bytes = b"" if multipart else payload
        """The bytes of the body. Empty if there is none, and for a multipart form, whose parts are in ``POST``."""

    @classmethod
    def from_environ(
        cls, environ: dict[str, Any], *, max_body: int = MAX_BODY, max_fields: int = MAX_FIELDS
    ) -> Request:
        """Make the request of a WSGI environ; read its body.

        :param max_body: how many bytes the body may have.
        :raises ProtocolError: 413 for a longer body, 400 for one that ends early, and what the class raises.
        """
        script_name = _decoded(environ.get("SCRIPT_NAME", "")).rstrip("/")
        uri = _raw_path(environ)
        if environ.get("QUERY_STRING"):
            uri += "?" + environ["QUERY_STRING"]
        return cls(
            environ["REQUEST_METHOD"],
            uri,
            environ.get("SERVER_PROTOCOL", "HTTP/1.0"),
            Headers(_fields(environ)),
            _read_body(environ, max_body),
            script_name=script_name,
            environ=environ,
            max_fields=max_fields,
        )

    @cached_property
    def cookies(self) -> dict[str, str]:
        """Names and values of the cookies; of two with one name the first, whose path is the longer one (RFC 6265)."""
        cookies: dict[str, str] = {}
        for pair in ";".join(self.headers.get_list("cookie")).split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals and name:
                value = value.strip()
                quoted = len(value) > 1 and value[0] == value[-1] == '"'
                cookies.setdefault(name.strip(), value[1:-1] if quoted else value)
        return cookies

    def path_suffix(self) -> list[str]:
        """The components of the path after those at which the router found the handler."""
        return self.path[self.mount_depth :]

    def has_suffix(self) -> bool:
        """Whether the path goes on after what the router found."""
        return self.mount_depth < len(self.path)

    def root_url(self, path: Iterable[str], query: Pairs | Bag | None = None) -> str:
        """The address of a page of this program, from the root: ``root_url(["task", "5"])`` is ``/task/5``.

        :param path: components, not encoded. A slash in one is encoded, and so stays in its component.
        :param query: names and values, a Bag included. Default: none.
        """
        url = quote(self.script_name) + "/" + "/".join(quote(component, safe="") for component in path)
        url = "/" + url.lstrip("/")  # two slashes at the start would be another host
        if query:
            pairs = query.items() if isinstance(query, (Mapping, Bag)) else query
            url += "?" + urlencode([(name, str(value)) for name, value in pairs])
        return url

    def app_url(self, path: Iterable[str], query: Pairs | Bag | None = None) -> str:
        """The address of a page below the place at which the router found the handler; see :meth:`root_url`."""
        return self.root_url([*self.path[: self.mount_depth], *path], query)

    def normalize(self) -> Response | None:
        """A redirect to the same path without ``.``, ``..`` and empty components; None if it has none of them."""
        normal: list[str] = []
        for component in self.path:
            if component == "..":
                del normal[-1:]
            elif component not in ("", "."):
                normal.append(component)
        if self.path[-1] == "":
            normal.append("")
        if len(normal) == len(self.path):
            return None
        return self.moved(self.root_url(normal, self.GET))

    def moved(self, url: str) -> Response:
        """A redirect after which the browser sends the same request: with its form, if it has one (307)."""
        return Response.redirect(url, code=302 if self.command in ("GET", "HEAD") else 307)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.command} {self.uri:.200}>"


def _split(uri: str) -> SplitResult:
    """The parts of a path with a query, or of a whole address. Two slashes at the start are no host here."""
    if uri.startswith("/"):
        path, _, query = uri.partition("#")[0].partition("?")
        return SplitResult("", "", path, query, "")
    if uri == "*":
        return SplitResult("", "", "/", "", "")
    try:
        url = urlsplit(uri)
    except ValueError:
        raise ProtocolError(f"The address is not valid: {uri!a:.200}") from None
    return url._replace(path=url.path if url.path.startswith("/") else f"/{url.path}")


# ---- what WSGI gives ----


def _decoded(text: str) -> str:
    """Text of an environ, whose characters are bytes (PEP 3333), as UTF-8."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def _raw_path(environ: Mapping[str, Any]) -> str:
    """The path below SCRIPT_NAME, percent-encoded as the browser sent it, if the server tells that.

    PATH_INFO is decoded, so that it does not tell an encoded slash from a slash. REQUEST_URI (RAW_URI) does, but counts
    only while it says the same as the other two, which a middleware or a frontend may have changed.
    """
    script, info = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    raw = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    if not raw.startswith("/"):
        raw = re.sub(r"\A[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]*", "", raw)
    raw = raw.partition("#")[0].partition("?")[0]
    for decode in (_decode, _decode_but_slashes):
        if raw and decode(raw) == script + info:
            components = raw.split("/")
            below = script.rstrip("/").count("/") + 1
            if decode("/".join(components[:below])) == script.rstrip("/"):
                return "/" + "/".join(components[below:])
    return "/" + quote(info.encode("latin-1", "replace"), safe="/").removeprefix("/")


def _decode(raw: str) -> str:
    return unquote(raw, "latin-1")


def _decode_but_slashes(raw: str) -> str:
    """As reserve does where it shall keep ``%2F``, so that WSGI applications can see it."""
    pieces = _ENCODED_SLASH.split(raw)
    pieces[::2] = map(_decode, pieces[::2])
    return "".join(pieces)


def _fields(environ: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].replace("_", "-"), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield key.replace("_", "-"), value


def _read_body(environ: Mapping[str, Any], max_body: int) -> bytes:
    length = _content_length(environ)
    if length is None and not ("HTTP_TRANSFER_ENCODING" in environ or environ.get("wsgi.input_terminated")):
        return b""
    if length is not None and length > max_body:
        raise ProtocolError(f"The request has {length} bytes; this program accepts up to {max_body}.", code=413)
    left = max_body + 1 if length is None else length
    pieces = []
    while left:
        piece = environ["wsgi.input"].read(min(left, _PIECE))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    if length is None and not left:
        raise ProtocolError(f"The request has more than {max_body} bytes.", code=413)
    if length is not None and left:
        raise ProtocolError(f"The request ends {left} bytes before the end that its Content-Length says.")
    return b"".join(pieces)


def _content_length(environ: Mapping[str, Any]) -> int | None:
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ProtocolError("The Content-Length of the request is no number.")
    return int(text)

"""The files of a folder, for the browser: style sheets, scripts, images, downloads.

A :class:`StaticFolder` keeps nothing between requests. What it sends is decided by :mod:`reserve.gateways.static`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from urllib.parse import quote

from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.templates import Template
from reserve.gateways.conditional import Conditions
from reserve.gateways.folder import Folder, Listed
from reserve.gateways.mediatypes import media_type
from reserve.gateways.static import METHODS, StaticResponse, describe, respond

__all__ = ["FileResponse", "StaticFolder"]

_WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range")
_REVALIDATE = (("Cache-Control", "no-cache"),)
"""Otherwise browsers guess how long they may use a file, and a style sheet that was just changed seems not to be."""


class FileResponse(Response):
    """A response whose body is a file, which is sent piece by piece after the handler has returned.

    A program may change its headers and add cookies, as with any response. Reading :attr:`body` reads the file.

    :param static: what is sent. Its file is closed after it was sent, or when the response is dropped.
    """

    def __init__(self, static: StaticResponse) -> None:
        self._static: StaticResponse | None = None  # Response sets a body and ``wsgi``
        self._wsgi: _WSGI | None = None
        super().__init__(None, code=static.status)
        self._static = static
        self.headers = {name.lower(): value for name, value in static.headers}

    @property
    def wsgi(self) -> _WSGI:
        """The WSGI application that sends the response, once; a program may set another one."""
        # Not an attribute with a method of self: in such a cycle, the file of a dropped response would stay open.
        return self._start if self._wsgi is None else self._wsgi

    @wsgi.setter
    def wsgi(self, application: _WSGI | None) -> None:
        self._wsgi = application

    @property
    def body(self) -> bytes:
        """The bytes that are sent. Reading it loads the whole file into memory; setting it replaces the file."""
        if self._static is None:
            return b""
        if not isinstance(self._static.body, bytes):
            content = b"".join(self._static.body)
            self._static.close()
            self._static.body = content
        return self._static.body

    @body.setter
    def body(self, content: bytes) -> None:
        if self._static is not None:
            self._static.close()
            self._static.body = content
            self.headers["content-length"] = str(len(content))

    def _start(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        static, self._static = self._static, None
        if static is None:
            raise RuntimeError("the response with a file was sent already; make one for each request")
        https = environ.get("wsgi.url_scheme") == "https"
        static.status, static.headers = self.code, self.header_list(https=https)
        return static.to_wsgi(environ, start_response)

    def __del__(self) -> None:
        if self._static is not None:
            self._static.close()


class StaticFolder:
    """A handle that sends the files of a folder: ``router.delegate_folder("/static/", StaticFolder(path))``.

    Files have the Content-Type that their extension says (text is UTF-8), an ETag and Last-Modified, and can be sent in
    ranges, so that a browser downloads nothing twice and plays videos from the middle. A folder is shown as a page of
    links, with what it is called. Only GET and HEAD are allowed (405).

    Names that begin with a dot or an underscore are refused (403), on the way to a file, too, and are not shown. What
    is no regular file, and symbolic links that lead out of the folder, do not exist for a browser (404).

    :param real_path: of the folder. It need not exist yet.
    :param index: the file that is sent in place of the page of links where a folder has it, like ``index.html``.
        Default: none.
    :param outside: follow symbolic links out of the folder. Whatever can write into the folder can then publish every
        file that this program can read.
    """

    PAGE: ClassVar[Template] = Template("<ul>{items}</ul>")
    """What the page of a folder has in its middle."""
    LINK: ClassVar[Template] = Template('<li><a href="{href}">{name}</a></li>\r\n')
    """One entry of it: ``href`` is percent-encoded, ``name`` has a slash at its end for a folder."""

    @staticmethod
    def forbid(component: str) -> bool:
        """Whether a file or folder of this name is refused. A subclass may refuse more, but not less."""
        return component[:1] in (".", "_")

    def __init__(self, real_path: str | os.PathLike[str], *, index: str | None = None, outside: bool = False) -> None:
        self.root = os.fspath(real_path)
        self._folder = Folder(self.root, hidden="._", outside=outside)
        self._index = index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"

    def __call__(self, request: Request) -> Response:
        """Answer a request for what ``request.path_suffix()`` names."""
        names = request.path_suffix()
        if any(map(self.forbid, filter(None, names))):
            return Response.generic(code=403)
        try:
            if names and names[-1] == "":
                return self._show(request, names[:-1])
            return self._send(request, names)
        except FileNotFoundError:
            return Response.generic(code=404)

    def _show(self, request: Request, names: list[str]) -> Response:
        """The index of a folder, or the page of its entries."""
        entries = [entry for entry in self._folder.entries(names) if not self.forbid(entry.name)]
        if Listed(self._index or "", False) in entries:
            return self._send(request, [*names, self._index or ""])
        if request.command not in METHODS:
            return _refuse_method()
        links: list[Any] = [self.LINK(href="..", name="..")] if len(request.path) > 1 else []
        for name, is_folder in entries:
            slash = "/" if is_folder else ""
            raw = os.fsencode(name)
            links.append(self.LINK(href=quote(raw, safe="") + slash, name=raw.decode("utf-8", "replace") + slash))
        title = "Showing Folder /" + "/".join(request.path[:-1])
        return Response.generic(self.PAGE(items=links), title=title)

    def _send(self, request: Request, names: list[str]) -> Response:
        """A file; for a folder a redirect to the same path with a slash at its end."""
        opened = self._folder.open(names)
        if request.command not in METHODS:
            if opened is not None:
                opened.file.close()
            return _refuse_method()
        if opened is None:
            return request.moved(request.app_url([*names, ""], request.GET))
        conditions = Conditions(*map(request.headers.get, _CONDITIONS))
        file = describe(opened, media_type(names[-1]), headers=_REVALIDATE)
        return FileResponse(respond(file, request.command, conditions))


def _refuse_method() -> Response:
    response = Response.generic(code=405)
    response.headers["allow"] = ", ".join(METHODS)
    return response

"""Files as WSGI responses (RFC 9110): validators, conditional requests, ranges.

A request takes three steps, and each can be used alone. :class:`~reserve.gateways.folder.Folder` opens the file that
the path names. :func:`describe` makes a :class:`Representation` of it: the open file and all fields that say what it
is. :func:`respond` compares these with the request and makes a :class:`StaticResponse`, whose body sends the file
itself: on reserve's servers without reading it (sendfile).

:class:`StaticFiles` does the three for a folder and is a WSGI application. It keeps nothing between requests, and any
number of threads may call it.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from reserve.gateways.conditional import (
    Conditions,
    Range,
    evaluate,
    format_date,
    make_etag,
    retained_in_304,
)
from reserve.gateways.exchange import Environ, StartResponse
from reserve.gateways.folder import Folder, OpenedFile
from reserve.gateways.mediatypes import media_type
from reserve.gateways.streams import FileWrapper

__all__ = [
    "FileBody",
    "Representation",
    "StaticFiles",
    "StaticResponse",
    "describe",
    "method_not_allowed",
    "path_names",
    "plain_response",
    "redirect_to_folder",
    "respond",
]

BLOCK = 65536
"""Bytes that are read at once where the server cannot send the file itself."""
METHODS = ("GET", "HEAD")
_ENCODED_SEPARATOR = re.compile("%2f|%5c", re.IGNORECASE)
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
"""Browsers then never take a file for something else than its type says, such as a page."""


# ---- what a file is ----


@dataclass(frozen=True, slots=True)
class Representation:
    """An open file, and what a response says about it. Its owner closes :attr:`file`, or passes it to
    :func:`respond`.
    """

    file: io.FileIO
    size: int
    """Bytes that are sent, from the beginning of the file, even if it grows meanwhile."""
    content_type: str
    etag: str | None = None
    last_modified: float | None = None
    """Seconds since the epoch; None for a time that no date can say."""
    headers: tuple[tuple[str, str], ...] = ()
    """More fields of each response that describes this file, such as Cache-Control, Vary or Content-Encoding."""


_FINE_TICK = 20_000_000
"""Nanoseconds: two ticks of the slowest clock that marks files on systems whose times of files have fractions."""
_COARSE_TICK = 2_000_000_000
"""Nanoseconds: the unit of the times of files on FAT. Other file systems without fractions have one second."""


def describe(
    opened: OpenedFile, content_type: str, *, headers: Iterable[tuple[str, str]] = (), now: float | None = None
) -> Representation:
    """Make the representation of a file, with validators from its size and time of modification.

    The entity tag is made of both, the time in nanoseconds. It is strong, so that downloads can be resumed, unless the
    file was changed so recently that a second change of the same size could leave the same time; then it is weak,
    and no client puts parts of two versions together. A moment later the same file has the same tag, but strong, and a
    weak comparison (If-None-Match) takes one for the other.

    :param opened: its file is that of the result.
    :param content_type: see :func:`~reserve.gateways.mediatypes.media_type`.
    :param headers: more fields, see :class:`Representation`.
    :param now: seconds since the epoch; default: the time now.
    """
    info = opened.info
    now = time.time() if now is None else now
    # On Windows st_ctime is the time of creation.
    changed = info.st_mtime_ns if os.name == "nt" else info.st_ctime_ns
    tick = _FINE_TICK if changed % 1_000_000_000 else _COARSE_TICK
    etag = make_etag(f"{info.st_mtime_ns:x}-{info.st_size:x}", weak=now * 1e9 - changed < tick)
    # RFC 9110 section 8.8.2.1: never later than the Date of the response.
    modified = min(info.st_mtime_ns // 1_000_000_000, int(now))
    try:
        format_date(modified)
    except ValueError:
        return Representation(opened.file, info.st_size, content_type, etag, None, tuple(headers))
    return Representation(opened.file, info.st_size, content_type, etag, modified, tuple(headers))


# ---- the response ----


class FileBody:
    """Parts of an open file, with bytes between them, as the body of a response: an iterable of bytes.

    It belongs to one response. The file is closed by :meth:`close`, which a WSGI server calls.

    :param file: open for reading.
    :param pieces: in the order in which they are sent: a range of the file, or bytes.
    """

    __slots__ = ("_file", "_pieces")

    def __init__(self, file: io.FileIO, pieces: Sequence[Range | bytes]) -> None:
        self._file = file
        self._pieces = pieces

    @property
    def file(self) -> io.FileIO:
        """The open file."""
        return self._file

    @property
    def pieces(self) -> Sequence[Range | bytes]:
        """What is sent, in this order: a range of the file, or bytes."""
        return self._pieces

    def __iter__(self) -> Iterator[bytes]:
        """Read and yield blocks of :data:`BLOCK` bytes.

        :raises EOFError: the file has become shorter. The response then is incomplete, and the server says so to the
            client as its protocol allows.
        """
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            position, stop = piece
            self._file.seek(position)
            while position < stop:
                data = self._file.read(min(BLOCK, stop - position))
                if not data:
                    raise EOFError(f"the file has {position} bytes, the response needs {stop}")
                position += len(data)
                yield data

    def for_server(self, environ: Environ) -> Iterable[bytes]:
        """What a WSGI application returns for this body: the ``wsgi.file_wrapper`` of reserve's servers for one part.

        That sends from the position of the file to Content-Length, without reading. Other servers' wrappers may go on
        to the end of the file, so they get an iterable.
        """
        if environ.get("wsgi.file_wrapper") is FileWrapper and len(self._pieces) == 1:
            piece = self._pieces[0]
            if not isinstance(piece, bytes):
                self._file.seek(piece[0])
                return FileWrapper(self._file, BLOCK)
        return self

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()


@dataclass(slots=True)
class StaticResponse:
    """A response that is ready to be sent once. A program that does not send it calls :meth:`close`."""

    status: int
    headers: list[tuple[str, str]]
    body: FileBody | bytes = b""

    def to_wsgi(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Send it as a WSGI application does."""
        try:
            start_response(f"{self.status} {HTTPStatus(self.status).phrase}", self.headers)
            return [self.body] if isinstance(self.body, bytes) else self.body.for_server(environ)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, if there is one."""
        if not isinstance(self.body, bytes):
            self.body.close()


def plain_response(
    status: int, text: str = "", headers: Iterable[tuple[str, str]] = (), *, method: str = "GET"
) -> StaticResponse:
    """A response of one line of text.

    :param status: of the response.
    :param text: more than the phrase of the status, which is the default.
    :param headers: more fields.
    :param method: of the request: HEAD gets no body.
    """
    body = (text or f"{status} {HTTPStatus(status).phrase}").encode() + b"\n"
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), _NOSNIFF, *headers]
    return StaticResponse(status, fields, b"" if method == "HEAD" else body)


def respond(
    representation: Representation, method: str, conditions: Conditions, *, now: float | None = None
) -> StaticResponse:
    """Make the response for a file: 200, 206, 304, 405, 412 or 416.

    A request for several ranges gets ``multipart/byteranges``; see
    :func:`~reserve.gateways.conditional.parse_ranges` for those that get the whole file.

    :param representation: its file is closed by the response, or here.
    :param method: of the request.
    :param conditions: of the request.
    :param now: seconds since the epoch; default: the time now.
    """
    try:
        return _respond(representation, method, conditions, now)
    except BaseException:
        representation.file.close()
        raise


def _respond(representation: Representation, method: str, conditions: Conditions, now: float | None) -> StaticResponse:
    file, size = representation.file, representation.size
    if method not in METHODS:
        file.close()
        return method_not_allowed()
    etag, modified = representation.etag, representation.last_modified
    outcome = evaluate(method, conditions, etag=etag, last_modified=modified, size=size, now=now)
    fields = [("Accept-Ranges", "bytes"), _NOSNIFF, *representation.headers]
    if etag is not None:
        fields.append(("ETag", etag))
    if modified is not None:
        fields.append(("Last-Modified", format_date(modified)))
    if outcome.status not in (200, 206):
        file.close()
        if outcome.status == 304:
            return StaticResponse(304, list(retained_in_304(fields)))
        more = [("Content-Range", f"bytes */{size}")] if outcome.status == 416 else []
        return plain_response(outcome.status, headers=more, method=method)
    if len(outcome.ranges) > 1:
        pieces, kind = _multipart(outcome.ranges, size, representation.content_type)
    else:
        start, stop = outcome.ranges[0] if outcome.ranges else (0, size)
        pieces, kind = [(start, stop)], representation.content_type
        if outcome.ranges:
            fields.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    length = sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)
    fields = [("Content-Type", kind), ("Content-Length", str(length)), *fields]
    if method == "HEAD" or not length:
        file.close()
        return StaticResponse(outcome.status, fields)
    return StaticResponse(outcome.status, fields, FileBody(file, pieces))


def _multipart(ranges: Sequence[Range], size: int, content_type: str) -> tuple[list[Range | bytes], str]:
    """The body of ``multipart/byteranges`` (RFC 9110 section 14.6), and its Content-Type.

    The boundary is random, so that no file can contain it on purpose.
    """
    boundary = secrets.token_hex(16)
    pieces: list[Range | bytes] = []
    for start, stop in ranges:
        head = (
            f"{'' if not pieces else chr(13) + chr(10)}--{boundary}\r\nContent-Type: {content_type}\r\n"
            f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n\r\n"
        )
        pieces += head.encode("latin-1"), (start, stop)
    pieces.append(f"\r\n--{boundary}--\r\n".encode())
    return pieces, f"multipart/byteranges; boundary={boundary}"


# ---- a folder as an application ----


class StaticFiles:
    """A folder as a WSGI application: the rest of the path (PATH_INFO) names a file in it.

    It never fails because of a request: what cannot be found, is hidden, or lies outside is a 404. A folder gets its
    index, with a redirect to the path with a slash at its end, or a 404. There is no listing.

    :param folder: which files there are.
    :param index: the name of the file that stands for its folder; None for none.
    :param charset: of text files; see :func:`~reserve.gateways.mediatypes.media_type`.
    :param headers: more fields of each file, such as Cache-Control.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        index: str | None = None,
        charset: str = "utf-8",
        headers: Iterable[tuple[str, str]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self._index = index
        self._charset = charset
        self._headers = tuple(headers)
        self._clock = clock

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Respond to a request (PEP 3333)."""
        return self.respond(environ).to_wsgi(environ, start_response)

    def respond(self, environ: Environ) -> StaticResponse:
        """The response to a request, for a program that changes or replaces it before it is sent."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        try:
            opened, name = self._find(environ, path)
        except FileNotFoundError:
            return plain_response(404, method=method)
        if opened is None:
            if method not in METHODS:
                return method_not_allowed()
            return redirect_to_folder(environ.get("SCRIPT_NAME", "") + path, environ.get("QUERY_STRING", ""), method)
        now = self._clock()
        kind = media_type(name, charset=self._charset)
        representation = describe(opened, kind, headers=self._headers, now=now)
        return respond(representation, method, Conditions.from_environ(environ), now=now)

    def _find(self, environ: Environ, path: str) -> tuple[OpenedFile | None, str]:
        """The file for a path, and its name; None for a folder that has an index, whose path has no slash at its end.

        :raises FileNotFoundError: there is no such file.
        """
        names, names_folder = path_names(environ, path)
        opened = self.folder.open(names)
        if opened is not None:
            if not names_folder:
                return opened, names[-1]
            opened.file.close()
        elif self._index is not None:
            opened = self.folder.open([*names, self._index])
            if opened is not None:
                # "/static" itself, if the folder is mounted there, has an empty PATH_INFO.
                if names_folder and (path or not environ.get("SCRIPT_NAME")):
                    return opened, self._index
                opened.file.close()
                return None, ""
        raise FileNotFoundError("no file, or a folder without an index")


def path_names(environ: Environ, path: str) -> tuple[list[str], bool]:
    """The names in a path, for :meth:`Folder.open`, and whether it ends with a slash and so names a folder.

    :param path: PATH_INFO, or the rest of it.
    :raises FileNotFoundError: the target has an encoded separator, which in PATH_INFO looks like any other.
    """
    if _ENCODED_SEPARATOR.search(str(environ.get("REQUEST_URI", "")).partition("?")[0]):
        raise FileNotFoundError("an encoded separator; in PATH_INFO it looks like any other")
    names = [os.fsdecode(part.encode("latin-1")) for part in path.removeprefix("/").split("/")]
    names_folder = names[-1] == ""
    if names_folder:
        names.pop()
    return names, names_folder


def method_not_allowed() -> StaticResponse:
    """A 405 for what can only be read."""
    return plain_response(405, headers=[("Allow", ", ".join(METHODS))])


def redirect_to_folder(path: str, query: str, method: str) -> StaticResponse:
    """A redirect to a path with a slash added at its end. It is a 302, because the folder may be a file tomorrow.

    :param path: decoded, each character one byte, as in PATH_INFO. The location has one slash at its beginning: two
        would name another host.
    :param query: of the request, encoded.
    :param method: of the request.
    """
    location = "/" + quote(f"{path.strip('/')}/".lstrip("/").encode("latin-1")) + (f"?{query}" if query else "")
    return plain_response(302, headers=[("Location", location)], method=method)

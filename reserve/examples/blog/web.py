"""The parts of HTTP that the blog needs above WSGI: a request, a response, a refusal, and conditional GET.

Each object belongs to one request, and only the worker thread of that request uses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Refusal", "Request", "Response", "http_date", "is_not_modified"]


class Refusal(Exception):
    """Raised to respond to a request with an error page.

    :param status: the HTTP status, 400 to 499.
    :param message: one sentence for the user of the browser.
    :param headers: more header fields, such as ``Allow``.
    """

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = list(headers)


class Request:
    """One request, read from a WSGI environ.

    ``path`` is the path after the mount point, as text. ``root`` is the mount point (``SCRIPT_NAME``), percent-encoded
    for use in addresses; it is ``""`` for a blog that is mounted at ``/``, so that ``root + "/about"`` is always right.
    """

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        # In PEP 3333, both paths are bytes that were decoded as latin-1.
        self.path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace") or "/"
        mount = environ.get("SCRIPT_NAME", "").strip("/")
        # There is exactly one slash at the start, because a link that begins with two slashes leads to another host.
        self.root = "/" + quote(mount.encode("latin-1")) if mount else ""


@dataclass
class Response:
    """A response. The server iterates over ``body``, and calls its ``close`` if there is one."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Iterable[bytes] = ()

    @property
    def status_line(self) -> str:
        """The status line of WSGI: ``200 OK``."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def is_not_modified(environ: WSGIEnvironment, *, etag: str, modified: float) -> bool:
    """Return whether the client's copy is current (RFC 9110 section 13.2.2: If-None-Match has priority over the date).

    :param etag: the strong entity tag with its quotation marks.
    :param modified: Unix seconds.
    """
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        return any(tag.strip(" \t").removeprefix("W/") in (etag, "*") for tag in tags.split(","))
    since = environ.get("HTTP_IF_MODIFIED_SINCE")
    if since is None:
        return False
    try:
        return int(modified) <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError, OverflowError):
        # A date that cannot be read is ignored (RFC 9110 section 13.1.3).
        return False


def http_date(moment: float) -> str:
    """Return Unix seconds as an HTTP date (RFC 9110 section 5.6.7)."""
    return formatdate(int(moment), usegmt=True)

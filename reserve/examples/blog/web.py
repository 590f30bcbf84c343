"""The few pieces of HTTP between the blog and WSGI: a request, a response, a refusal, and conditional GET.

Values of one request, used by the thread that serves it.
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
    """A request that is answered with an error page.

    :param status: the HTTP status, 400 to 499.
    :param message: one sentence for the person in front of the browser.
    :param headers: further header fields, such as ``Allow``.
    """

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = list(headers)


class Request:
    """The view of a WSGI environ that the blog needs.

    ``path`` is what follows the mount point, as text. ``root`` is the mount point (``SCRIPT_NAME``) percent-encoded
    for use in addresses: ``""`` for a blog at the top, so that ``root + "/about"`` is right everywhere.
    """

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        # PEP 3333 carries the bytes of both paths as latin-1.
        self.path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace") or "/"
        mount = environ.get("SCRIPT_NAME", "").strip("/")
        # One leading slash exactly: two would turn every link into one to another host.
        self.root = "/" + quote(mount.encode("latin-1")) if mount else ""


@dataclass
class Response:
    """An answer. ``body`` is iterated by the server, and closed by it when it has a ``close``."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Iterable[bytes] = ()

    @property
    def status_line(self) -> str:
        """The status as WSGI wants it: ``200 OK``."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def is_not_modified(environ: WSGIEnvironment, *, etag: str, modified: float) -> bool:
    """Tell whether the client's copy is the current one (RFC 9110 section 13.2.2: If-None-Match goes before the date).

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

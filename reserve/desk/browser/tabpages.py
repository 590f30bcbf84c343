"""The pages of a program that ends with its last tab: each gets a script, and what that says reaches the watch of tabs.

:class:`TabPages` is WSGI around the program; the thread that serves a request runs it. It looks at each request whether
it is for a page in a tab or window, and puts the script into the page when it is sent. :mod:`reserve.desk.browser.tabs`
has the rule by which the program ends.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reserve.desk.browser.tabs import TabWatch
from reserve.gateways.exchange import WSGIApplication

__all__ = ["SCRIPT_PATH", "SCRIPT_TAG", "TAB_PATH", "TabPages", "add_script", "is_navigation"]

TAB_PATH = "/.desk/tab"
"""Where the script of a page sends what it has to say."""
SCRIPT_PATH = "/.desk/tab.js"
_SCRIPT = b"""\
"use strict";
(() => {
  if (window.top !== window) return;
  const address = new URL("tab", document.currentScript.src).href;
  const page = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("-");
  let tab = "-";
  try {
    tab = sessionStorage.getItem(".desk/tab") || page;
    sessionStorage.setItem(".desk/tab", tab);
  } catch {}
  let number = 0;
  let timer = 0;
  const say = (text) => fetch(address, {method: "POST", body: text, keepalive: true}).catch(() => {});
  const open = () => {
    if (timer) say(["open", page, ++number, tab, document.visibilityState, Date.now()].join(" "));
  };
  const begin = () => { clearInterval(timer); timer = setInterval(open, 20000); open(); };
  addEventListener("pageshow", (event) => { if (event.persisted) begin(); });
  addEventListener("pagehide", (event) => {
    clearInterval(timer);
    timer = 0;  // the page is also hidden now, and does not say so
    const text = ["gone", page, ++number, event.persisted ? "cached" : "left", Date.now()].join(" ");
    if (!navigator.sendBeacon(address, text)) say(text);
  });
  document.addEventListener("visibilitychange", open);
  document.addEventListener("resume", open);
  begin();
})();
"""
_VERSION = hashlib.sha256(_SCRIPT).hexdigest()[:12]
SCRIPT_TAG = f'<script async src="{SCRIPT_PATH}?{_VERSION}"></script>'.encode()
"""What HTML pages get. A policy of ``script-src 'self'; connect-src 'self'`` allows it."""
_OPEN = re.compile(rb"open ([0-9a-z-]{1,60}) ([0-9]{1,9}) ([0-9a-z-]{1,60}) ([a-z]{1,20}) ([0-9]{1,16})\Z")
_GONE = re.compile(rb"gone ([0-9a-z-]{1,60}) ([0-9]{1,9}) (cached|left) ([0-9]{1,16})\Z")
_HEAD = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)
_LOOK = 65536
"""Bytes of a page in which its ``<head>`` is looked for."""
_ETAG = "-tab"
"""Ends the ETag of a page with the script, which is another one than that without."""

StartResponse = Callable[..., Any]


def is_navigation(environ: dict[str, Any]) -> bool:
    """The request is for what a tab or a window shall show; not for a part of a page, and not from a script."""
    if (destination := environ.get("HTTP_SEC_FETCH_DEST")) is not None:
        return bool(destination == "document")
    return "text/html" in environ.get("HTTP_ACCEPT", "")  # a browser from before 2023


def add_script(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Put the script into the chunks of an HTML page: after its ``<head>``, or at its end if it has none."""
    chunks = iter(chunks)
    start = bytearray()
    for chunk in chunks:
        cut = start.rfind(b"<")
        begin = len(start) if cut < 0 else cut
        start += chunk
        if match := _HEAD.search(start, begin):
            yield bytes(start[: match.end()])
            yield SCRIPT_TAG
            yield bytes(start[match.end() :])
            yield from chunks
            return
        if len(start) >= _LOOK:
            break
    yield bytes(start)
    yield from chunks
    yield SCRIPT_TAG


def _has_script(status: str, headers: list[tuple[str, str]]) -> bool:
    """A response is a page that can be given the script."""
    fields = {name.lower(): value for name, value in headers}
    kind, _, parameters = fields.get("content-type", "").lower().partition(";")
    return (
        status[:3] not in ("204", "206", "304")
        and kind.strip() == "text/html"
        and "utf-16" not in parameters
        and "utf-32" not in parameters
        and "content-encoding" not in fields
        and "attachment" not in fields.get("content-disposition", "").lower()
    )


def _is_shown(status: str, headers: list[tuple[str, str]]) -> bool:
    """The browser leaves the page that it shows when it gets this response."""
    attachment = any(name.lower() == "content-disposition" and "attachment" in value.lower() for name, value in headers)
    return status[:3] == "304" or (status[:3] not in ("204", "205") and status[0] != "3" and not attachment)


def _with_script(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields of a page after :func:`add_script`."""
    changed = []
    for name, value in headers:
        if name.lower() == "content-length" and value.isdigit():
            value = str(int(value) + len(SCRIPT_TAG))
        elif name.lower() == "etag" and value.endswith('"'):
            value = f'{value[:-1]}{_ETAG}"'
        elif name.lower() == "accept-ranges":
            value = "none"
        changed.append((name, value))
    return changed


class TabPages:
    """A WSGI application around another one, whose pages get the script; it answers what the script says.

    :param app: the application.
    :param watch: what is told about pages and requests.
    """

    def __init__(self, app: WSGIApplication, watch: TabWatch) -> None:
        self._app = app
        self._watch = watch

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == SCRIPT_PATH:
            kind = ("Content-Type", "text/javascript; charset=utf-8")
            start_response("200 OK", [kind, ("Cache-Control", "max-age=31536000, immutable")])
            return [_SCRIPT]
        if path == TAB_PATH:
            status = self._hear(environ)
            start_response(status, [("Content-Type", "text/plain"), ("Cache-Control", "no-store")])
            return []
        is_page = is_navigation(environ)
        self._watch.request_started()
        environ["reserve.after_response"](lambda: self._watch.request_ended(is_page=is_page))
        if not is_page:
            return self._app(environ, start_response)
        return self._answer(environ, start_response)

    def _hear(self, environ: dict[str, Any]) -> str:
        """Pass on what a page says; the status of the response."""
        if environ["REQUEST_METHOD"] != "POST":
            return "405 Method Not Allowed"
        if environ.get("HTTP_SEC_FETCH_SITE", "same-origin") != "same-origin":
            return "403 Forbidden"
        said = environ["wsgi.input"].read(200)
        if match := _OPEN.match(said):
            page, number, tab, state, moment = match.groups()
            self._watch.page_opened(
                page.decode(),
                tab.decode(),
                visible=state == b"visible",
                number=int(number),
                said_at=int(moment) / 1000,
            )
        elif match := _GONE.match(said):
            page, number, kind, moment = match.groups()
            self._watch.page_gone(
                page.decode(), cached=kind == b"cached", left_at=int(moment) / 1000, number=int(number)
            )
        else:
            return "400 Bad Request"
        return "204 No Content"

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Run the application for a page in a tab or window."""
        if "HTTP_IF_NONE_MATCH" in environ:  # a page from a run without end_with has no script: it does not match
            tags = re.findall(rf'((?:W/)?"[^"]*){_ETAG}"', environ["HTTP_IF_NONE_MATCH"])
            environ["HTTP_IF_NONE_MATCH"] = ", ".join(f'{tag}"' for tag in tags) or '""'
            environ.pop("HTTP_IF_MODIFIED_SINCE", None)
        environ.pop("HTTP_RANGE", None)
        response = _Response(start_response)
        body = self._app(environ, response.start)
        if response.status:
            first: list[bytes] = response.written
            rest: Iterable[bytes] = body
        else:
            rest = iter(body)
            first = [next(rest, b"")]  # by now the application has called start_response
            first = [*response.written, *first]
        if _is_shown(response.status, response.headers):
            self._watch.page_sent()
        has_script = _has_script(response.status, response.headers)
        if has_script or response.status[:3] == "304":
            response.headers = _with_script(response.headers)
        response.send()
        if has_script and environ["REQUEST_METHOD"] != "HEAD":
            return _Body(add_script(_chain(first, rest)), body)
        if first:
            return _Body(_chain(first, rest), body)
        return body


class _Response:
    """Holds the head of a response back, until :meth:`send`.

    :param start_response: that of the server.
    """

    def __init__(self, start_response: StartResponse) -> None:
        self._start_response = start_response
        self._error: tuple[Any, ...] = ()
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []

    def start(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], None]:
        """The ``start_response`` of the application."""
        self.status, self.headers, self._error = status, list(headers), error
        return self.written.append

    def send(self) -> None:
        """Pass the head to the server."""
        self._start_response(self.status, self.headers, *self._error)


def _chain(first: list[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest


class _Body:
    """The chunks of a response, with the ``close`` of the body that they come from."""

    def __init__(self, chunks: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._chunks = chunks
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Called by the server at the end."""
        if hasattr(self._body, "close"):
            self._body.close()

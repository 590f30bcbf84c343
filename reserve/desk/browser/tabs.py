"""``end_with="tab"``: the program ends with its last tab.

The rule, with its numbers in :data:`GRACE`, :data:`SILENCE`, :data:`ASLEEP`, :data:`RETURN` and :data:`OPENING`:

1. Each HTML page that a browser opens in a tab or window gets a script. It says *open* when the page appears, when it
   is hidden or shown, and every 20 seconds, and *gone* when the browser leaves the page.
2. A page counts until it says *gone*. One that says nothing for ``SILENCE`` is gone, too: its browser was killed. But
   one that has been hidden for a minute may say nothing for ``ASLEEP``, because browsers freeze such pages, or drop
   them from memory and show their tabs nevertheless. They do so after minutes only; one that is ended can hide its
   pages first and then not deliver *gone*.
3. A page that says *gone* right after the server has sent another page has not been closed: its tab has moved to that
   page, which may be one without the script (a picture, a PDF, a page whose policy forbids scripts). The tab counts
   until its next page says *open*, at most for ``ASLEEP``. A page that the browser has put into its back/forward cache
   counts for ``RETURN``, so that the visitor can come back from another site.
4. The program ends when at least one page has been open, none counts any more, no request runs, and nothing of this has
   changed for ``GRACE``. A second start of the program asks for ``OPENING`` first.

A download leaves the page where it is, so no page says *gone*. A browser without scripts never says *open*; alone it
never ends the program.

All times are measured in small pieces (:meth:`TabWatch.tick`), of which none counts more than two seconds. So neither a
clock that stands still while the machine sleeps nor one that jumps when it wakes up makes a page seem silent.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reserve.gateways.exchange import WSGIApplication

__all__ = ["ASLEEP", "GRACE", "OPENING", "RETURN", "SILENCE", "TabPages", "TabWatch", "add_script", "is_navigation"]

GRACE = 5.0
"""Seconds from the end of the last page, or of the last request for one, to the end of the program. A page from the
cache of the browser, reached with the Back button, appears without a request; it has to say *open* in this time."""
SILENCE = 180.0
"""Seconds after which a page that says nothing is gone: nine times 20, and three times the minute to which browsers
slow down the timers of hidden pages."""
ASLEEP = 12 * 3600.0
"""Seconds after which a page that may be frozen is gone, or a tab that shows a page without the script."""
RETURN = 600.0
"""Seconds for which a page in the back/forward cache counts. Chromium keeps one for ten minutes."""
OPENING = 60.0
"""Seconds that a browser has for opening the page of a second start."""
_HIDDEN = 60.0
"""Seconds after which a hidden page that still speaks may be frozen without a word."""
_PIECE = 2.0
"""Seconds that one tick counts at most."""
_MOVING = 30.0
"""Seconds from the response with a page until the page that it replaces says *gone*; and those for which a word can be
late."""
_SKEW = 0.2
"""Seconds by which the browser's clock (which it may round) may be behind that of the server."""

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


class _Page:
    """One page in a browser, as :class:`TabWatch` knows it.

    :ivar tab: the name of its tab.
    :ivar heard: the watch's time of the last word of it.
    :ivar limit: the seconds after ``heard`` for which it counts.
    :ivar hidden: since when it is hidden; None: it is visible.
    :ivar away: its tab shows something else.
    """

    __slots__ = ("away", "heard", "hidden", "limit", "tab")

    def __init__(self, tab: str) -> None:
        self.tab = tab
        self.heard = 0.0
        self.limit = SILENCE
        self.hidden: float | None = None
        self.away = False


class TabWatch:
    """Knows which pages of the program are open, and when the program ends. Any thread may call it.

    :param now: a monotonic clock, in seconds. It may stand still while the machine sleeps, and may jump.
    :param wall: the time of day, in seconds since 1970. It is compared with that of the browser.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._now = now
        self._wall = wall
        self._lock = threading.Lock()
        self._last = now()
        self._time = 0.0  # how long the machine was awake since the start
        self._pages: dict[str, _Page] = {}
        self._left: dict[str, tuple[int, float]] = {}  # pages that have gone: their last word's number, and when
        self._seen = False
        self._requests = 0
        self._changed = 0.0
        self._expected = 0.0
        self._navigations: list[tuple[float, float]] = []  # responses with a page: by the own time, and the time of day

    def page_opened(self, page: str, tab: str, *, visible: bool, number: int, said_at: float) -> None:
        """A page says that it is open.

        :param page: the name that this page has given itself.
        :param tab: the name that is the same for all pages of one tab; ``-`` if the browser does not allow that.
        :param visible: the visitor sees it.
        :param number: how many words it has said so far. They come by several connections, in any order.
        :param said_at: when that was, by the browser's time of day.
        """
        with self._lock:
            self._advance()
            if number < self._left.get(page, (0, 0.0))[0]:
                return
            self._seen = True
            known = self._pages.get(page)
            if known is None or known.away:
                for name, other in list(self._pages.items()):
                    if other.away and other.tab == tab:
                        del self._pages[name]
                if known is None:  # also those that the visitor has not waited for lead nowhere now
                    self._navigations = [item for item in self._navigations if item[1] > said_at + _SKEW]
                known = self._pages[page] = _Page(tab)
            known.heard = self._time
            if visible:
                known.hidden = None
            elif known.hidden is None:
                known.hidden = self._time
            asleep = known.hidden is not None and self._time - known.hidden >= _HIDDEN
            known.limit = ASLEEP if asleep else SILENCE

    def page_gone(self, page: str, *, number: int, cached: bool = False, left_at: float | None = None) -> None:
        """A page says that the browser leaves it.

        :param number: how many words it has said so far.
        :param cached: the browser keeps it for the Back button.
        :param left_at: when that was, by the browser's time of day: the request may have waited for a long one.
        """
        with self._lock:
            self._advance()
            self._left[page] = number, self._time
            known = self._pages.get(page)
            if known is None or known.away:
                return
            self._changed = self._time
            of_tab = {
                name: other for name, other in self._pages.items() if other is not known and other.tab == known.tab
            }
            if any(not other.away for other in of_tab.values()):  # the next page was faster
                del self._pages[page]
                return
            for position, (_, sent_at) in enumerate(self._navigations):
                if left_at is None or sent_at <= left_at + _SKEW:
                    del self._navigations[position]
                    known.limit = ASLEEP
                    break
            else:
                if not cached:
                    for name in (page, *of_tab):
                        del self._pages[name]
                    return
                known.limit = RETURN
            known.away = True
            known.heard = self._time

    def request_started(self) -> None:
        """A request begins. :meth:`request_ended` follows."""
        with self._lock:
            self._requests += 1

    def page_sent(self) -> None:
        """A browser is about to get a page, for a tab or a window."""
        with self._lock:
            self._advance()
            self._changed = self._time
            self._navigations.append((self._time, self._wall()))

    def request_ended(self, *, is_page: bool = False) -> None:
        """A request has ended.

        :param is_page: it was for a page in a tab or window.
        """
        with self._lock:
            self._advance()
            self._requests -= 1
            if is_page:
                self._changed = self._time

    def expect_page(self) -> None:
        """A browser is told to open a page: do not end for :data:`OPENING` seconds."""
        with self._lock:
            self._advance()
            self._expected = self._time + OPENING

    def tick(self) -> bool:
        """Called about once a second. True: the last tab is closed, and the program has to end."""
        with self._lock:
            self._advance()
            for name, page in list(self._pages.items()):
                if self._time - page.heard > page.limit:
                    del self._pages[name]
                    self._changed = self._time
            self._left = {name: left for name, left in self._left.items() if self._time - left[1] <= _MOVING}
            self._navigations = [item for item in self._navigations if self._time - item[0] <= _MOVING]
            return (
                self._seen
                and not self._pages
                and self._requests == 0
                and self._time >= self._expected
                and self._time - self._changed >= GRACE
            )

    def _advance(self) -> None:
        """Count the time since the last call. With the lock."""
        now = self._now()
        self._time += min(max(now - self._last, 0.0), _PIECE)
        self._last = now


class TabEnd:
    """Calls a function when the last tab is closed: one thread, from :meth:`start` to :meth:`stop`.

    :param watch: what knows the tabs.
    :param end: called once, on that thread.
    """

    def __init__(self, watch: TabWatch, end: Callable[[], object]) -> None:
        self._watch = watch
        self._end = end
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reserve-desk-tabs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for it; also called by ``end``, on the thread itself."""
        self._stopped.set()
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(1.0):
            if self._watch.tick():
                self._end()
                return


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

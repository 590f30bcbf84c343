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

:mod:`reserve.desk.browser.tabpages` puts the script into pages, and tells :class:`TabWatch` what it says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["ASLEEP", "GRACE", "OPENING", "RETURN", "SILENCE", "TabEnd", "TabWatch"]

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

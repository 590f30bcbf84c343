"""What the person at the terminal has chosen: the order, the filter, the thread, the screen. Pure.

The loop of ``reserve top`` owns the one :class:`State`, and passes each key to it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reserve.control.top.model import Thread, View, by_longest

__all__ = ["SORTS", "Action", "Screen", "Stack", "State"]

SORTS: Mapping[str, Callable[[Thread], tuple[Any, ...]]] = {
    "time": by_longest,
    "process": lambda thread: (thread.pid, *by_longest(thread)),
    "thread": lambda thread: (_natural(thread.name), thread.pid),
    "state": lambda thread: (thread.is_idle, thread.state, *by_longest(thread)),
    "request": lambda thread: (not thread.request, thread.request, *by_longest(thread)),
    "client": lambda thread: (not thread.client, thread.client, *by_longest(thread)),
}
"""The orders of threads by name; ``time`` is the one to begin with: what takes longest comes first."""


class Screen(enum.Enum):
    """What fills the terminal."""

    LIVE = enum.auto()
    STACK = enum.auto()
    HELP = enum.auto()


class Action(enum.Enum):
    """What the loop has to do after a key."""

    QUIT = enum.auto()
    STACK = enum.auto()
    """Get the stack of ``State.stack.thread``."""


@dataclass(slots=True)
class Stack:
    """The stack of one thread."""

    thread: Thread
    lines: tuple[str, ...] | None = None
    """None: it has not come yet."""
    error: str = ""
    """Why it cannot be shown."""


@dataclass(slots=True)
class State:
    """The choices of the person, and the position of the selection."""

    sort: str = "time"
    filter: str = ""
    is_paused: bool = False
    shows_processes: bool = True
    screen: Screen = Screen.LIVE
    typed: str | None = None
    """The filter while it is typed; None: it is not."""
    stack: Stack | None = None
    scroll: int = 0
    """The first line of a stack that is shown."""
    page: int = 10
    """Rows of threads, or lines of a stack, that fit; the renderer sets it."""
    _selected: tuple[int, int, str] | None = None
    _index: int = field(default=0)
    """Where the selected thread was last, for when it has gone."""

    def threads(self, view: View) -> list[Thread]:
        """The threads that pass the filter, in the chosen order."""
        words = (self.filter if self.typed is None else self.typed).casefold().split()
        kept = [thread for thread in view.threads if all(word in _searched(thread) for word in words)]
        return sorted(kept, key=SORTS[self.sort])

    def selected(self, threads: list[Thread]) -> int:
        """The index of the selected thread among those that are shown; -1: there is none.

        Once a thread was selected the selection stays with it wherever it moves to, and when it has gone, at its place.
        """
        for index, thread in enumerate(threads):
            if thread.key == self._selected:
                self._index = index
                return index
        self._index = max(min(self._index, len(threads) - 1), 0)
        return self._index if threads else -1

    def press(self, key: str, view: View | None) -> Action | None:
        """Take a key."""
        if self.typed is not None:
            self._type(key)
            return None
        if key == "q":
            if self.screen is Screen.LIVE:
                return Action.QUIT
            self.screen = Screen.LIVE
            return None
        if self.screen is Screen.STACK:
            return self._press_in_stack(key)
        if self.screen is Screen.HELP:
            self.screen = Screen.LIVE
            return None
        return self._press_in_live(key, view)

    def _press_in_live(self, key: str, view: View | None) -> Action | None:
        if key == "s":
            names = list(SORTS)
            self.sort = names[(names.index(self.sort) + 1) % len(names)]
        elif key == "p":
            self.is_paused = not self.is_paused
        elif key == "1":
            self.shows_processes = not self.shows_processes
        elif key in ("h", "?"):
            self.screen = Screen.HELP
        elif key == "/":
            self.typed = self.filter
        elif key == "escape":
            self.filter = ""
        elif view is not None:
            threads = self.threads(view)
            index = self.selected(threads)
            if key in ("enter", "t") and index >= 0:
                self.stack = Stack(threads[index])
                self._selected = threads[index].key
                self.screen, self.scroll = Screen.STACK, 0
                return Action.STACK
            moved = self._moved(key, index, len(threads) - 1)
            if moved != index and threads:
                self._selected = threads[moved].key
                self._index = moved
        return None

    def _press_in_stack(self, key: str) -> Action | None:
        if key in ("escape", "left", "backspace"):
            self.screen = Screen.LIVE
        elif key in ("r", "t", "enter") and self.stack is not None:
            self.stack = Stack(self.stack.thread)
            return Action.STACK
        else:
            self.scroll = self._moved(key, self.scroll, 1_000_000)  # the renderer knows how long it is
        return None

    def _moved(self, key: str, index: int, last: int) -> int:
        steps = {
            "up": -1, "k": -1, "down": 1, "j": 1, "page up": -self.page, "page down": self.page, " ": self.page,
            "home": -last, "g": -last, "end": last, "G": last,
        }  # fmt: skip
        return max(min(index + steps.get(key, 0), last), 0)

    def _type(self, key: str) -> None:
        typed = self.typed or ""
        if key == "enter":
            self.filter, self.typed = typed, None
        elif key == "escape":
            self.typed = None
        elif key == "backspace":
            self.typed = typed[:-1]
        elif key == "clear":
            self.typed = ""
        elif len(key) == 1 and len(typed) < 200:
            self.typed = typed + key


def _searched(thread: Thread) -> str:
    return f"{thread.pid} {thread.name} {thread.state} {thread.request} {thread.client}".casefold()


def _natural(name: str) -> tuple[str, int]:
    """``worker-10`` after ``worker-9``."""
    start = name.rstrip("0123456789")
    number = name[len(start) :]
    return start, int(number) if number.isascii() and number else -1

"""``python -m reserve.supervisor.watch``: prints a line whenever source files have changed. ``--reload`` starts it.

A process of its own, because the supervisor has one thread and must not wait for a disk. It has one thread, too. Each
line names what has changed since the last one, as ``blog.py`` or ``blog.py and 2 others``. The process ends when nobody
reads its standard output any more.

What has changed is decided in one way: by the time, the size and the number of each file, against the last look
(:class:`Tree`). *When* to look is decided by PyPI ``watchfiles``, if it can be imported; otherwise by the time.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import select
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol

__all__ = ["CONFIG_FILES", "Notifications", "Polling", "Tree", "changes", "forget_compiled", "main", "summary"]

CONFIG_FILES = ("reserve.toml", "pyproject.toml")
"""Watched in the working directory, beside the Python files."""
MAX_FILES = 10_000
MAX_DIRECTORIES = 4_000
"""The most that is looked at. The walk is breadth-first, so what it leaves out is deep below."""
_SKIPPED = frozenset(("__pycache__", "node_modules", "site-packages", "dist-packages"))
"""Directories that are not entered, beside hidden ones (``.git``, ``.venv``) and virtual environments."""
_INTERVAL = 0.3
"""Seconds between two looks of :class:`Polling`."""
_SHARE = 10
"""Looks take at most one part in this many of the time: in a large tree they become rarer."""
_QUIET = 0.07
"""Seconds without a further change before a change is reported: editors and git write several files, or one twice."""
_MOST_ROUNDS = 15
"""So often a change is waited out; a file that changes all the time is reported, too."""
_SAFETY = 1.0
"""Seconds after which a wait of :class:`Notifications` ends: some file systems (of networks) tell nothing."""

Stamp = tuple[int, int, int]
"""Time of the last change in ns, size in bytes, inode number."""


class Tree:
    """The files that are watched: ``*.py`` below some directories, and others that match patterns. Used by one thread.

    :param roots: directories; the first one is the working directory, in which :data:`CONFIG_FILES` are watched.
    :param patterns: further files, as a shell writes them: ``*.html`` for a name anywhere below the roots,
        ``templates/*.html`` for a path from the working directory (``*`` matches slashes as well), or a directory for
        all files in it.
    :param files: further single files.
    """

    def __init__(self, roots: Sequence[str], patterns: Sequence[str] = (), files: Sequence[str] = ()) -> None:
        self._home = os.path.realpath(roots[0])
        self._roots = [os.path.realpath(root) for root in roots]
        self._names: list[str] = []
        """Patterns for the name of a file."""
        self._paths: list[str] = []
        """Patterns for the whole path of a file."""
        for pattern in patterns:
            whole = os.path.normpath(os.path.join(self._home, pattern))
            if os.path.isdir(whole):
                whole = os.path.join(whole, "*")
            elif "/" not in pattern:
                self._names.append(pattern)
                continue
            start = _fixed_part(whole)
            self._paths.append(os.path.realpath(start) + whole[len(start) :])
            self._roots.append(os.path.realpath(start))
        self._files = [os.path.join(self._home, name) for name in (*CONFIG_FILES, *files)]
        self.directories: frozenset[str] = frozenset()
        """Those that the last look has entered."""
        self.complete = True
        """The last look has reached everything."""

    def wants(self, path: str) -> bool:
        """Whether a file with this absolute path is watched."""
        name = os.path.basename(path)
        return (
            name.endswith(".py")
            or path in self._files
            or any(fnmatchcase(name, pattern) for pattern in self._names)
            or any(fnmatchcase(path, pattern) for pattern in self._paths)
        )

    def look(self) -> dict[str, Stamp]:
        """Every watched file that exists now, by its path. What cannot be read is left out."""
        found: dict[str, Stamp] = {}
        for path in self._files:
            _add(found, path)
        entered: set[str] = set()
        queue = deque(self._roots)
        self.complete = True
        while queue:
            directory = queue.popleft()
            if directory in entered:
                continue
            if len(entered) == MAX_DIRECTORIES or len(found) >= MAX_FILES:
                self.complete = False
                break
            try:
                with os.scandir(directory) as entries:
                    listed = list(entries)
            except OSError:  # it is gone, or may not be read
                continue
            if directory not in self._roots and any(entry.name == "pyvenv.cfg" for entry in listed):
                continue
            entered.add(directory)
            for entry in listed:
                try:
                    is_directory = entry.is_dir(follow_symlinks=False)
                except OSError:
                    continue
                if is_directory:
                    if entry.name not in _SKIPPED and not entry.name.startswith("."):
                        queue.append(entry.path)
                elif self.wants(entry.path):
                    if len(found) >= MAX_FILES:
                        self.complete = False
                        break
                    _add(found, entry.path)
        self.directories = frozenset(entered)
        return found

    def shown(self, path: str) -> str:
        """A path for a person: from the working directory if it is below that; only printable characters."""
        below = path.removeprefix(self._home + os.sep)
        return "".join(letter if letter.isprintable() else "?" for letter in below)


def _fixed_part(pattern: str) -> str:
    """The directory in which the walk for an absolute pattern begins: that before its first wildcard."""
    start = pattern
    while any(letter in start for letter in "*?["):
        start = os.path.dirname(start)
    return start if start != pattern else os.path.dirname(pattern)


def _add(found: dict[str, Stamp], path: str) -> None:
    try:
        info = os.stat(path)
    except OSError:
        return
    found[path] = info.st_mtime_ns, info.st_size, info.st_ino


class Source(Protocol):
    """What knows when to look."""

    def wait(self, tree: Tree, cost: float) -> None:
        """Return when something may have changed, or at the latest after about a second.

        :param cost: seconds that the last look has taken.
        """


class Polling:
    """Looks at fixed times.

    :param sleep: as :func:`time.sleep`.
    """

    def __init__(self, sleep: Callable[[float], object] = time.sleep) -> None:
        self._sleep = sleep

    def wait(self, tree: Tree, cost: float) -> None:
        self._sleep(max(_INTERVAL, _SHARE * cost))


class Notifications:
    """Waits for ``watchfiles``, one watch for each directory of the tree, so that nothing is watched that is skipped.

    :param watch: :func:`watchfiles.watch`.
    :param warn: gets a sentence when the system cannot watch (too many watches); from then on the time decides.
    :param fallback: decides then.
    """

    def __init__(
        self, watch: Callable[..., Any], warn: Callable[[str], object], fallback: Source | None = None
    ) -> None:
        self._watch = watch
        self._warn = warn
        self._fallback = fallback if fallback is not None else Polling()
        self._failed = False
        self._watched: frozenset[str] = frozenset()
        self._events: Iterator[object] = iter(())

    def wait(self, tree: Tree, cost: float) -> None:
        if self._failed:
            return self._fallback.wait(tree, cost)
        directories = tree.directories
        try:
            if self._watched != directories:
                self._watched = directories
                self._events = self._watch(
                    *sorted(directories),
                    watch_filter=lambda change, path: tree.wants(path) or os.path.isdir(path),
                    step=int(_QUIET * 1000),
                    debounce=int(_SAFETY * 1000),
                    rust_timeout=int(max(_SAFETY, 2 * _SHARE * cost) * 1000),
                    yield_on_timeout=True,
                    recursive=False,
                    ignore_permission_denied=True,
                )
            if next(self._events, None) is None:
                self._watched = frozenset()
        except Exception as error:  # of Rust, without a common base class; a directory that has just gone is one
            if not all(map(os.path.isdir, directories)):
                self._watched = frozenset()
                return
            self._failed = True
            self._warn(f"the system cannot watch {len(directories)} directories, so --reload polls them: {error}")


def changes(
    tree: Tree,
    source: Source,
    *,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    is_over: Callable[[], bool] = lambda: False,
) -> Iterator[list[str]]:
    """The paths that have changed since the last time, whenever some have, sorted. Also new and removed ones.

    :param sleep: as :func:`time.sleep`.
    :param clock: seconds, to measure how long a look takes.
    :param is_over: asked after each wait: whether to end.
    """
    known = tree.look()
    cost = 0.0
    while True:
        source.wait(tree, cost)
        if is_over():
            return
        began = clock()
        current = tree.look()
        cost = clock() - began
        if current == known:
            continue
        for _ in range(_MOST_ROUNDS):
            sleep(_QUIET)
            before, current = current, tree.look()
            if current == before:
                break
        changed = sorted(path for path in {*known, *current} if known.get(path) != current.get(path))
        known = current
        if changed:  # a file that has come and gone meanwhile is none
            yield changed


def summary(names: Sequence[str]) -> str:
    """``a.py``, ``a.py and b.py``, ``a.py and 2 others``."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} and {len(names) - 1} others"


def forget_compiled(path: str) -> None:
    """Remove what Python has compiled of a source file that has changed. It is told from a new one by the size and the
    whole second of the change, so the old one would be taken after two quick changes.
    """
    if path.endswith(".py"):
        with contextlib.suppress(OSError, NotImplementedError):
            os.unlink(importlib.util.cache_from_source(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Watch until standard output has no reader any more; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m reserve.supervisor.watch", description="print what changes")
    parser.add_argument("directories", nargs="+", metavar="DIR", help="the working directory, then others")
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="further files")
    parser.add_argument("--file", action="append", default=[], metavar="FILE", help="one further file")
    parser.add_argument("--poll", action="store_true", help="without watchfiles")
    options = parser.parse_args(argv)
    tree = Tree(options.directories, options.include, options.file)
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, 0)  # the error conditions, which include that the other end of a pipe is closed
    tree.look()
    if not tree.complete:
        _warn(f"--reload watches the first {MAX_FILES} files or {MAX_DIRECTORIES} directories only")
    try:
        for paths in changes(tree, Polling() if options.poll else _source(), is_over=lambda: bool(poll.poll(0))):
            for path in paths:
                forget_compiled(path)
            line = summary([tree.shown(path) for path in paths])
            os.write(output, f"{line}\n".encode("utf-8", "backslashreplace"))
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    return 0


def _source() -> Source:
    try:
        import watchfiles  # type: ignore[import-not-found, unused-ignore]
    except ImportError:  # it is the extra "reload"
        return Polling()
    return Notifications(watchfiles.watch, _warn)


def _warn(text: str) -> None:
    os.write(2, f"reserve: {text}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())

"""Files of logs: opened for append, and opened again when another program has renamed them (logrotate).

A write is one ``write(2)`` of whole lines to a descriptor with ``O_APPEND``, so several threads and processes may share
a file. A file is opened again by replacing its descriptor (``dup2``), which is atomic: a thread that writes meanwhile
writes to the one file or to the other, and needs no lock. The command opens the files before it gives up the rights of
root; from then on they are found here by their names. With the rights of root no path is opened that the user of the
server could make lead elsewhere, by a symbolic link to a file of root.

Any thread calls the functions. There is one :class:`LogFile` for a path, however many logs write to it.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

from reserve.engine.polling.highnumber import move_up

__all__ = ["LogFile", "Reopened", "close_log_file", "keep_log_files", "open_log_file", "reopen_log_files", "rights_for"]

_FLAGS = (
    os.O_WRONLY
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # of a named pipe that no process reads, opening is an error then, and does not wait
)

_files: dict[str, LogFile] = {}
"""The open files by their absolute paths."""
_lock = threading.Lock()


class Reopened(NamedTuple):
    """What became of one file that was to be opened again."""

    path: str
    error: OSError | None
    """Why it could not be opened: the log goes on in the file that was open. None: it was opened."""


class LogFile:
    """One file, open for append. It has what :class:`~reserve.engine.logs.linestream.LineStream` needs of a stream.

    :param path: absolute.
    :param owner: user and group that a file gets which is created here; None: those of the process.
    :raises OSError: it cannot be opened.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        self.path = path
        self.users = 0
        """Logs that write to it."""
        self.is_kept = False
        """It stays open without any log."""
        self.name = ""
        """How the code that keeps it has named it, in the working directory of that moment."""
        self._owner = owner
        self._stream = -1
        """The standard stream that is this file, too; -1: none."""
        self._fd = move_up(self._open())
        self._identity = _identity(self._fd)

    def fileno(self) -> int:
        """The descriptor, which stays the same when the file is opened again."""
        return self._fd

    def write(self, text: str) -> int:
        """Append a text; for callers without a :class:`~reserve.engine.logs.linestream.LineStream`."""
        return os.write(self._fd, text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def replace_stream(self, fd: int) -> None:
        """Make this file a standard stream of the process as well, from now on.

        :param fd: 1 or 2.
        """
        os.dup2(self._fd, fd)
        self._stream = fd

    def reopen(self) -> None:
        """Open the path again, and go on there. Raises OSError if that fails; then the log goes on where it was."""
        new = self._open()
        before, self._identity = self._identity, _identity(new)
        if _identity(self._fd) == before:
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)
        else:  # another part of the program has closed the descriptor, and its number may belong to another file now
            self._fd = move_up(new)
        if self._stream >= 0 and _identity(self._stream) == before:
            os.dup2(self._fd, self._stream)

    def close(self) -> None:
        """Close the descriptor, unless its number belongs to another file now."""
        if _identity(self._fd) == self._identity:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        owner = self._owner
        with rights_for(self.path, owner):
            try:
                fd = os.open(self.path, _FLAGS | os.O_EXCL, 0o666)
                is_new = True
            except FileExistsError:
                fd = os.open(self.path, _FLAGS, 0o666)
                is_new = False
        if is_new and owner is not None:
            os.fchown(fd, *owner)
        os.set_blocking(fd, True)
        return fd


def _identity(fd: int) -> tuple[int, int] | None:
    """What tells an open file from every other; None: it is closed."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def rights_for(path: str, owner: tuple[int, int] | None) -> AbstractContextManager[None]:
    """The rights with which root opens, replaces or removes a file that is for the user of the server: those of the
    user, if the user could make the path lead elsewhere; else those that there are.

    :param path: absolute.
    :param owner: the user and group; None: those of the process.
    """
    if owner is not None and owner[0] > 0 and os.geteuid() == 0:
        groups = _groups_of(*owner)
        if _may_lead_elsewhere(path, owner[0], groups):
            return _rights_of(*owner, groups)
    return nullcontext()


def _groups_of(uid: int, gid: int) -> list[int]:
    """The groups of a user, as a process of the user has them."""
    try:
        import pwd

        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except (ImportError, KeyError):  # a user by number only
        return [gid]


def _may_lead_elsewhere(path: str, uid: int, groups: Sequence[int]) -> bool:
    """Whether a user can replace a part of a path, or what a symbolic link in it leads to.

    :param path: absolute.
    :param groups: of the user.
    """
    parts = set()
    for one in (path, os.path.realpath(path)):
        while one not in parts:
            parts.add(one)
            one = os.path.dirname(one)
    for one in parts:
        try:
            status = os.lstat(one)
        except OSError:
            continue
        is_link, is_directory = stat.S_ISLNK(status.st_mode), stat.S_ISDIR(status.st_mode)
        if status.st_uid == uid and (is_link or is_directory):
            return True
        writing = stat.S_IWOTH | (stat.S_IWGRP if status.st_gid in groups else 0)
        if is_directory and status.st_mode & writing and not status.st_mode & stat.S_ISVTX:
            return True
    return False


@contextmanager
def _rights_of(uid: int, gid: int, groups: Sequence[int]) -> Iterator[None]:
    """In this block root has the rights of a user and a group for files. All threads have them, but at the start and in
    the supervisor no other one opens files.
    """
    before, groups_before = os.getegid(), os.getgroups()
    try:
        os.setgroups(groups)
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before)
        os.setgroups(groups_before)


def open_log_file(path: str, owner: tuple[int, int] | None = None, *, for_log: bool = True) -> LogFile:
    """The log file of a path, which is opened unless it is open.

    :param owner: user and group that the file gets if it is created; None: those of the process.
    :param for_log: a log writes to it, and calls :func:`close_log_file` at its end; False: it is kept open for a log
        that names it in the same way, whatever the working directory is then.
    :raises OSError: it cannot be opened.
    """
    name, path = path, os.path.abspath(path)
    with _lock:
        kept = (one for one in _files.values() if for_log and one.is_kept and one.name == name)
        file = next(kept, None) or _files.get(path)
        if file is None:
            file = _files[path] = LogFile(path, owner)
        if for_log:
            file.users += 1
        else:
            file.is_kept, file.name = True, name
        return file


def close_log_file(file: LogFile) -> None:
    """A log writes no more to the file: close it, if no other does."""
    with _lock:
        file.users -= 1
        _close_if_unused(file)


def keep_log_files(paths: Iterable[str]) -> None:
    """Of the files that are kept open without a log, keep only these; absolute paths."""
    with _lock:
        for path, file in list(_files.items()):
            file.is_kept = file.is_kept and path in paths
            _close_if_unused(file)


def _close_if_unused(file: LogFile) -> None:
    if file.users <= 0 and not file.is_kept and _files.get(file.path) is file:
        del _files[file.path]
        file.close()


def reopen_log_files() -> list[Reopened]:
    """Open every log file of this process again; what became of each."""
    with _lock:
        results = []
        for path, file in _files.items():
            try:
                file.reopen()
                results.append(Reopened(path, None))
            except OSError as error:
                results.append(Reopened(path, error))
        return results

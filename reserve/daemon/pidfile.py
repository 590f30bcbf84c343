"""The file with the process ID: written in one step, never over that of a server that runs, and removed by its owner.

Root writes and removes it with ``--user``, perhaps in a directory of that user, who may have put anything there: a
symbolic link or a named pipe is not opened, and in a directory that the user could exchange, root has the rights of the
user only.

Runs on the main thread, at start and at stop.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

from reserve.errors import StartupError

__all__ = ["PidFile", "write"]


_READING = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK"):  # to open a named pipe does not wait
    _READING |= getattr(os, _name, 0)
_PROGRAM_WORDS = 8
"""How many words of a command line may name the program: python -X dev -m reserve."""


class PidFile:
    """The pid file of this process, from :meth:`create` to :meth:`remove`; the command has one, or none.

    :param path: a relative one counts from the working directory of this moment.
    :param source: where the path comes from, for messages.
    :param rights: called with the absolute path: the rights in which the file is written and removed. Default: those of
        the process.
    """

    def __init__(
        self,
        path: str,
        source: str = "--pid-file",
        rights: Callable[[str], AbstractContextManager[None]] = lambda path: nullcontext(),
    ) -> None:
        self._path = os.path.abspath(path)
        self._rights = rights
        self._source = source
        self._pid = os.getpid()

    def create(self) -> None:
        """Write the file. One that names a process that has ended, or is no server of reserve, is replaced.

        :raises StartupError: it names another server that runs, or cannot be written.
        """
        with self._rights(self._path):
            pid = _read(self._path)
        if pid not in (None, self._pid, os.getppid()) and _is_server(pid):
            raise StartupError(
                f"the pid file {self._path} ({self._source}) names process {pid}, which runs reserve; stop it, or "
                "choose another file"
            )
        with self._rights(self._path):
            write(self._path, self._pid, self._source)

    def remove(self) -> None:
        """Remove the file if it still names this process, and the process may."""
        # After --user the directory may belong to another user: then the file stays, and the next start replaces it.
        with suppress(OSError):
            if os.getpid() != self._pid:
                return
            with self._rights(self._path):
                if _read(self._path) == self._pid:
                    os.unlink(self._path)


def write(path: str, pid: int, option: str) -> None:
    """Replace the file in one step, so that no process reads half a number.

    :param option: how the user names another file, for the message.
    :raises StartupError: it cannot be written.
    """
    temporary = f"{path}.{pid}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # from a process with the same ID that was killed, as in a container
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            with open(fd, "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as exc:
        raise StartupError(
            f"cannot write the pid file {path!r}: {exc.strerror}; choose another one with {option}"
        ) from exc


def _read(path: str) -> int | None:
    """The process ID in a file; None: there is none, or it is no regular file."""
    try:
        with open(os.open(path, _READING), "rb") as file:
            text = file.read(32).strip() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return None
    return int(text) if text.isdigit() and 0 < int(text) < 1 << 31 else None


def _is_server(pid: int | None) -> bool:
    """Whether a process runs reserve; without /proc, whether there is such a process."""
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        pass
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(1 << 16).split(b"\0")[:_PROGRAM_WORDS]
            return any(os.path.basename(word).partition(b".")[0] == b"reserve" for word in words)
    except FileNotFoundError:
        return not os.path.exists("/proc/self/cmdline")
    except OSError:
        return True

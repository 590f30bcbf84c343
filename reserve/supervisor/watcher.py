"""The process that watches source files, as the supervisor sees it (``--reload``). Used by its one thread."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Sequence
from typing import cast

from reserve.options.sources import Values

__all__ = ["FileWatch", "Watcher", "watch_arguments"]

_PIECE = 4096


def watch_arguments(values: Values, directory: str) -> list[str]:
    """The arguments of :mod:`reserve.supervisor.watch`.

    :param directory: the working directory of the start.
    """
    home = os.path.join(directory, str(values["chdir"] or ""))
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    directories = [home, *(os.path.join(home, path) for path in paths if path)]
    includes = [f"--include={pattern}" for pattern in cast("Sequence[str]", values["reload_include"])]
    files = [f"--file={os.path.join(directory, values.file)}"] if values.file else []
    return [*includes, *files, "--", *directories]


class Watcher:
    """A child process that runs :mod:`reserve.supervisor.watch`. The supervisor owns it.

    :param arguments: as :func:`watch_arguments` returns them.
    :param quiet: it writes nothing, because the process that has started a daemon may wait for the end of a pipe.
    :raises OSError: it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], *, quiet: bool = False) -> None:
        self.arguments = list(arguments)
        flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
        # By its path, and without the directory of that on the import path: no module of the user takes the place of
        # one that it needs.
        program = os.path.join(os.path.dirname(__file__), "watch.py")
        self._process = subprocess.Popen(
            [sys.executable, *flags, "-P", program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            process_group=0,  # Ctrl-C is for the supervisor alone
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self.fileno(), False)
        self._buffer = b""
        self.ended = False
        """The process has ended."""

    def fileno(self) -> int:
        return self._output.fileno()

    def receive(self) -> list[str]:
        """Read once, and return the lines that are complete: what has changed."""
        try:
            data = os.read(self.fileno(), _PIECE)
        except BlockingIOError:
            return []
        if not data:
            self.ended = True
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """End the process, which holds nothing that could be lost."""
        self._process.kill()
        self._process.wait()
        self._output.close()


class FileWatch:
    """The process that watches at present, or none; the supervisor makes one of these.

    :param selector: of the supervisor; it reports a line with its :class:`Watcher`.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._watcher: Watcher | None = None

    @property
    def is_active(self) -> bool:
        """Files are watched."""
        return self._watcher is not None

    def change(self, arguments: Sequence[str], *, quiet: bool) -> None:
        """Have files watched; the process that does so already stays.

        :param arguments: as :func:`watch_arguments` returns them; empty: none is watched.
        :param quiet: see :class:`Watcher`.
        :raises OSError: no process can be started, and none watches.
        """
        if self._watcher is not None:
            if self._watcher.arguments == arguments:
                return
            self.end()
        if arguments:
            self._watcher = Watcher(arguments, quiet=quiet)
            self._selector.register(self._watcher, selectors.EVENT_READ, self._watcher)

    def end(self) -> None:
        """Watch nothing."""
        if self._watcher is not None:
            self._selector.unregister(self._watcher)
            self._watcher.close()
            self._watcher = None

    def receive(self, watcher: Watcher) -> list[str]:
        """What has changed, a file in each line."""
        if watcher is not self._watcher:  # another one has taken its place since the selector reported it
            return []
        lines = watcher.receive()
        if watcher.ended:
            self.end()
        return lines

"""The trial of a new version of the program before the supervisor becomes it (SIGUSR2). Used by its one thread."""

from __future__ import annotations

import subprocess

from reserve.cli.processes.spawn import program

__all__ = ["Trial"]

_LONGEST = 30.0
"""Seconds that a new version of the program has to print its number."""


class Trial:
    """A child process that prints the number of the new version. The supervisor owns it.

    :param directory: the working directory of the start.
    :param now: on the supervisor's clock.
    :raises OSError: it cannot be started.
    """

    def __init__(self, directory: str, now: float) -> None:
        self._process = subprocess.Popen(
            [*program(), "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=directory,
        )
        self.ends = now + _LONGEST
        """When it is killed, on the supervisor's clock."""

    def poll(self, now: float) -> int | None:
        """The exit code, 0 if the new version runs; None: it is not known yet."""
        code = self._process.poll()
        if code is None and now >= self.ends:
            self._process.kill()
            self.ends = float("inf")
        return code

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

"""The servers that are compared: their commands, and how one is started with the application of a benchmark."""

from __future__ import annotations

import argparse
import contextlib
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import reserve
from benchmarks import procfs
from benchmarks.adversity_apps import BIG, FILE
from benchmarks.process import HOST, ROOT, environment, free_port, responds, started_process


def _reserve(app: str, threads: int, port: int) -> list[str]:
    return ["reserve", "app", "http", "wsgi", app, "--bind", f"{HOST}:{port}", "--threads", str(threads)]


def _cheroot(app: str, threads: int, port: int) -> list[str]:
    return ["cheroot", app, "--bind", f"{HOST}:{port}", "--threads", str(threads)]


def _waitress(app: str, threads: int, port: int) -> list[str]:
    return ["waitress", f"--listen={HOST}:{port}", f"--threads={threads}", app]


def _gunicorn(app: str, threads: int, port: int) -> list[str]:
    return ["gunicorn", "-b", f"{HOST}:{port}", "-w", "1", "-k", "gthread", "--threads", str(threads), app]


def _granian(app: str, threads: int, port: int) -> list[str]:
    arguments = ["granian", "--interface", "wsgi", "--host", HOST, "--port", str(port)]
    return [*arguments, "--workers", "1", "--blocking-threads", str(threads), app]


SERVERS: dict[str, Callable[[str, int, int], list[str]]] = {
    "reserve": _reserve,
    "cheroot": _cheroot,
    "waitress": _waitress,
    "gunicorn": _gunicorn,
    "granian": _granian,
}
"""By name: a function of application, threads and port that gives the arguments of ``python -m``."""


def command(name: str, app: str, threads: int, port: int, options: Sequence[str] = ()) -> list[str]:
    """The command that starts the server. Its options stand before an application that is the last argument."""
    arguments = SERVERS[name](app, threads, port)
    place = arguments.index(app) if arguments[-1] == app else len(arguments)
    return [sys.executable, "-m", *arguments[:place], *options, *arguments[place:]]


def version_of(name: str) -> str:
    """The version of an installed server; of reserve, the version of this clone."""
    return reserve.__version__ if name == "reserve" else version(name)


def chosen(option: str, value: str, known: Iterable[str]) -> list[str]:
    """The names in the value of an option, separated by commas; all known names when the value is empty.

    :raises SystemExit: a name is not known.
    """
    names = value.split(",") if value else list(known)
    for name in names:
        if name not in known:
            raise SystemExit(f"{option} knows no {name!r}; it knows {', '.join(known)}")
    return names


def positive(text: str) -> int:
    """The value of an option that is a whole number from 1 (a ``type`` of argparse)."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it is a whole number from 1")
    return number


@cache
def reserve_flags() -> frozenset[str]:
    """Every option of the reserve of this clone."""
    arguments = [sys.executable, "-m", "reserve", "app", "http", "--help-all"]
    result = subprocess.run(
        arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True, timeout=60
    )
    return flags_in(result.stdout)


def flags_in(text: str) -> frozenset[str]:
    """The long options in the left column of a help text."""
    return frozenset(re.findall(r"^ +(?:-\w, )?(--[a-z][a-z-]*)", text, re.MULTILINE))


def missing(name: str, options: Sequence[str]) -> list[str]:
    """Which of these options the server does not have. The options of the other servers are known to exist."""
    if name != "reserve":
        return []
    return [option for option in options if option.startswith("--") and option not in reserve_flags()]


@dataclass(frozen=True)
class Running:
    """A server that has sent its first response."""

    name: str
    pid: int
    port: int
    log: Path
    """Its standard error."""

    @property
    def address(self) -> tuple[str, int]:
        return (HOST, self.port)

    def usage(self) -> procfs.Usage:
        return procfs.usage(self.pid)

    def log_lines(self) -> int:
        return len(self.log.read_bytes().splitlines())


@contextlib.contextmanager
def started(
    name: str, app: str, *, threads: int, options: Sequence[str] = (), descriptors: int | None = None
) -> Iterator[Running]:
    """Run a server until the end of the block. Then SIGKILL ends it and its children.

    :param descriptors: RLIMIT_NOFILE of the server; None: the highest that the system allows.
    :raises StartError: the server ended, or did not respond in time.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        big = Path(folder, "big")
        with big.open("wb") as file:
            file.truncate(BIG)
        log = Path(folder, "stderr")
        port = free_port()
        with started_process(
            name,
            command(name, app, threads, port, options),
            lambda: responds(port),
            log=log,
            environ={FILE: str(big), "TMPDIR": folder},
            before_exec=lambda: _limit(descriptors),
        ) as pid:
            yield Running(name, pid, port, log)


def raise_descriptors() -> int:
    """Let this process open as many descriptors as the system allows; return that number."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _limit(descriptors: int | None) -> None:
    if descriptors is None:
        raise_descriptors()
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

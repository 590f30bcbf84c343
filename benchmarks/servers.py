"""The servers that are compared, and how one is started as a process of its own, made ready, and ended."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import procfs
from benchmarks.adversity_apps import BIG, FILE
from benchmarks.load import free_port

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
_START = 20.0
"""Seconds that a server may take until it answers."""


def _reserve(app: str, threads: int, port: int) -> list[str]:
    return ["reserve", "app", "http", "wsgi", app, "--bind", f"{HOST}:{port}", "--threads", str(threads)]


def _cheroot(app: str, threads: int, port: int) -> list[str]:
    return ["cheroot", app, "--bind", f"{HOST}:{port}", "--threads", str(threads)]


def _waitress(app: str, threads: int, port: int) -> list[str]:
    return ["waitress", f"--listen={HOST}:{port}", f"--threads={threads}", app]


def _gunicorn(app: str, threads: int, port: int) -> list[str]:
    return ["gunicorn", "-b", f"{HOST}:{port}", "-w", "1", "-k", "gthread", "--threads", str(threads), app]


def _granian(app: str, threads: int, port: int) -> list[str]:
    words = ["granian", "--interface", "wsgi", "--host", HOST, "--port", str(port)]
    return [*words, "--workers", "1", "--blocking-threads", str(threads), app]


SERVERS: dict[str, Callable[[str, int, int], list[str]]] = {
    "reserve": _reserve,
    "cheroot": _cheroot,
    "waitress": _waitress,
    "gunicorn": _gunicorn,
    "granian": _granian,
}


def command(name: str, app: str, threads: int, port: int, options: Sequence[str] = ()) -> list[str]:
    """The words that start the server; its own options stand in front of an application that comes last."""
    words = SERVERS[name](app, threads, port)
    where = words.index(app) if words[-1] == app else len(words)
    return [sys.executable, "-m", *words[:where], *options, *words[where:]]


@cache
def reserve_flags() -> frozenset[str]:
    """Every option that this tree's reserve takes."""
    words = [sys.executable, "-m", "reserve", "app", "http", "-h"]
    shown = subprocess.run(words, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=True, timeout=60)
    return flags_in(shown.stdout)


def flags_in(text: str) -> frozenset[str]:
    """The long options in the left column of a help text."""
    return frozenset(re.findall(r"^ +(?:-\w, )?(--[a-z][a-z-]*)", text, re.MULTILINE))


def missing(name: str, options: Sequence[str]) -> list[str]:
    """Which of these options the server does not have. The peers' are known to exist."""
    if name != "reserve":
        return []
    return [word for word in options if word.startswith("--") and word not in reserve_flags()]


@dataclass(frozen=True)
class Running:
    """A server that has answered its first request."""

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


class StartError(Exception):
    """The server ended, or did not answer in time; the text has its last words."""


@contextlib.contextmanager
def started(
    name: str, app: str, *, threads: int, options: Sequence[str] = (), descriptors: int | None = None
) -> Iterator[Running]:
    """Run a server until the end of the block; then the kernel ends it and its children, without a farewell.

    :param descriptors: its RLIMIT_NOFILE; None: as many as it may have.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        big = Path(folder, "big")
        with big.open("wb") as file:
            file.truncate(BIG)
        log = Path(folder, "stderr")
        port = free_port()
        with log.open("wb") as errors:
            process = subprocess.Popen(
                command(name, app, threads, port, options),
                cwd=ROOT,
                env=_environment() | {FILE: str(big), "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                preexec_fn=lambda: _limit(descriptors),
            )
        try:
            _wait_ready(process, port, log)
            yield Running(name, process.pid, port, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def raise_descriptors() -> int:
    """Let this process open as many descriptors as it may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _limit(descriptors: int | None) -> None:
    if descriptors is None:
        raise_descriptors()
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return kept | {"PYTHONPATH": path}


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"ended with exit code {process.returncode}: {_last_words(log)}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1.0) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            if probe.recv(5) == b"HTTP/":
                return
        time.sleep(0.02)
    raise StartError(f"no answer within {_START:g} s: {_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-800:].strip() or "it wrote nothing"

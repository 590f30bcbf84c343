"""Start a server as a process of its own, wait until it responds, and end it. Everything is on the loopback interface.

Runs on the main thread, and every wait has a limit. Nothing here knows which servers or applications are compared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = [
    "HOST",
    "ROOT",
    "StartError",
    "Unmeasurable",
    "cores",
    "environment",
    "free_port",
    "pinned",
    "responds",
    "started_process",
]

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent.parent
"""The root of the clone, from which servers import ``benchmarks`` and ``reserve``."""

_START_TIMEOUT = 20.0
"""Seconds until a server must have responded."""
_PROBE_TIMEOUT = 2.0
"""Seconds that one attempt to get a response may take."""


class Unmeasurable(Exception):
    """Something that the measurement needs is missing or failed. The text is one sentence for the user."""


class StartError(Unmeasurable):
    """The server ended, or did not respond in time. The text has the end of its standard error."""


@contextlib.contextmanager
def started_process(
    name: str,
    command: Sequence[str],
    is_ready: Callable[[], bool],
    *,
    log: Path,
    core: int | None = None,
    environ: Mapping[str, str] | None = None,
    before_exec: Callable[[], None] | None = None,
    cwd: Path = ROOT,
    start_timeout: float = _START_TIMEOUT,
) -> Iterator[int]:
    """Run a server while the ``with`` block runs; give its process id. Then SIGKILL ends it and its children.

    :param name: how error messages call the server.
    :param is_ready: called again and again; it returns True when the server responds, and may raise OSError until then.
    :param log: the file for standard error; the folder has to exist.
    :param core: the only processor that the server may use; None: any.
    :param environ: environment variables in addition to those of this process.
    :param before_exec: called in the new process before it runs the command.
    :param cwd: the working directory, from which ``python -m`` imports first.
    :param start_timeout: seconds until it must have responded.
    :raises StartError: the server ended, or did not respond in time.
    """
    with log.open("wb") as errors, pinned(core):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment() | dict(environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            preexec_fn=before_exec,
        )
    try:
        _wait_until_ready(name, process, is_ready, log, start_timeout)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def responds(port: int) -> bool:
    """Whether a server on this port responds to an HTTP request.

    :raises OSError: it does not accept connections, or fails.
    """
    with socket.create_connection((HOST, port), _PROBE_TIMEOUT) as probe:
        probe.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return probe.recv(5) == b"HTTP/"


def free_port() -> int:
    """A port on which no process listened a moment ago."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Bind this process to a processor while it starts others, which inherit the binding.

    :param core: the number of the processor; None: bind nothing.
    """
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> tuple[int | None, int | None]:
    """One processor for the server and another for wrk, where there are two and the system can bind to them."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def environment() -> dict[str, str]:
    """The variables of this process without reserve's own, with the clone on Python's path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESERVE_")}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return kept | {"PYTHONPATH": path}


def _wait_until_ready(
    name: str, process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log: Path, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"{name} ended with exit code {process.returncode}: {_end_of(log)}")
        with contextlib.suppress(OSError):
            if is_ready():
                return
        time.sleep(0.02)
    raise StartError(f"{name} did not respond within {timeout:g} s: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-800:].strip() or "it wrote nothing"

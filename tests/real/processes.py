"""Run programs with a clean environment: to their end, or while a ``with`` block runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tests.waiting import PATIENCE, eventually


def clean_environ(**variables: str) -> dict[str, str]:
    """The environment variables of this process without the settings of the tests, and with ``variables``.

    Without PYTHONPATH a process has to find reserve where pip installed it.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "RESERVE_", "LISTEN_")) and name not in ("PORT", "WEB_CONCURRENCY")
    }
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "default::ResourceWarning", **variables}


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end, with its output captured.

    :param options: more arguments of ``subprocess.run``: ``input``, ``text``, ``cwd``, ``check``, ``timeout``.
    """
    return subprocess.run(
        command, capture_output=True, **{"check": False, "timeout": PATIENCE, "env": clean_environ(), **options}
    )


@contextlib.contextmanager
def running(
    command: Sequence[str],
    is_ready: Callable[[], bool],
    *,
    stop_signal: signal.Signals,
    errors: Path,
    output: int | IO[bytes] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server program in the foreground while the block runs; ``stop_signal`` then ends it after its requests.

    :param is_ready: called again and again, until it returns True.
    :param errors: the file for its standard error.
    :param output: its standard output; None: that of the tests.
    """
    with errors.open("ab") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=stderr,
            cwd=cwd,
            env=clean_environ(),
            start_new_session=True,
        )
    try:
        eventually(lambda: process.poll() is not None or is_ready())
        assert process.poll() is None, f"{command[0]} ended at once: {errors.read_text('utf-8', 'replace')}"
        yield process
        process.send_signal(stop_signal)
        process.wait(PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nginx has a child process
        process.wait()

"""Signals that arrive at once, in a process that writes stacks at faults."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.real.processes import clean_environ
from tests.waiting import PATIENCE

PROGRAM = """
import os, signal
from reserve.cli.early.faultstack import write_stacks_at_faults

write_stacks_at_faults()
numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, *range(signal.SIGRTMIN, signal.SIGRTMAX)]
received = []
for number in numbers:
    signal.signal(number, lambda number, frame: received.append(number))
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
for number in numbers:
    os.kill(os.getpid(), number)
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
assert sorted(received) == sorted(numbers)
if os.environ.get("FAULT"):
    os.kill(os.getpid(), signal.SIGSEGV)
"""


def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", PROGRAM],
        capture_output=True, text=True, timeout=PATIENCE, env=clean_environ(**variables), check=False,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
@pytest.mark.parametrize("options", [(), ("-X", "faulthandler")], ids=["enabled here", "enabled by the user"])
def test_signals_that_arrive_at_once_overwrite_no_memory(options: tuple[str, ...]) -> None:
    done = run(*options)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="this system has no real-time signals")
def test_a_fault_after_them_writes_the_stacks() -> None:
    done = run(FAULT="yes")
    assert done.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert "Current thread" in done.stderr

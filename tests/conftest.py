"""What every test has: a check for leaks, ``require_peer`` for foreign programs, and ``short_path``."""

from __future__ import annotations

import ctypes  # noqa: F401  # before any test, because libffi 3.5 opens a file then and keeps it open
import gc
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is no reason to fail, so no example is timed. The examples are the same in every run, so that a failure
# can be repeated; HYPOTHESIS_PROFILE=explore tries new ones.
settings.register_profile(
    "reserve", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("reserve"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reserve"))

_GRACE = 20.0
"""Seconds in which the threads of a test have to end; waiting for them returns as soon as they have."""


_ROOT = Path(__file__).parent.parent


def _compile_straight_line() -> None:
    """Compile the modules in C in this clone, if there is a compiler: what they do is tested in both forms."""
    if "PYTEST_XDIST_WORKER" in os.environ or shutil.which("cc") is None:
        return
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    sources = _ROOT.glob("reserve/*/*/_*.c")
    compiled = [(source, source.with_suffix(suffix)) for source in sources]
    if any(not made.exists() or made.stat().st_mtime < source.stat().st_mtime for source, made in compiled):
        command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
        subprocess.run(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def pytest_configure() -> None:
    """What a shell runs in the background ignores SIGINT and SIGQUIT, and so would its children: tests send both."""
    _compile_straight_line()
    for number, usual in (signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def _require_peer(name: str) -> str:
    path = shutil.which(name)
    if path is not None:
        return path
    if os.environ.get("RESERVE_CI") == "1":
        pytest.fail(f"the program {name} is not installed, and RESERVE_CI=1 makes that an error", pytrace=False)
    pytest.skip(f"the program {name} is not installed")


@pytest.fixture(scope="session")
def require_peer() -> Callable[[str], str]:
    """``require_peer("curl")`` gives its path, or skips the test; with RESERVE_CI=1 it fails instead."""
    return _require_peer


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short name, because the path of a UNIX socket has at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _leaks_nothing() -> Iterator[None]:
    threads = set(threading.enumerate())
    descriptors = _descriptors()
    yield
    deadline = time.monotonic() + _GRACE
    for thread in set(threading.enumerate()) - threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    alive = [thread.name for thread in threading.enumerate() if thread not in threads]
    leaked = _new(descriptors)
    if leaked:
        gc.collect()  # A reference cycle is no leak; but an unclosed socket in it warns now, which is an error.
        leaked = _new(descriptors)
    assert not alive, f"threads are still running after the test: {alive}"
    assert not leaked, f"descriptors are still open after the test: {leaked}"


def _descriptors() -> dict[int, str]:
    targets: dict[int, str] = {}
    for entry in Path("/proc/self/fd").iterdir() if os.path.isdir("/proc/self/fd") else ():
        try:
            targets[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return targets


def _new(before: dict[int, str]) -> dict[int, str]:
    return {fd: target for fd, target in _descriptors().items() if before.get(fd) != target}

"""Programs that call ``gevent.monkey.patch_all()`` or the like: gevent itself, and modules that do the same to less.

The programs run in processes of their own, because what was replaced cannot be put back.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reserve
from tests.waiting import PATIENCE

ROOT = str(Path(reserve.__file__).parent.parent)
_FAKE = """
import socket, sys, threading
patched = set()
def patch_thread():
    # Outside the main thread, a green thread has another number than its thread.
    real, main = threading.get_ident, threading.main_thread().ident
    threading.get_ident = lambda: real() if real() == main else real() + (1 << 60)
    patched.update(("_thread", "thread", "threading"))
def patch_socket():
    real = socket.socket
    class GreenSocket:  # no subclass of the real one
        def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
            self.real = real(family, type, proto, fileno)
        makefile = real.makefile
        def __getattr__(self, name):
            return getattr(self.real, name)
    socket.socket = GreenSocket
    patched.add("socket")
def patch_time():
    patched.add("time")
"""
FAKES = {
    "gevent": {
        "gevent/__init__.py": "",
        "gevent/monkey.py": f"{_FAKE}\ndef patch_all():\n    patch_thread(); patch_socket(); patch_time()\n"
        "def is_module_patched(name):\n    return name in patched\n",
    },
    "eventlet": {
        "eventlet/__init__.py": "from eventlet.patcher import monkey_patch\n",
        "eventlet/patcher.py": f"{_FAKE}\ndef monkey_patch():\n    patch_thread(); patch_socket()\n"
        "def is_monkey_patched(name):\n    return name in patched\n",
    },
}
PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
"""What an application does at its first line."""
KINDS = ["fake gevent", "fake eventlet", "gevent"]


def prepare(folder: Path, kind: str) -> str:
    """Make the library importable in ``folder``; skip without it, if it is the real one. Returns its name."""
    library = kind.rpartition(" ")[2]
    if kind.startswith("fake"):
        for name, source in FAKES[library].items():
            folder.joinpath(name).parent.mkdir(exist_ok=True)
            folder.joinpath(name).write_text(source, "utf-8")
    elif not os.environ.get("RESERVE_CI"):  # .ci/run installs it
        pytest.importorskip(library, reason=f"{library} is not installed: pip install {library}")
    return library


@contextlib.contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python in ``folder``, with this clone and the modules of the folder on its path; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), ROOT))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run Python as :func:`started` does, to its end. Returns its exit code and what it has written."""
    with started(folder, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

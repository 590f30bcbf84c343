"""The checks that every test has find leaks and missing programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OUTCOMES = """
import os, socket, threading

def test_clean():
    thread = threading.Thread(target=int)
    thread.start()

def test_leaks_descriptor():
    os.dup(1)

def test_leaks_socket():
    cycle = [socket.socket()]
    cycle.append(cycle)

def test_leaks_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_peer(require_peer):
    require_peer("no-such-program-at-all")
"""


@pytest.mark.parametrize(
    ("ci", "closing"),
    [
        ("", "4 passed, 1 skipped, 3 errors"),  # a test that leaks passes, and its teardown fails
        ("1", "1 failed, 4 passed, 3 errors"),
    ],
)
def test_leaks_and_missing_programs_are_found(tmp_path: Path, ci: str, closing: str) -> None:
    shutil.copy(HERE / "conftest.py", tmp_path)
    shutil.copy(HERE.parent / "tox.ini", tmp_path)
    source = (tmp_path / "conftest.py").read_text("utf-8")
    assert "_GRACE = 20.0" in source
    (tmp_path / "conftest.py").write_text(source.replace("_GRACE = 20.0", "_GRACE = 0.2"), "utf-8")
    (tmp_path / "test_it.py").write_text(OUTCOMES, "utf-8")
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={**os.environ, "RESERVE_CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert closing in completed.stdout.splitlines()[-1]
    assert "descriptors are still open after the test" in completed.stdout
    assert "threads are still running after the test" in completed.stdout
    assert "ResourceWarning" in completed.stdout
    assert ("RESERVE_CI=1 makes that an error" in completed.stdout) == (ci == "1")

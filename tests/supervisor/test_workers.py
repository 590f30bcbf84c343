"""The lines of the supervisor on standard error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from reserve.supervisor.workers import write_line
write_line("reserve: serves\\n  here")
write_line("reserve: failed", logging.ERROR)
"""


@pytest.mark.parametrize(
    ("under_journald", "written"),
    [
        (True, b"<6>reserve: serves\n<6>  here\n<3>reserve: failed\n"),
        (False, b"reserve: serves\n  here\nreserve: failed\n"),
    ],
)
def test_lines_have_levels_under_journald(under_journald: bool, written: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(ours.fileno())
        stream = f"{status.st_dev}:{status.st_ino}" if under_journald else ""
        environ = {**os.environ, "JOURNAL_STREAM": stream}
        subprocess.run([sys.executable, "-c", PROGRAM], stderr=ours, env=environ, check=True)
        ours.close()
        assert theirs.recv(1000) == written

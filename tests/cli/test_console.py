"""The messages of the command on standard error."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from reserve.cli.console import Console
from tests.waiting import PATIENCE, eventually


def test_a_caller_does_not_wait_while_the_console_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    unblock, writing = threading.Event(), threading.Event()

    class BlockedStream(io.StringIO):
        def write(self, text: str) -> int:
            writing.set()
            unblock.wait()
            return super().write(text)

    stream = BlockedStream()
    monkeypatch.setattr(sys, "stderr", stream)
    with Console() as console:
        console.write("first\n", 0)
        assert writing.wait(PATIENCE)
        console.write("second\n", 0)
        console.write("third\n", 3600)
        unblock.set()
    eventually(lambda: stream.getvalue() == "first\nsecond\nthird\n")

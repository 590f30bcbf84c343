"""The messages of the command on standard error."""

from __future__ import annotations

import sys

import pytest

from reserve.cli.console import Console
from tests.streams import BlockedStream
from tests.waiting import PATIENCE, eventually


def test_a_caller_does_not_wait_while_the_console_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = BlockedStream()
    monkeypatch.setattr(sys, "stderr", stream)
    with Console() as console:
        console.write("first\n", 0)
        assert stream.writing.wait(PATIENCE)
        console.write("second\n", 0)
        console.write("third\n", 3600)
        stream.unblock.set()
    eventually(lambda: stream.getvalue() == "first\nsecond\nthird\n")

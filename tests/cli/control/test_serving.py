"""The control sockets of a server with one process."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from reserve.cli.console import Console
from reserve.cli.control.serving import OwnControl
from reserve.cli.parser import parse_command_line
from reserve.cli.signals import StopSignals
from reserve.options.sources import collect


def test_no_socket_remains_of_a_start_without_a_free_descriptor(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pipe() -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    command = parse_command_line(["--control", str(short_path / "control"), "app", "echo"])
    values = collect(command.given, {}, str(short_path))
    monkeypatch.setattr(os, "pipe", pipe)
    with pytest.raises(OSError, match="Too many open files"):
        OwnControl(values, StopSignals(Console()))
    assert os.listdir(short_path) == []

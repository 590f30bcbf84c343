"""``reserve top`` on the command line: which server it looks at, and how. Runs on the main thread."""

from __future__ import annotations

import os
from functools import partial

from reserve.cli.control.main import control_path
from reserve.cli.help import print_text
from reserve.cli.parser import CommandLine
from reserve.control.client import ControlClient
from reserve.control.top.arguments import parse
from reserve.control.top.program import run
from reserve.errors import UsageError

__all__ = ["run_top"]

_OWN_OPTIONS = ("control", "control-readonly", "config")


def run_top(command: CommandLine) -> int:
    """Run it until its end, and return its exit code.

    :raises UsageError: wrong words, no server is named, or there is no terminal.
    :raises ~reserve.control.client.ControlError: the server cannot be asked at the start.
    """
    for option, _ in command.given:
        if option.name not in _OWN_OPTIONS:
            raise UsageError(f"reserve top looks at a server that runs, so {option.flag} has no effect; leave it out")
    if command.after:
        raise UsageError(f"reserve top takes nothing after --, but it was given {' '.join(command.after)}")
    settings = parse(command.arguments[1:])
    return run(partial(ControlClient, control_path(command, os.environ)), settings, print_text)

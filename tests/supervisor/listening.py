"""Listeners for a supervisor, as the command opens them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reserve.cli.binds import Listeners, open_listeners
from reserve.cli.parser import parse_command_line
from reserve.options.sources import collect


def open_on(argv: Sequence[str], directory: Path) -> Listeners:
    """Open the listeners of a command line and the file with options."""
    return open_listeners(collect(parse_command_line(argv).given, {}, str(directory)), {})

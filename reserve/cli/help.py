"""What the command prints on standard output for ``-h`` and ``--version``. Runs on the main thread."""

from __future__ import annotations

import sys

from reserve import __version__
from reserve.cli.parser import CommandLine
from reserve.engine.logs.linestream import LineStream
from reserve.loader.find import FoundApplication, bundled_names, find
from reserve.options.help import help_text

__all__ = ["print_help", "print_version"]


def print_help(command: CommandLine) -> None:
    """Print the options of the server, and the arguments of the application if it is one of reserve's own."""
    _print(_help(command).removesuffix("\n"))


def print_version() -> None:
    """Print the name and the version of reserve."""
    _print(f"reserve {__version__}")


def _help(command: CommandLine) -> str:
    arguments = command.arguments
    if arguments[:1] != ("app",) or len(arguments) == 1 or arguments[1].startswith("-"):
        return help_text(names=tuple(bundled_names()))
    program = " ".join(argument for argument in arguments[1:4] if not argument.startswith("-"))
    name = arguments[1]
    application = find(name) if name in bundled_names() else FoundApplication(name=name, module=None)
    return help_text(program, arguments=application.arguments)


def _print(text: str) -> None:
    if sys.stdout is not None:
        LineStream(sys.stdout).write([text])  # does not raise when a pager has closed the pipe

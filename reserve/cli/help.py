"""What the command prints on standard output for ``-h`` and ``--version``. Runs on the main thread."""

from __future__ import annotations

import shutil
import sys

from reserve import __version__
from reserve.cli.parser import CommandLine
from reserve.engine.logs.linestream import LineStream
from reserve.loader.find import application_names, find
from reserve.options.help import TASKS_HELP, help_text, short_help

__all__ = ["print_help", "print_text", "print_version"]


def print_help(command: CommandLine) -> None:
    """Print the options of the server, and the arguments of the application if it is one of reserve's own.

    The lines are as long as the terminal is wide, or the variable ``COLUMNS`` says.
    """
    print_text(_help(command).removesuffix("\n"))


def print_version() -> None:
    """Print the name and the version of reserve."""
    print_text(f"reserve {__version__}")


def _help(command: CommandLine) -> str:
    arguments = command.arguments
    if command.task:
        return TASKS_HELP[command.task]
    make = help_text if command.help_all else short_help
    width = shutil.get_terminal_size().columns
    if arguments[:1] != ("app",) or len(arguments) == 1 or arguments[1].startswith("-"):
        return make(names=tuple(application_names()), width=width)
    program = " ".join(argument for argument in arguments[1:4] if not argument.startswith("-"))
    return make(program, arguments=find(arguments[1]).arguments, width=width)


def print_text(text: str) -> None:
    """Print lines; the last one without its line end."""
    if sys.stdout is not None:
        LineStream(sys.stdout).write([text])  # does not raise when a pager has closed the pipe

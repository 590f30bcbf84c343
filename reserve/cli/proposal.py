"""The corrected command line at the end of a message: a user can paste it into the shell, and it works.

Runs on the main thread. Pure, except that it looks for the program of this process on the ``PATH``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from reserve.errors import Correction
from reserve.options.table import FLAGS

__all__ = ["corrected", "shell_line"]


def shell_line(argv: Sequence[str], prefix: str = "") -> str:
    """A line for the shell.

    :param argv: the command line without the name of the program. The program is the one that the user has started:
        ``reserve`` if the shell finds it by that name, else its path.
    :param prefix: a program that runs it, which may have another ``PATH``; empty: none.
    """
    program = _program()
    if prefix:
        program = (prefix, shutil.which(program[0]) or program[0], *program[1:])
    return shlex.join([*program, *argv])


def corrected(argv: Sequence[str], positions: Sequence[int], correction: Correction) -> list[str]:
    """The whole command line with the correction; empty if the wrong arguments are not on it.

    They may come from the environment or from a file.

    :param argv: the command line without the name of the program.
    :param positions: the indices in ``argv`` of what is before ``--`` and no option of the server.
    """
    if correction.argv:
        return list(correction.argv)
    end = argv.index("--") if "--" in argv else len(argv)
    before, after = list(argv[:end]), [] if correction.drop_after else list(argv[end:])
    result: list[str] | None = before
    if correction.option:
        result = _with_value(before, correction)
    elif correction.wrong:
        result = _with_arguments(before, positions, correction)
    return [] if result is None else [*result, *correction.end, *after]


def _with_arguments(argv: list[str], positions: Sequence[int], correction: Correction) -> list[str] | None:
    """The arguments before ``--`` with the right ones in place of the wrong ones; None if those are not there."""
    count = len(correction.wrong)
    starts = list(range(_name_position(argv, positions) if count == 1 else 0, len(positions) - count + 1))
    for start in reversed(starts) if correction.last else starts:
        found = positions[start : start + count]
        if tuple(argv[position] for position in found) == correction.wrong:
            rest = [argument for position, argument in enumerate(argv) if position not in found]
            return [*rest[: found[0]], *correction.right, *rest[found[0] :]]
    if count == len(correction.right) == 1:
        ending = f"={correction.wrong[0]}"
        for position in positions:  # the application of --mount: /blog=NAME
            argument = argv[position]
            if argument.endswith(ending):
                right = argument.removesuffix(ending) + f"={correction.right[0]}"
                return [*argv[:position], right, *argv[position + 1 :]]
    return None


def _name_position(argv: list[str], positions: Sequence[int]) -> int:
    """The index in ``positions`` of the name of the application: it may be wsgi, too."""
    words = [argv[position] for position in positions]
    for prefix in (["app", "http", "wsgi"], ["app"]):
        if words[: len(prefix)] == prefix and words != prefix:
            return len(prefix)
    return 0


def _with_value(argv: list[str], correction: Correction) -> list[str] | None:
    """The arguments with other values of an option of the server."""
    option = FLAGS[correction.option]
    (wrong,) = correction.wrong
    right = [word for value in correction.right for word in (option.flag, value)]
    for position, argument in enumerate(argv):
        if argument in option.flags and argv[position + 1 : position + 2] == [wrong]:
            right[:1] = [argument] if right else []
            return [*argv[:position], *right, *argv[position + 2 :]]
        if argument in [f"{flag}={wrong}" for flag in option.flags] or (
            option.short and argument == f"{option.short}{wrong}"
        ):
            return [*argv[:position], *right, *argv[position + 1 :]]
    return None


def _program() -> tuple[str, ...]:
    """How this program was started, as the words of a command."""
    program = sys.argv[0] if sys.argv else ""
    name = os.path.basename(program)
    if name == "__main__.py" and os.path.basename(os.path.dirname(program)) == "reserve":
        return _as_found(sys.executable), "-m", "reserve"
    if name != "reserve":  # another program calls the command
        return ("reserve",)
    return (_as_found(program),)


def _as_found(path: str) -> str:
    """A program by its name, if the shell finds the same file by it, else by its path."""
    name = os.path.basename(path)
    found = shutil.which(name)
    # Not realpath(): the python of an environment is a link to that of the system.
    return name if found is not None and os.path.abspath(found) == os.path.abspath(path) else path

"""The parser of the command line. It takes the server options out and leaves everything else in order.

    reserve [server options] app NAME [app args...] [server options] [-- app args...]

Pure; runs on the main thread. It knows the names of the options (``reserve.options.table``) and reads no value.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from reserve.errors import UsageError
from reserve.loader.arguments import unknown_option
from reserve.options.table import FLAGS, Option
from reserve.paramtypes import Flag

__all__ = ["CommandLine", "app_arguments", "parse_command_line"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command line, split into server options and the arguments that remain. Values are not parsed yet."""

    argv: tuple[str, ...]
    """The whole command line without the name of the program."""
    given: tuple[tuple[Option, str], ...]
    """Each server option in order, with its value as written; a flag has the value ``true`` or ``false``."""
    arguments: tuple[str, ...]
    """What remains before the first bare ``--``, in order."""
    after: tuple[str, ...]
    """Everything after the first bare ``--``."""
    first: int
    """The index in ``argv`` of the first of ``arguments``; if there is none, the length of the part before ``--``."""
    help: bool = False
    version: bool = False


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take the server options out of a command line.

    :param argv: the command line without the name of the program.
    :raises UsageError: an option without its value, or a flag with one.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    given: list[tuple[Option, str]] = []
    arguments: list[str] = []
    flags: set[str] = set()
    first = end
    position = 0
    while position < end:
        argument = argv[position]
        flag, equals, value = _split(argument)
        option = FLAGS.get(flag)
        if option is None:
            if not arguments:
                first = position
            arguments.append(argument)
        elif isinstance(option.kind, Flag):
            if equals:
                raise UsageError(
                    f"{flag} takes no value, but {argument!r} gives one; write {' or '.join(option.flags)}"
                )
            flags.add(option.name)
            given.append((option, "true" if flag in (option.flag, option.short) else "false"))
        else:
            if not equals:
                position += 1
                if position >= end or _split(argv[position])[0] in FLAGS:
                    raise UsageError(f"{flag} needs a value: {option.kind.allowed}")
                value = argv[position]
            given.append((option, value))
        position += 1
    return CommandLine(
        argv=tuple(argv),
        given=tuple((option, value) for option, value in given if option.name not in ("help", "version")),
        arguments=tuple(arguments),
        after=tuple(argv[end + 1 :]),
        first=first,
        help="help" in flags,
        version="version" in flags,
    )


def app_arguments(command: CommandLine) -> tuple[str, tuple[str, ...]]:
    """The name of the application, and its arguments before ``--``.

    :raises UsageError: an unknown server option, or ``app`` or the name is missing; the text has a corrected line.
    """
    arguments = command.arguments
    if arguments[:1] != ("app",):
        if arguments and arguments[0].startswith("-"):
            raise UsageError(unknown_option(arguments[0], FLAGS))
        corrected = [*command.argv[: command.first], "app"]
        corrected += command.argv[command.first :] if arguments else ["NAME"]
        raise UsageError(f"the word 'app' is missing; write: {shlex.join(['reserve', *corrected])}")
    if len(arguments) == 1:
        raise UsageError("the application's name is missing; write: reserve app NAME, as reserve app http wsgi blog")
    if arguments[1].startswith("-"):
        raise UsageError(unknown_option(arguments[1], FLAGS))
    return arguments[1], arguments[2:]


def _split(argument: str) -> tuple[str, str, str]:
    """An option, whether a value is attached, and that value: ``--x=v`` and ``-bADDR`` both have one."""
    if argument.startswith("--"):
        return argument.partition("=")
    if argument[:2] in FLAGS and not isinstance(FLAGS[argument[:2]].kind, Flag):
        return argument[:2], argument[2:3], argument[2:]
    return argument, "", ""

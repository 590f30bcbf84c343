"""The parser of the command line. It takes the server options out and leaves everything else in order.

    reserve [server options] app NAME [app args...] [server options] [-- app args...]
    reserve check-config [server options] [app NAME [app args...]]
    reserve config-schema
    reserve systemd-unit [--name NAME] [--socket] [--into DIR] [server options] app NAME [app args...]
    reserve status [--json] [--control PATH]

Pure; runs on the main thread. It knows the names of the options (``reserve.options.table``) and reads no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reserve.errors import Correction, UsageError
from reserve.loader.arguments import unknown_option
from reserve.loader.find import complete_words, has_application
from reserve.options.table import FLAGS, Option, usual_value
from reserve.paramtypes import Flag
from reserve.suggest import nearest

__all__ = [
    "CHECK_CONFIG",
    "CONFIG_SCHEMA",
    "CONTROL",
    "MIGRATE",
    "SYSTEMD_UNIT",
    "TOP",
    "CommandLine",
    "app_arguments",
    "check_arguments",
    "parse_command_line",
]

CHECK_CONFIG = "check-config"
CONFIG_SCHEMA = "config-schema"
MIGRATE = "migrate"
"""A command line that begins with this word is not parsed: the words after it are for another server."""
SYSTEMD_UNIT = "systemd-unit"
CONTROL = ("status", "stacks", "connections", "reload", "stop", "threads", "processes", "log-level", "log-reopen")
"""The commands about a server that runs, which :mod:`reserve.cli.control.main` carries out."""
TOP = "top"
_WITHOUT_SERVER = (CHECK_CONFIG, CONFIG_SCHEMA, MIGRATE, SYSTEMD_UNIT, TOP, *CONTROL)
"""The words that stand in the place of ``app`` and start no server."""
_PROPOSED = (CHECK_CONFIG, CONFIG_SCHEMA, MIGRATE, SYSTEMD_UNIT, "connections", "processes", "log-level", "log-reopen")
"""Those that a similar word stands for even if an application has it as its name: they are too long for an accident."""
_OF_OTHERS = {"restart": "reload", "shutdown": "stop", "quit": "stop"}
"""What other programs call a command about a server that runs, and its name here."""
_STARTING = ("serve", "server", "run", "start")
"""What other programs have in the place of ``app``."""
_PRINTING = ("help", "help-all", "version")
"""The options that print something instead of starting a server."""
_HELP = {"-h", "--help", "--help-all"}
_COMMANDS = {("help",): "-h", ("version",): "--version"}
"""Words that other programs have for what are options here."""
_FOR_HELP = "reserve -h prints the help"


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
    positions: tuple[int, ...]
    """The index in ``argv`` of each of ``arguments``."""
    help: bool = False
    help_all: bool = False
    version: bool = False

    @property
    def task(self) -> str:
        """The first word, if it is a command that starts no server; else empty."""
        return self.arguments[0] if self.arguments[:1] and self.arguments[0] in _WITHOUT_SERVER else ""


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take the server options out of a command line.

    :param argv: the command line without the name of the program.
    :raises UsageError: an option without its value, or a flag with one.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    given: list[tuple[Option, str]] = []
    positions: list[int] = []
    flags: set[str] = set()
    position = 0
    while position < end:
        argument = argv[position]
        flag, equals, value = _split(argument)
        option = FLAGS.get(flag)
        if option is None:
            positions.append(position)
        elif isinstance(option.kind, Flag):
            if equals:
                is_on = (value.lower() not in ("0", "false", "no", "off")) == (flag != option.flags[-1])
                right = option.flag if is_on else option.flags[-1]
                raise UsageError(
                    f"{flag} takes no value, but {argument!r} gives one",
                    f"; write {' or '.join(option.flags)}",
                    Correction(argv=(*argv[:position], right, *argv[position + 1 :])),
                )
            flags.add(option.name)
            given.append((option, "true" if flag in (option.flag, option.short) else "false"))
        else:
            if not equals:
                position += 1
                if position >= end or _split(argv[position])[0] in FLAGS or _is_word_app(argv[:end], position):
                    usual = usual_value(option)
                    line = (*argv[:position], usual, *argv[position:])
                    raise UsageError(
                        f"{flag} needs a value: {option.kind.allowed}",
                        correction=Correction(argv=line) if usual else None,
                    )
                value = argv[position]
            given.append((option, value))
        position += 1
    return CommandLine(
        argv=tuple(argv),
        given=tuple((option, value) for option, value in given if option.name not in _PRINTING),
        arguments=tuple(argv[position] for position in positions),
        after=tuple(argv[end + 1 :]),
        positions=tuple(positions),
        help="help" in flags,
        help_all="help-all" in flags,
        version="version" in flags,
    )


def check_arguments(command: CommandLine) -> None:
    """Check everything but the values of options.

    :raises UsageError: as :func:`app_arguments`, or arguments that a command without a server does not take.
    """
    task, rest = command.task, command.arguments[1:]
    if not task:
        app_arguments(command)
    elif task == MIGRATE:
        raise UsageError(f"{MIGRATE} has to be the first word")
    elif task in (SYSTEMD_UNIT, TOP) or task in CONTROL:
        return  # reserve.cli.config.systemdunit and reserve.cli.control check their words
    elif rest and task == CHECK_CONFIG:
        app_arguments(replace(command, arguments=rest))
    elif rest:
        raise UsageError(
            f"{task} takes no arguments, but it was given {' '.join(rest)}",
            correction=Correction(wrong=rest, last=True),
        )


def app_arguments(command: CommandLine) -> tuple[str, tuple[str, ...]]:
    """The name of the application, and its arguments before ``--``.

    :raises UsageError: an unknown server option, or ``app`` or the name is missing; its correction is complete.
    """
    arguments = command.arguments
    has_app = arguments[:1] == ("app",)
    words = arguments[1:] if has_app else arguments
    if words and words[0].startswith("-"):
        raise unknown_option(words[0], FLAGS, arguments)
    if has_app and words:
        return words[0], words[1:]
    if not words and not _HELP.isdisjoint(command.after):
        raise UsageError(
            "what follows -- is for an application, and none is named",
            f"; {_FOR_HELP}",
            correction=Correction(wrong=arguments, right=arguments, end=("-h",), drop_after=True),
        )
    if words in _COMMANDS:
        flag = _COMMANDS[words]
        raise UsageError(f"{words[0]} is an option here", correction=Correction(wrong=words, right=(flag,)))
    match = "" if has_app or not words else _command_meant(words[0])
    if match == "app":
        right = ("app", *complete_words(words[1:]))
        raise UsageError(f"there is no command {words[0]}", correction=Correction(wrong=words, right=right))
    if match:
        flag = _COMMANDS.get((match,), match)
        raise UsageError(f"there is no command {words[0]}", correction=Correction(wrong=words[:1], right=(flag,)))
    right = ("app", *complete_words(words))
    reason = "the word 'app' is missing" if words else f"the application's name is missing ({_FOR_HELP})"
    correction = Correction(wrong=arguments, right=right, end=() if arguments else right)
    raise UsageError(reason, correction=correction)


def _is_word_app(argv: Sequence[str], position: int) -> bool:
    """Whether the word after an option is the ``app`` of the command line, and no value: else that has none."""
    others = [*argv[:position], *argv[position + 1 :]]
    return argv[position] == "app" and position + 1 < len(argv) and {"app", *_WITHOUT_SERVER}.isdisjoint(others)


def _command_meant(word: str) -> str:
    """The command that a first word probably stands for, which is none; empty: it is rather the name of an application.

    A word is taken for a short command (``stop``) only if no application has it as its name.
    """
    match = nearest(word, _PROPOSED)
    if match is not None:
        return match
    lower = word.lower()
    if not lower.replace("-", "").replace("_", "").isalpha() or has_application(word):
        return ""
    if lower in _STARTING:
        return "app"
    if lower in _OF_OTHERS:
        return _OF_OTHERS[lower]
    known = ("app", *_WITHOUT_SERVER, *(command for (command,) in _COMMANDS))
    # Two letters that have changed places are the most frequent mistake in a word, and count for much in a short one.
    swapped = [name for name in known if sorted(name) == sorted(lower)]
    begun = [name for name in known if name.startswith(f"{lower}-")]
    return next(iter(swapped), None) or nearest(lower, known) or (begun[0] if len(begun) == 1 else "")


def _split(argument: str) -> tuple[str, str, str]:
    """An option, whether a value is attached, and that value: ``--x=v`` and ``-bADDR`` both have one."""
    if argument.startswith("--"):
        return argument.partition("=")
    if argument[:2] in FLAGS and not isinstance(FLAGS[argument[:2]].kind, Flag):
        return argument[:2], argument[2:3], argument[2:]
    return argument, "", ""

"""The scanner of the command line: server options are taken out, everything else stays in order for the application.

    reserve [server options] app NAME [app args...] [server options] [-- app args...]

Pure: words in, a frozen value out. It knows the table in ``options.py`` and nothing of what the values mean.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from reserve.errors import UsageError
from reserve.loader.arguments import unknown_option
from reserve.options.table import FLAGS, Option
from reserve.paramtypes import Flag

__all__ = ["CommandLine", "app_words", "scan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What a command line says, before any value is looked at."""

    line: tuple[str, ...]
    given: tuple[tuple[Option, str], ...]
    """Each server option in order with its value as written; a flag says ``true`` or ``false``."""
    words: tuple[str, ...]
    """What is left before the first bare ``--``, in order."""
    after: tuple[str, ...]
    """Everything after it."""
    first: int
    """Where in ``line`` the first of ``words`` stands (the length of the part before ``--`` when there is none)."""
    help: bool = False
    version: bool = False


def scan(line: Sequence[str]) -> CommandLine:
    """Take the server options out of ``line`` (the words after the program's name).

    :raises UsageError: an option without its value, or a flag with one.
    """
    end = line.index("--") if "--" in line else len(line)
    given: list[tuple[Option, str]] = []
    words: list[str] = []
    seen: set[str] = set()
    first = end
    position = 0
    while position < end:
        word = line[position]
        flag, equals, value = _split(word)
        option = FLAGS.get(flag)
        if option is None:
            if not words:
                first = position
            words.append(word)
        elif isinstance(option.kind, Flag):
            if equals:
                raise UsageError(f"{flag} takes no value, but {word!r} gives one; {_spellings(option)}")
            seen.add(option.name)
            given.append((option, "true" if flag in (option.flag, option.short) else "false"))
        else:
            if not equals:
                position += 1
                if position >= end or _split(line[position])[0] in FLAGS:
                    raise UsageError(f"{flag} needs a value: {option.kind.allowed}")
                value = line[position]
            given.append((option, value))
        position += 1
    return CommandLine(
        line=tuple(line),
        given=tuple((option, value) for option, value in given if option.name not in ("help", "version")),
        words=tuple(words),
        after=tuple(line[end + 1 :]),
        first=first,
        help="help" in seen,
        version="version" in seen,
    )


def app_words(command: CommandLine) -> tuple[str, tuple[str, ...]]:
    """The application's name, and the words that are left for it before ``--``.

    :raises UsageError: a word that nothing explains, or ``app`` or the name is missing; the text has the right line.
    """
    words = command.words
    if words[:1] != ("app",):
        if words and words[0].startswith("-"):
            raise UsageError(unknown_option(words[0], FLAGS))
        wanted = [*command.line[: command.first], "app", *(command.line[command.first :] if words else ["NAME"])]
        raise UsageError(f"the word 'app' is missing; write: {shlex.join(['reserve', *wanted])}")
    if len(words) == 1:
        raise UsageError("the application's name is missing; write: reserve app NAME, as reserve app http wsgi blog")
    if words[1].startswith("-"):
        raise UsageError(unknown_option(words[1], FLAGS))
    return words[1], words[2:]


def _split(word: str) -> tuple[str, str, str]:
    """An option, whether a value is attached, and that value: ``--x=v`` and ``-bADDR`` both have one."""
    if word.startswith("--"):
        return word.partition("=")
    if word[:2] in FLAGS and not isinstance(FLAGS[word[:2]].kind, Flag):
        return word[:2], word[2:3], word[2:]
    return word, "", ""


def _spellings(option: Option) -> str:
    return f"write {' or '.join(option.flags)}"

"""Reading a command line of another server.

Pure; runs on the main thread. Which options take a value is known from the table of other servers' options and from
ours; an option in neither is taken to have one if the next word could be it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from reserve.cli.config.configuration import Configuration, Setting
from reserve.errors import UsageError
from reserve.loader.otherservers import BY_NAME, OWN_NAMES, PROGRAMS, split_option
from reserve.options.table import FLAGS
from reserve.paramtypes import Flag

__all__ = ["names_server", "read_server_line"]

_STARTERS = ("exec", "env", "nohup", "sudo", "poetry", "uv", "pipenv", "run")
"""Words that may stand before the program."""
_DOTTED = {"cheroot", "granian", "gunicorn", "hypercorn", "uvicorn", "waitress"}
"""The servers whose application is a word with a colon, or a module."""


def names_server(words: Sequence[str]) -> bool:
    """Whether words are a command line of a server that is known."""
    return _program(words) is not None


def read_server_line(words: Sequence[str]) -> Configuration:
    """The settings of a command line.

    :raises UsageError: the program is none of the known servers.
    """
    found = _program(words)
    if found is None:
        programs = ", ".join(PROGRAMS)
        word = next((word for word in words if "=" not in word), "what was given")
        raise UsageError(f"reserve migrate knows command lines of {programs}; {word!r:.80} is none of them")
    position, server = found
    result = Configuration(server, f"the command line of {server}")
    for word in words[:position]:
        if "=" in word and not word.startswith("-"):
            result.settings.append(Setting("--env", word))
    remaining = list(words[position + 1 :])
    plain: list[str] = []
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            plain += remaining
            break
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, value = split_option(word)
        if value is None and _takes_value(server, name, remaining, is_last_name=not plain):
            value = remaining.pop(0)
        result.settings.append(Setting(name, True if value is None else value))
    if server in _DOTTED and plain:
        result.application = plain.pop(0)
    for word in plain:
        if word.endswith(".ini"):
            result.settings.append(Setting("--ini", word))
        else:
            unknown = "an argument, and reserve migrate does not know what it is for"
            result.settings.append(Setting(word, unknown=unknown))
    return result


def _program(words: Sequence[str]) -> tuple[int, str] | None:
    """The position of the word that names the server, and the server."""
    for position, word in enumerate(words):
        name = os.path.basename(word)
        if name in PROGRAMS:
            return position, PROGRAMS[name]
        if "=" not in word and name not in _STARTERS and not name.startswith("python") and word != "-m":
            return None
    return None


def _takes_value(server: str, name: str, remaining: Sequence[str], *, is_last_name: bool) -> bool:
    if not remaining or (remaining[0].startswith("-") and len(remaining[0]) > 1):
        return False
    name = OWN_NAMES.get(server, {}).get(name, name)
    if name.startswith("--no-") and f"--{name[5:]}" in BY_NAME:
        return False
    entry = BY_NAME.get(name)
    if entry is not None:
        return not entry.is_flag
    option = FLAGS.get(name)
    if option is not None:
        return not isinstance(option.kind, Flag)
    return not (is_last_name and len(remaining) == 1 and server in _DOTTED)  # that is the application

"""On which line of a TOML file a key is: :mod:`tomllib` returns values without their lines.

Pure; runs on the main thread at start, and only when there is a file. The scan reads text that ``tomllib`` has
accepted, so it checks nothing. It splits the text into strings, comments, bare words and punctuation with one regular
expression, and remembers where each key stands: of a table header, of a dotted key, and of an inline table. Each
character is looked at a bounded number of times, and nested values need a list and no recursion, so the time is
proportional to the size of the text, which the caller bounds. Of a path only the first four parts count, as in
``tool.reserve.env.NAME``.
"""

from __future__ import annotations

import re

__all__ = ["key_lines"]

_TOKEN = re.compile(
    r'''
    (?P<string> """ (?: [^"\\] | \\. | "(?!"") )* """ "{0,2}
              | \'\'\' (?: [^'] | '(?!'') )* \'\'\' '{0,2}
              | " (?: [^"\\\n] | \\. )* "
              | ' [^'\n]* ' )
    | (?P<comment> \# [^\n]* )
    | (?P<punctuation> [][{}=,.\n] )
    | (?P<word> [^\s][^\s\[\]{}=,.\#"']* )
    ''',
    re.VERBOSE | re.DOTALL,
)
_Path = tuple[str, ...]
_DEPTH = 4
"""The parts of the longest path that an option has."""


def key_lines(text: str) -> dict[_Path, int]:
    """The line, from 1, of each key by its path, as ``("server", "env", "HOME")``; of a table, its first line.

    :param text: valid TOML.
    """
    lines: dict[_Path, int] = {}
    table: _Path = ()  # of the last header
    base: _Path = ()  # of the keys here: that of the table, or of an inline table
    parts: list[str] = []  # of the key so far
    reads_key, in_header = True, False
    nested: list[tuple[str, _Path]] = []  # the brackets that are open, and the path of the value that they belong to
    path: _Path = ()
    line = 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        kind = match.lastgroup
        if token == "\n":
            line += 1
            if not nested and not in_header:
                reads_key, base, parts = True, table, []
        elif kind == "comment":
            continue
        elif kind != "punctuation":
            if reads_key:
                parts.append(_name(token))
            line += token.count("\n")
        elif reads_key and token == "=":
            path, parts, reads_key = (*base, *parts)[:_DEPTH], [], False
            _remember(lines, path, line)
        elif in_header and token == "]":
            table, in_header, reads_key = tuple(parts[:_DEPTH]), False, False
            _remember(lines, table, line)
        elif reads_key and token == "[" and not nested:
            in_header = True
        elif not reads_key and token in "[{":
            nested.append((token, path))
            if token == "{":
                base, reads_key = path, True
        elif token in "]}" and nested:
            _, path = nested.pop()
            reads_key, parts = False, []
        elif token == "," and nested and nested[-1][0] == "{":
            base, parts, reads_key = nested[-1][1], [], True
    return lines


def _remember(lines: dict[_Path, int], path: _Path, line: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _name(token: str) -> str:
    """A part of a key without its quotes."""
    if token[0] not in "\"'":
        return token
    import tomllib

    return next(iter(tomllib.loads(f"{token} = 0")), "") if "\\" in token and token[0] == '"' else token[1:-1]

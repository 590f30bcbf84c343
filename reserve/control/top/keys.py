"""From the bytes that a terminal sends to the names of keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["Keys"]

_SEQUENCE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_NAMES = {
    b"[A": "up", b"[B": "down", b"[C": "right", b"[D": "left", b"[H": "home", b"[F": "end", b"[1~": "home",
    b"[4~": "end", b"[5~": "page up", b"[6~": "page down", b"[7~": "home", b"[8~": "end", b"OA": "up", b"OB": "down",
    b"OC": "right", b"OD": "left", b"OH": "home", b"OF": "end", b"[3~": "delete",
}  # fmt: skip
_CONTROL = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\t": "tab", "\x15": "clear"}
_LONGEST = 32
"""Bytes of a sequence that is not finished; more are no key."""


class Keys:
    """What has come from one terminal and is no whole key yet; the loop owns it.

    A key is a character, or a name: ``enter``, ``escape``, ``up``, ``page down``. Other keys are left out.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def is_unfinished(self) -> bool:
        """The last bytes may begin a sequence. When none follow within a moment, :meth:`finish` tells what they are."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete with these bytes."""
        data = self._rest + data
        self._rest = b""
        unfinished = _UNFINISHED.search(data)
        if unfinished is not None and len(unfinished[0]) <= _LONGEST:
            data, self._rest = data[: unfinished.start()], unfinished[0]
        elif not data.isascii():
            data, self._rest = _split_unfinished_character(data)
        return list(_keys(data))

    def finish(self) -> list[str]:
        """The keys that remain when no more bytes come: a lone ESC is the key ``escape``."""
        rest, self._rest = self._rest, b""
        return ["escape"] if rest == b"\x1b" else []


def _keys(data: bytes) -> Iterator[str]:
    position = 0
    while position < len(data):
        match = _SEQUENCE.match(data, position)
        if match is not None:
            position = match.end()
            name = _NAMES.get(match[0][1:])
            if name is not None:
                yield name
            continue
        end = data.find(b"\x1b", position + 1)
        end = len(data) if end < 0 else end
        if data[position] == 0x1B:  # before something that is no sequence: Alt with a key, or two keys
            yield "escape"
            position += 1
        for character in data[position:end].decode("utf-8", "ignore"):
            name = _CONTROL.get(character, character if character.isprintable() else "")
            if name:
                yield name
        position = end


def _split_unfinished_character(data: bytes) -> tuple[bytes, bytes]:
    """Take the first bytes of a character in UTF-8 off the end, if the others have not come yet."""
    for length in 1, 2, 3:
        lead = data[-length:][:1]
        if lead and lead[0] >= 0xC0:
            needed = 2 if lead[0] < 0xE0 else 3 if lead[0] < 0xF0 else 4
            return (data[:-length], data[-length:]) if needed > length else (data, b"")
    return data, b""

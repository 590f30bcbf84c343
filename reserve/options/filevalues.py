"""Values of options as a file has them: TOML values, and their text.

Pure; runs on the main thread. What is made here is what :func:`reserve.options.sources.read_file` reads back.
"""

from __future__ import annotations

import json

from reserve.options.table import Option
from reserve.paramtypes import Count, CountOr, Kind, Range, Seconds, Size

__all__ = ["file_value", "toml_text"]


def file_value(option: Option, value: object) -> object:
    """The TOML value of an option's value; None if there is none.

    :param value: what the option's kind has parsed; of a repeatable option a tuple of them.
    """
    if option.repeat and isinstance(value, tuple):
        return [_one(option.kind, item) for item in value]
    return None if value is None else _one(option.kind, value)


def _one(kind: Kind, value: object) -> object:
    if isinstance(kind, Range) and isinstance(value, tuple):
        return ":".join(map(str, value))
    if isinstance(kind, (Size, Seconds)):
        text = kind.format(value)
        if text.isdecimal():
            return int(text)
        return text if kind.parse(text) == value else value  # some fractions of a second have no shorter text
    if isinstance(value, (bool, str)) or isinstance(kind, (Count, CountOr, Range)):
        return value
    return kind.format(value)


def toml_text(value: object) -> str:
    """The text of a TOML value: a string, a number, a boolean, or an array of them."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)

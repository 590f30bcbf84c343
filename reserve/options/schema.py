"""The JSON Schema of the files with options, made from the table: for editors, and for checks in other programs.

Pure; runs on the main thread. The schema accepts what :func:`reserve.options.sources.read_file` accepts, except that it
cannot look into every text: the bounds of a number that is written as a string, the form of an address, and that a key
is not given with ``-`` and with ``_`` are checked by ``reserve check-config``.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from reserve.options.filevalues import file_value
from reserve.options.table import FILE, OPTIONS, Option
from reserve.paramtypes import Choice, Count, CountOr, Flag, Kind, Octal, Pair, Range, Seconds, Size, Text

__all__ = ["DIALECT", "file_schema"]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DIGITS = "[0-9]{1,15}"
_Schema = dict[str, Any]


def file_schema() -> _Schema:
    """The schema of ``reserve.toml``; ``#/$defs/options`` is that of ``[tool.reserve]`` in ``pyproject.toml``."""
    properties: dict[str, _Schema] = {}
    for option in OPTIONS:
        if FILE not in option.sources:
            continue
        properties[option.name] = _property(option)
        if option.field != option.name:
            properties[option.field] = {"$ref": f"#/$defs/options/properties/{option.name}"}
    options = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "$schema": DIALECT,
        "title": "reserve.toml",
        "description": "The options of the server reserve, in the table [server].",
        "type": "object",
        "properties": {"server": {"$ref": "#/$defs/options"}},
        "additionalProperties": False,
        "$defs": {"options": options},
    }


def _property(option: Option) -> _Schema:
    one = _value(option.kind)
    if isinstance(option.kind, Pair):
        table = {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"minLength": 1}}
        one = {"anyOf": [table, one, {"type": "array", "items": one}]}
    elif option.repeat:
        one = {"anyOf": [one, {"type": "array", "items": one}]}
    result = {"description": f"{option.help} Allowed: {option.kind.allowed}.", **one}
    default = file_value(option, option.default)
    if default is not None:
        result["default"] = default
    return result


@singledispatch
def _value(kind: Kind) -> _Schema:
    """The schema of one value of a kind."""
    raise TypeError(f"no schema for {type(kind).__name__}")


@_value.register
def _(kind: Count) -> _Schema:
    return _number_or_text(kind.low, kind.high, f"^{_DIGITS}$")


@_value.register
def _(kind: CountOr) -> _Schema:
    return _number_or_text(kind.low, kind.high, f"^({_DIGITS}|{kind.word})$")


@_value.register
def _(kind: Range) -> _Schema:
    return _number_or_text(kind.low, kind.high, f"^{_DIGITS}(:{_DIGITS})?$")


@_value.register
def _(kind: Size) -> _Schema:
    return _number_or_text(kind.low, kind.high, f"^{_DIGITS}[kKmMgG]?$")


@_value.register
def _(kind: Seconds) -> _Schema:
    return _number_or_text(kind.low, kind.high, rf"^{_DIGITS}(\.{_DIGITS})?(ms|s|m|h|d)?$", "number")


@_value.register
def _(kind: Flag) -> _Schema:
    return {"type": "boolean"}


@_value.register
def _(kind: Choice) -> _Schema:
    return {"enum": list(kind.choices)}


@_value.register
def _(kind: Octal) -> _Schema:
    return {"type": "string", "pattern": "^(0o)?[0-7]{3,4}$"}


@_value.register
def _(kind: Pair) -> _Schema:
    return {"type": "string", "pattern": "^[^=]+="}


@_value.register
def _(kind: Text) -> _Schema:
    return {"type": "string"}


def _number_or_text(low: float, high: float, pattern: str, number: str = "integer") -> _Schema:
    numeric = {"type": number, "minimum": low, "maximum": high}
    return {"anyOf": [numeric, {"type": "string", "pattern": pattern}]}
